"""The first seconds of the window where a machine is not as it should be: it is there, and says what is wrong.

Each window is a process of its own without a screen, and is read by `window_child` as a person would read it. How
long it took is printed, not asserted: other programs may be busy here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from slmdesk.core.paths import STARTER_VARIABLE

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150
MODELS, QUANTS = 2_500, ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was to be read in a window; see `window_child`."""

    seconds: dict[str, float]
    first: list[str]
    pages: dict[str, list[str]]
    defects: list[str]
    stall_ms: float
    code: int


def watch(home: Path, *wanted: str, later: dict[str, str] | None = None, tour: bool = True) -> Seen:
    """Start the window in this home and read it until the wanted pieces were all seen, and `later` in the pages.

    Without a tour it is closed then.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLMDESK_") or name == STARTER_VARIABLE
    }
    environ |= {
        "SLMDESK_HOME": str(home),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    began = time.time()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.acceptance.window_child",
            str(began),
            json.dumps(wanted),
            json.dumps(later or {}),
            *([] if tour else ["stay"]),
        ],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    seen = Seen(**told)
    print(f"seconds: {seen.seconds}; longest stall {seen.stall_ms:.0f} ms")
    assert not seen.defects, seen.defects
    missing = [each for each in (*wanted, *(later or {}).values()) if each not in seen.seconds]
    assert not missing, f"never said: {missing}; it said {seen.first}"
    return seen


def settle(home: Path) -> None:
    """A start of the window like any other, which makes its files."""
    # The library has read its folders then; the first page names the model before there is a database.
    assert watch(home, "Desk Guide", later={"library": "Desk Guide"}).code == 0
    assert (home / "data" / "slmdesk.sqlite3").exists()


Disk = Callable[..., Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Makes a disk of its own of some megabytes, where the system lets us."""
    mounted: list[Path] = []

    def make(megabytes: int) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "hog").open("wb") as file:
        while True:
            file.write(b"\0" * 4096)
            file.flush()


def protect(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def test_a_first_start_on_a_full_disk(disk: Disk) -> None:
    folder = disk(2)
    fill(folder)
    seen = watch(
        folder / "home", "no space left", "Free some space", "Desk Guide", later={"catalog": "Qwen3"}
    )
    assert seen.code == 0
    assert set(seen.pages) == {"catalog", "library", "downloads", "quantize", "settings", "chat"}
    assert "Desk Guide" in seen.pages["library"]


@pytest.mark.slow
def test_a_start_after_the_disk_filled_up(disk: Disk) -> None:
    folder = disk(40)
    settle(folder / "home")
    fill(folder)
    seen = watch(folder / "home", "Free some space")
    assert seen.code == 0
    said = [text for text in seen.first if "full" in text or "no space left" in text]
    assert len(said) == 1, "said once, not by everybody who noticed"
    (folder / "hog").unlink()
    seen = watch(folder / "home", "Desk Guide")
    assert not [text for texts in seen.pages.values() for text in texts if "Free some space" in text]


def test_a_first_start_in_a_home_that_cannot_be_written(disk: Disk) -> None:
    folder = disk(2)
    protect(folder)
    seen = watch(folder / "home", "cannot be made", "Read-only", "Check the permissions")
    assert seen.code == 1


def test_a_start_in_a_home_that_cannot_be_written_any_more(disk: Disk) -> None:
    folder = disk(40)
    settle(folder / "home")
    protect(folder)
    seen = watch(folder / "home", "slmdesk.sqlite3 cannot be written", "Nothing new is kept until then")
    assert seen.code == 0
    assert "Desk Guide" in seen.pages["library"]


@pytest.mark.slow
def test_a_first_start_without_the_models_drive(tmp_path: Path) -> None:
    home, drive = tmp_path / "home", tmp_path / "drive" / "models"
    (home / "config").mkdir(parents=True)
    (home / "config" / "settings.toml").write_text(
        f"[library]\nfolders = {json.dumps(str(drive))}\n", "utf-8"
    )
    seen = watch(home, f"The models folder {drive} is not there.", "Connect its disk", "Desk Guide")
    assert seen.code == 0
    assert "Desk Guide" in seen.pages["library"]
    assert not drive.exists(), "an unplugged disk's folder was made"


def small_gguf(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(2048)
    writer.add_token_list([f"token {number}" for number in range(200)])
    writer.add_tensor("token_embd.weight", np.ones((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_first_start_with_ten_thousand_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    one = small_gguf(tmp_path / "one.gguf").read_bytes()
    all_listed = {"library": f"Models of this machine: {MODELS + 1} rows"}
    for number in range(MODELS):
        folder = home / "models" / f"publisher-{number % 100}" / f"model-{number}"
        folder.mkdir(parents=True)
        for quant in QUANTS:
            (folder / f"model-{number}-{quant}.gguf").write_bytes(one)
    try:
        for _ in ("the first start", "the next one"):
            seen = watch(home, "Desk Guide", later=all_listed)
            assert seen.code == 0
    finally:
        shutil.rmtree(home)
