"""`slmdesk.json`: what is written is read again, what others wrote stays, damage costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import sidecar
from slmdesk.library.sidecar import Origin

WHOLE = Origin(
    state="verified",
    size=12,
    sha256="ab" * 32,
    repo="p/m",
    revision="abc",
    licence="mit",
    published=False,
    source="hub",
    checked_at=5.5,
    modified_ns=7,
    path="/x/y",
    changed_at="def",
    extra={"later": [1]},
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "p" / "m"
    sidecar.record(folder, {"a.gguf": WHOLE, "sub/ü.gguf": Origin()})
    assert sidecar.read(folder) == {"a.gguf": WHOLE, "sub/ü.gguf": Origin()}
    assert sorted(path.name for path in folder.iterdir()) == ["slmdesk.json"]


def test_other_entries_and_keys_of_later_versions_stay(tmp_path: Path) -> None:
    later = {
        "version": 7,
        "new": {"x": 1},
        "files": {"a": {"state": "verified", "novel": True}, "b": {"state": "paused", "size": 3}, "c": 5},
    }
    (tmp_path / "slmdesk.json").write_text(json.dumps(later))
    sidecar.change(tmp_path, ["a"], lambda _, origin: replace(origin, state="damaged"))
    data = json.loads((tmp_path / "slmdesk.json").read_text())
    assert data == {**later, "files": {**later["files"], "a": {"state": "damaged", "novel": True}}}  # type: ignore[dict-item]


def test_an_empty_sidecar_goes_away(tmp_path: Path) -> None:
    sidecar.forget(tmp_path, ["a"])
    assert list(tmp_path.iterdir()) == []
    sidecar.record(tmp_path, {"a": Origin(), "b": Origin()})
    sidecar.forget(tmp_path, ["a", "x"])
    assert list(sidecar.read(tmp_path)) == ["b"]
    sidecar.forget(tmp_path, ["b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[1]", "\0", "[" * 100_000])
def test_a_damaged_sidecar_is_set_aside(tmp_path: Path, content: str) -> None:
    (tmp_path / "slmdesk.json").write_text(content)
    sidecar.record(tmp_path, {"a": WHOLE})
    assert sidecar.read(tmp_path) == {"a": WHOLE}
    assert (tmp_path / "slmdesk.json.damaged").read_text() == content


def test_a_lock_left_by_a_dead_process_does_not_last(tmp_path: Path) -> None:
    lock = tmp_path / ".slmdesk.json.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    sidecar.record(tmp_path, {"a": WHOLE})
    assert sidecar.read(tmp_path) == {"a": WHOLE}


def test_processes_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from slmdesk.library import sidecar\n"
        "for n in range(30):\n"
        "    sidecar.record(Path(sys.argv[1]), {f'{sys.argv[2]}-{n}': sidecar.Origin(size=n)})\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    assert len(sidecar.read(tmp_path)) == 60


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a folder that refuses")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SlmDeskError) as caught:
            sidecar.record(tmp_path, {"a": WHOLE})
        assert caught.value.code == "file_unwritable"
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x")
    with pytest.raises(SlmDeskError) as caught:
        sidecar.record(tmp_path / "m", {"a": WHOLE})
    assert caught.value.code == "file_unwritable"
