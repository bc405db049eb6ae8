"""A job keeps the hub, the proxy and the settings it was made with, whoever runs it later. All processes are real."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slmdesk.application import Application
from slmdesk.core.jobs.job_store import Job
from slmdesk.library.importing import Importer
from slmdesk.library.sources import source_at
from tests.hub import LoopbackHub, User

from .conftest import Program, Result

REPO, FILE = "maker/mirrored-GGUF", "mirrored-F16.gguf"


@pytest.fixture
def mirror(desk_guide: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub({REPO: {FILE: desk_guide}}) as hub:
        yield hub


@pytest.fixture
def other(desk_guide: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub({REPO: {FILE: desk_guide}}) as hub:
        yield hub


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """`slmdesk …` in one home, with the variables given; what works in the background ends with the test."""
    program = Program(tmp_path / "home")

    def run(*words: str, **variables: str) -> Result:
        env = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", **variables}
        return program.run(*words, env=env)

    yield run
    assert run("stop").code == 0


def shown(desk: Callable[..., Result], job: str) -> dict[str, Any]:
    listed = desk("jobs", "--all", "--json").result["jobs"]
    found: dict[str, Any] = next(one for one in listed if one["id"] == job)
    return found


def until(desk: Callable[..., Result], job: str, state: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (now := shown(desk, job))["state"] != state:
        assert time.monotonic() < end, now
        assert now["state"] != "failed", now
        time.sleep(0.2)
    return now


def paused(desk: Callable[..., Result], hub: LoopbackHub, **variables: str) -> str:
    """A download that was begun at this hub and paused, with nobody left who works on it."""
    hub.faults.slow(f"{REPO}/*", 1_000_000)
    job: str = desk("pull", REPO, "--detach", "--json", HF_ENDPOINT=hub.url, **variables).result["job"]["id"]
    until(desk, job, "running")
    assert desk("jobs", "pause", job).code == 0
    until(desk, job, "paused")
    assert desk("stop").code == 0
    hub.faults.clear()
    return job


@pytest.mark.slow
def test_a_download_goes_on_at_the_hub_it_was_begun_at(
    tmp_path: Path,
    desk: Callable[..., Result],
    mirror: LoopbackHub,
    other: LoopbackHub,
    desk_guide: Path,
) -> None:
    job = paused(desk, mirror)
    mirror.forget()
    elsewhere = {"HF_ENDPOINT": other.url, "HF_HUB_OFFLINE": "1", "ALL_PROXY": "http://127.0.0.1:9"}
    told = desk("jobs", **elsewhere)
    assert mirror.url.partition("://")[2] in told.out
    assert f"hub {mirror.url}, today {other.url}" in told.out
    assert "proxy none, today http://127.0.0.1:9" in told.out
    assert f"slmdesk jobs resume {job} --here" in told.out
    resumed = desk("jobs", "resume", job, "--json", **elsewhere).result["job"]
    assert resumed["made_with"]["hub"] == mirror.url
    until(desk, job, "done")
    (path,) = (tmp_path / "home").rglob(FILE)
    assert path.read_bytes() == desk_guide.read_bytes()
    assert mirror.total_served
    assert not other.requests


@pytest.mark.slow
def test_a_download_can_be_given_the_hub_of_today(
    tmp_path: Path,
    desk: Callable[..., Result],
    mirror: LoopbackHub,
    other: LoopbackHub,
    desk_guide: Path,
) -> None:
    job = paused(desk, mirror)
    came = mirror.total_served
    mirror.forget()
    resumed = desk("jobs", "resume", job, "--here", "--json", HF_ENDPOINT=other.url).result["job"]
    assert resumed["made_with"]["hub"] == other.url
    until(desk, job, "done")
    (path,) = (tmp_path / "home").rglob(FILE)
    assert path.read_bytes() == desk_guide.read_bytes()
    assert not mirror.requests
    assert other.total_served < desk_guide.stat().st_size
    assert came
    assert desk("jobs", "pause", job, "--here").code == 2


@pytest.mark.slow
def test_a_token_of_the_variable_goes_along_when_a_download_goes_on(
    tmp_path: Path, desk: Callable[..., Result], mirror: LoopbackHub
) -> None:
    token = "hf_ofTheVariable0123"
    mirror.users = {token: User("ada", accepted=frozenset({REPO}))}
    mirror[REPO].gated = "manual"
    job = paused(desk, mirror, HF_TOKEN=token)
    resumed = desk("jobs", "resume", job, HF_ENDPOINT=mirror.url, HF_TOKEN=token)
    assert resumed.code == 0, resumed.err
    until(desk, job, "done")
    assert not [
        path
        for path in (tmp_path / "home").rglob("*")
        if path.is_file() and token.encode() in path.read_bytes()
    ]


def test_a_proxys_login_is_in_no_row_and_still_used(
    tmp_path: Path, desk: Callable[..., Result], mirror: LoopbackHub, desk_guide: Path
) -> None:
    # A proxy is sent whole addresses; the loopback hub answers them like its own.
    proxy = mirror.url.replace("http://", "http://ada:pa#ssWord@")
    variables = {"HTTP_PROXY": proxy, "NO_PROXY": "localhost"}
    pulled = desk("pull", REPO, "--json", HF_ENDPOINT="http://models.invalid", **variables)
    assert pulled.code == 0, pulled.out
    login = base64.b64encode(b"ada:pa#ssWord").decode()
    hub_requests = [request for request in mirror.requests if request.side == "hub"]
    assert {request.headers.get("proxy-authorization") for request in hub_requests} == {f"Basic {login}"}
    assert any("resolve" in request.path for request in hub_requests)
    job = shown(desk, pulled.result["job"])
    assert job["made_with"]["proxy"] == mirror.url
    kept = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    for secret in (b"pa#ssWord", b"pa%23ssWord", login.encode()):
        assert not any(secret in content for content in kept)


async def test_an_import_goes_to_the_models_folder_of_its_time(
    home: Path, tmp_path: Path, desk_guide: Path
) -> None:
    folder = tmp_path / "models of then"
    folder.mkdir()
    asking = Application.build({**os.environ, "SLMDESK_LIBRARY_FOLDERS": str(folder)})
    try:
        (candidate,) = await Importer(asking.library).find(source_at(desk_guide))
        # The process that does the work is started with the environment of this one, which knows no such folder.
        parameters = {"candidates": [candidate.to_json()], "mode": "copy", "name": "maker/then"}
        job = await asking.jobs.submit("import", "then", parameters)
        done = await _ended(asking, job.id)
        assert done.state == "done", done
        assert [path.name for path in (folder / "maker" / "then").glob("*.gguf")] == [desk_guide.name]
    finally:
        await asking.jobs.end_runner()
        await asking.close()


async def _ended(application: Application, job_id: str) -> Job:
    async with asyncio.timeout(60):
        async for job in application.jobs.watch(job_id):
            if job.ended:
                return job
    raise AssertionError("the job was left")
