"""A model on a hub is fetched first, by a download like any other, and then quantized."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.catalog.choices import group
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import Job
from slmdesk.core.paths import Paths
from slmdesk.hub.repo import RepoFile
from slmdesk.hub_source import full_weights
from slmdesk.quantize.request import Request
from tests.hub import LoopbackHub

pytestmark = pytest.mark.timeout(300)
REPO = "pub/small"


def chosen(*names: str) -> str:
    choice = full_weights(group([RepoFile(name, 1000) for name in names]))
    return "" if choice is None else choice.files[0].path


def test_what_is_taken_of_a_repository() -> None:
    assert chosen("m-Q4_K_M.gguf", "m-F16.gguf", "model.safetensors") == "m-F16.gguf"
    assert chosen("m-F16.gguf", "m-BF16.gguf") == "m-BF16.gguf"
    assert chosen("m-Q4_K_M.gguf", "m-F32.gguf", "model.safetensors") == "model.safetensors"
    assert chosen("m-Q4_K_M.gguf", "m-F32.gguf") == "m-F32.gguf"
    assert chosen("m-Q4_K_M.gguf", "pytorch_model.bin") == ""
    assert chosen("m-F16-00001-of-00002.gguf") == ""


@pytest.fixture
async def hub_app(
    paths: Paths, desk_guide: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[LoopbackHub, Application]]:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    files: dict[str, bytes | Path] = {"small-F16.gguf": desk_guide, "README.md": b"# Small"}
    with LoopbackHub({REPO: files, "pub/quants": {"q-Q4_K_M.gguf": desk_guide}}) as hub:
        monkeypatch.setenv("SLMDESK_HUB_ENDPOINT", hub.url)
        application = Application.build(dict(os.environ))
        yield hub, application
        assert await application.jobs.end_runner()
        await application.close()


async def ended(app: Application, job: Job) -> Job:
    async with aclosing(app.jobs.watch(job.id)) as states:
        return [state async for state in states][-1]


async def test_fetched_and_quantized(hub_app: tuple[LoopbackHub, Application]) -> None:
    hub, app = hub_app
    request = Request(REPO, ("Q8_0",), measure=False)
    download, job = await app.hub_quantizing.start(request)
    job = await ended(app, job)
    assert job.state == "done", job.error
    assert (await app.jobs.get(download.id)).state == "done"
    folder = app.paths.models / "pub" / "small"
    made = sorted(path.name for path in folder.glob("*.gguf"))
    assert made == ["small-F16.gguf", "small-Q8_0.gguf"]
    listed = {file.id: file for model in await app.library.models() for file in model.files}
    assert listed["pub/small:Q8_0"].state == "verified"
    fetched = hub.total_served
    # Once it is here, the library's file is meant, and what exists is refused.
    with pytest.raises(SlmDeskError) as caught:
        await app.quantizing.start(request)
    assert caught.value.code == "output_exists"
    assert hub.total_served == fetched


async def test_what_is_refused_before_anything_is_fetched(
    hub_app: tuple[LoopbackHub, Application],
) -> None:
    hub, app = hub_app
    for request, code in (
        (Request("pub/quants", ("Q8_0",)), "source_unsuitable"),
        (Request(REPO, ("IQ2_XS",), imatrix="none"), "imatrix_needed"),
    ):
        with pytest.raises(SlmDeskError) as caught:
            await app.hub_quantizing.start(request)
        assert caught.value.code == code
    assert await app.jobs.list() == []
    assert hub.served(REPO, "small-F16.gguf") == 0


async def test_a_download_that_is_cancelled_ends_the_job_with_its_reason(
    hub_app: tuple[LoopbackHub, Application],
) -> None:
    hub, app = hub_app
    hub.faults.stall(f"{REPO}/small-F16.gguf", after=1000)
    request = Request(REPO, ("Q8_0",), measure=False)
    download, job = await app.hub_quantizing.start(request)
    async with aclosing(app.jobs.watch(job.id)) as states:
        async for state in states:
            if state.detail.startswith("waiting for the download"):
                break
    await app.jobs.cancel(download.id)
    job = await ended(app, job)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "fetch_cancelled"
    assert not list(app.paths.models.rglob("*.gguf"))
