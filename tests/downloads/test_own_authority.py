"""A hub behind certificates of a company's own: trusted when the setting names them, told apart when it does not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.catalog.records import CatalogQuery, SearchPage
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from tests.downloads.conftest import REPO, settled
from tests.hub import LoopbackHub
from tests.hub.certificates import Authority, make_authority
from tests.hub.files import safetensors_file

FILE = "weights.safetensors"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(authority: Authority) -> Iterator[LoopbackHub]:
    files = {FILE: safetensors_file(6_000_000), "config.json": b"{}", "README.md": b"# Small"}
    with LoopbackHub({REPO: files}, tls=authority.server) as hub:
        assert hub.url.startswith("https://")
        yield hub


@pytest.fixture
async def app(
    paths: Paths, secure: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Application]:
    monkeypatch.setenv("HF_ENDPOINT", secure.url)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    application = Application.build(dict(os.environ))
    yield application
    assert await application.jobs.end_runner()
    await application.close()


async def from_hub(app: Application) -> list[SearchPage]:
    """What the hub had to say to a search."""
    found: list[SearchPage] = []
    async with aclosing(app.catalog.search(CatalogQuery(text="small-model"))) as pages:
        async for page in pages:
            if page.source == "hub" or page.error is not None:
                found.append(page)
                break
    return found


async def test_search_and_download_with_the_authority_of_the_settings(
    app: Application, secure: LoopbackHub, authority: Authority
) -> None:
    app.settings.set("network.ca_file", str(authority.certificate))
    (page,) = await from_hub(app)
    assert [entry.id for entry in page.entries] == [REPO]
    assert (await app.catalog.model_page(REPO)).repo == REPO
    secure.faults.cut(f"{REPO}/{FILE}", after=2_000_000)  # goes on by a range, over TLS as well
    job = await settled(app, (await app.downloads.start(await app.downloads.plan(REPO, [FILE]))).id)
    assert job.state == "done", job.error
    content = (app.paths.models / REPO / FILE).read_bytes()
    assert content == safetensors_file(6_000_000)
    assert {request.side for request in secure.requests} == {"hub", "cdn"}
    assert secure.served(REPO, FILE) < 1.1 * len(content)


async def test_without_it_nothing_is_believed_and_the_reason_is_told(
    app: Application, secure: LoopbackHub, authority: Authority
) -> None:
    (page,) = await from_hub(app)
    assert not page.entries
    assert page.note
    assert page.error is not None
    assert page.error.code == "certificate_invalid"
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.plan(REPO, [FILE])
    assert caught.value.code == "certificate_invalid"
    assert secure.url in caught.value.message
    assert "network.ca_file" in caught.value.hint
    assert not secure.requests
    # A download that was planned while the authority was known.
    app.settings.set("network.ca_file", str(authority.certificate))
    plan = await app.downloads.plan(REPO, [FILE])
    app.settings.reset("network.ca_file")
    job = await settled(app, (await app.downloads.start(plan)).id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "certificate_invalid"
    assert secure.served(REPO, FILE) == 0
    app.settings.set("network.ca_file", str(authority.certificate))
    await app.jobs.resume(job.id, here=True)  # it keeps what it was made with, unless it is told
    assert (await settled(app, job.id)).state == "done"


async def test_another_authority_is_no_help(app: Application, secure: LoopbackHub, tmp_path: Path) -> None:
    app.settings.set("network.ca_file", str(make_authority(tmp_path / "other").certificate))
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.plan(REPO, [FILE])
    assert caught.value.code == "certificate_invalid"
    assert not secure.requests
