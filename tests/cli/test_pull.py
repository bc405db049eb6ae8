"""`slmdesk pull` and `slmdesk jobs` as real processes against a hub on the loopback."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slmdesk.application import Application
from tests.hub import LoopbackHub
from tests.hub.companions import write_companions

REPO = "slmdesk/guide-GGUF"


@pytest.fixture
def hub(desk_guide: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub({REPO: {"guide-F16.gguf": desk_guide, "README.md": b"# Guide\n"}}) as hub:
        yield hub


@pytest.fixture(autouse=True)
def no_runner_stays(home: Path) -> Iterator[None]:
    del home
    yield

    async def end() -> None:
        application = Application.build()
        try:
            await application.jobs.end_runner()
        finally:
            await application.close()

    asyncio.run(end())


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "slmdesk", *words]


def environment(hub: LoopbackHub) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": hub.url, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}


def desk(hub: LoopbackHub, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the last event."""
    done = subprocess.run(
        command(*words, "--json"),
        env=environment(hub),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_what_is_pulled_is_in_the_library_and_verified(
    home: Path, hub: LoopbackHub, desk_guide: Path
) -> None:
    code, last = desk(hub, "pull", REPO)
    assert (code, last["event"]) == (0, "done"), last
    file = next(Path(path) for path in last["result"]["files"] if path.endswith(".gguf"))
    assert file.is_relative_to(home)
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(desk_guide.read_bytes()).digest()
    _, shown = desk(hub, "show", REPO)
    assert "verified" in json.dumps(shown["result"])
    _, listed = desk(hub, "jobs", "--all")
    assert [(job["kind"], job["state"]) for job in listed["result"]["jobs"]] == [("download", "done")]
    # A second time nothing is fetched.
    before = hub.total_served
    code, _ = desk(hub, "pull", f"{REPO}:F16")
    assert code == 0
    assert hub.total_served - before < 1_000_000


def test_what_is_not_there_is_said(hub: LoopbackHub) -> None:
    code, last = desk(hub, "pull", f"{REPO}:Q4_K_M")
    assert (code, last["error"]["code"]) == (1, "choice_not_found")
    assert "F16" in last["error"]["hint"]
    assert desk(hub, "pull", "nobody/nothing")[1]["error"]["code"] == "repo_not_found"
    assert desk(hub, "pull", "???")[0] == 2
    assert desk(hub, "pull", "nothing")[1]["error"]["code"] == "repo_not_found"


@pytest.mark.parametrize("words", ["guide2", "guide2:F16", "{url}/guide2", "{url}/guide2/tree/main"])
def test_a_repository_without_a_publisher_is_pulled_as_where_it_is_now(
    home: Path, hub: LoopbackHub, words: str
) -> None:
    hub.moved["guide2"] = REPO
    code, last = desk(hub, "pull", words.format(url=hub.url))
    assert (code, last["event"]) == (0, "done"), last
    assert last["result"]["model"] == REPO
    assert len(list(home.rglob("slmdesk/guide-GGUF/guide-F16.gguf"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no Ctrl-C can be sent to a child there")
def test_ctrl_c_keeps_what_came_and_resume_ends_it(home: Path, hub: LoopbackHub, desk_guide: Path) -> None:
    hub.faults.slow(f"{REPO}/guide*", 2_000_000)
    with subprocess.Popen(
        command("pull", REPO, "--json"), env=environment(hub), stdout=subprocess.PIPE, text=True
    ) as pulling:
        assert pulling.stdout is not None
        job = ""
        for line in pulling.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and (event["done"] or 0) > 500_000:
                job = event["job"]
                pulling.send_signal(signal.SIGINT)
                break
        pulling.stdout.read()
    assert pulling.returncode == 130
    assert job
    assert not list(home.rglob("guide-F16.gguf"))
    hub.faults.clear()
    code, _ = desk(hub, "jobs", "resume", job)
    assert code == 0
    end = time.monotonic() + 60
    while not (found := list(home.rglob("guide-F16.gguf"))):
        assert time.monotonic() < end, "the download did not go on"
        time.sleep(0.1)
    assert found[0].read_bytes() == desk_guide.read_bytes()
    assert hub.served(REPO, "guide-F16.gguf") < desk_guide.stat().st_size + 2_000_000


def test_a_pull_takes_the_model_and_not_what_lies_beside_it(
    hub: LoopbackHub, desk_guide: Path, tmp_path: Path
) -> None:
    """Draft head, LoRA, projector and embedding model are all smaller, and of the same quant."""
    hub.add("p/beside-GGUF", {"guide-F16.gguf": desk_guide, **write_companions(tmp_path / "made")})
    for wanted in ("p/beside-GGUF", "p/beside-GGUF:F16"):
        code, last = desk(hub, "fit", wanted)
        assert (code, last["event"]) == (0, "done"), last
        assert last["result"]["model"] in {"p/beside-GGUF/guide-F16.gguf", "p/beside-GGUF:F16"}
        code, last = desk(hub, "pull", wanted)
        assert (code, last["event"]) == (0, "done"), last
        assert [Path(path).name for path in last["result"]["files"]] == ["guide-F16.gguf"]
    hub.add("p/alone-GGUF", {"x-F16.gguf": write_companions(tmp_path / "again")["guide-style-F16.gguf"]})
    assert desk(hub, "pull", "p/alone-GGUF")[1]["error"]["code"] == "nothing_to_choose"
    code, last = desk(hub, "fit", "p/alone-GGUF")
    assert (code, last["error"]["code"]) == (1, "model_not_chat")
    assert "LoRA" in last["error"]["message"]
