"""What goes wrong on the way: each fault ends in the right file, or in an error that says what happened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import Job
from slmdesk.library import sidecar
from tests.downloads.conftest import REPO, TOKEN, settled, until
from tests.hub import LoopbackHub
from tests.hub.chunks import HEADER, block
from tests.hub.files import safetensors_file

FILE = "weights.safetensors"
SIZE = 6_000_000
PATTERN = f"{REPO}/{FILE}"

Spoil = Callable[[LoopbackHub], None]

PASSING: dict[str, Spoil] = {
    "cut in the middle": lambda hub: hub.faults.cut(PATTERN, after=2_500_000),
    "cut before the first byte": lambda hub: hub.faults.cut(PATTERN, after=0),
    "cut three times": lambda hub: hub.faults.cut(PATTERN, after=1_000_000, times=3),
    "500 of the hub": lambda hub: hub.faults.status(PATTERN, 500, where="resolve"),
    "503 of the storage": lambda hub: hub.faults.status(PATTERN, 503),
    "429 with Retry-After": lambda hub: hub.faults.status(PATTERN, 429, retry_after=2, where="resolve"),
    "a link that expired": lambda hub: hub.faults.expired(PATTERN),
    "other bytes once": lambda hub: hub.faults.other_bytes(PATTERN),
    "an error page with 200": lambda hub: hub.faults.other_bytes(PATTERN, b"<html>sorry</html>"),
    "no ranges, cut in the middle": lambda hub: (
        hub.faults.ignore_range(PATTERN),
        hub.faults.cut(PATTERN, after=2_000_000),
    )[-1],
}


def target(app: Application) -> Path:
    return app.paths.models / REPO / FILE


async def fetch(app: Application) -> Job:
    job = await app.downloads.start(await app.downloads.plan(REPO, [FILE]))
    return await settled(app, job.id)


@pytest.mark.parametrize("fault", PASSING)
async def test_a_fault_that_passes_ends_in_the_right_file(
    app: Application, hub: LoopbackHub, fault: str
) -> None:
    plan = await app.downloads.plan(REPO, [FILE])
    PASSING[fault](hub)
    job = await settled(app, (await app.downloads.start(plan)).id)
    assert job.state == "done", job.error
    assert hub.faults.spoiled
    assert hashlib.sha256(target(app).read_bytes()).hexdigest() == hub[REPO].files[FILE].sha256
    assert not (target(app).parent / ".slmdesk-partial").exists()


async def test_wrong_content_is_put_aside_and_never_gets_the_name(app: Application, hub: LoopbackHub) -> None:
    hub.faults.lie_about_hash(PATTERN)
    job = await fetch(app)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "hash_mismatch"
    assert not target(app).exists()
    (quarantined,) = (target(app).parent / ".slmdesk-partial").iterdir()
    assert quarantined.name == "0" * 64 + ".damaged"
    assert hub.served(REPO, FILE) == 3 * SIZE  # bounded
    hub.faults.clear()
    assert (await fetch(app)).state == "done"


@pytest.mark.slow
async def test_a_wrong_size_is_told(app: Application, hub: LoopbackHub) -> None:
    hub.faults.lie_about_size(PATTERN, SIZE // 2)
    job = await fetch(app)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "size_mismatch"
    assert not target(app).exists()
    assert hub.served(REPO, FILE) < 10 * SIZE


async def test_a_circle_of_redirects_is_told(app: Application, hub: LoopbackHub) -> None:
    hub.faults.redirect_loop(PATTERN, where="resolve")
    job = await fetch(app)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "hub_answer_invalid"


async def test_a_hub_that_goes_away_pauses_the_download_and_it_goes_on(
    app: Application, hub: LoopbackHub
) -> None:
    hub.faults.slow(PATTERN, 4e6)
    plan = await app.downloads.plan(REPO, [FILE])
    hub.faults.cut(PATTERN, after=1_000_000)
    job = await app.downloads.start(plan)
    hub.stop()
    try:
        waiting = await settled(app, job.id)
    finally:
        hub.start()
    assert waiting.state == "paused"
    assert waiting.error is not None
    assert waiting.error.code == "hub_unreachable"
    assert waiting.resume_at is not None
    hub.faults.clear()
    await app.jobs.resume(job.id)
    assert (await settled(app, job.id)).state == "done"


async def test_gates_are_told_apart(app: Application, hub: LoopbackHub) -> None:
    hub.add("maker/gated", {"a.gguf": b"x" * 1000}, gated="manual")
    hub.add("maker/secret", {"a.gguf": b"x" * 1000}, private=True)
    codes = []
    for repo in ("maker/gated", "maker/secret"):
        with pytest.raises(SlmDeskError) as caught:
            await app.downloads.plan(repo, ["a.gguf"])
        codes.append(caught.value.code)
    assert codes == ["token_missing", "repo_not_found"]
    app.hub.set_token(TOKEN)
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.plan("maker/gated", ["a.gguf"])
    assert caught.value.code == "licence_not_accepted"
    assert f"{hub.url}/maker/gated" in caught.value.hint


@pytest.mark.parametrize("address", ["other host", "same name, other port"])
async def test_the_token_stays_with_the_hub(app: Application, hub: LoopbackHub, address: str) -> None:
    app.hub.set_token(TOKEN)
    with LoopbackHub() as elsewhere:
        base = elsewhere.cdn_url if address == "other host" else elsewhere.url
        plan = await app.downloads.plan(REPO, [FILE])
        hub.faults.redirect(PATTERN, f"{base}/stolen", where="resolve", times=2)
        job = await settled(app, (await app.downloads.start(plan)).id)
        assert elsewhere.requests
        assert elsewhere.holders_of(TOKEN) == set()
    assert job.state == "done", job.error
    assert hub.holders_of(TOKEN) == {"hub"}


async def test_chunk_storage_brings_the_file(app: Application, hub: LoopbackHub) -> None:
    """Half of the file is there already, and not fetched again; the hub's token stays with the hub."""
    big = safetensors_file(20_000_000)
    hub.add("maker/chunked", {"big.safetensors": big}, xet=True)
    hub.has_chunks = True
    app.hub.set_token(TOKEN)
    plan = await app.downloads.plan("maker/chunked", ["big.safetensors"])
    partial = plan.partial(plan.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(big[:8_000_000])
    done = await settled(app, (await app.downloads.start(plan)).id)
    assert done.state == "done", done.error
    assert "Going on over plain HTTPS." not in done.log
    target = app.paths.models / "maker/chunked/big.safetensors"
    assert target.read_bytes() == big
    assert sidecar.read(target.parent)[target.name].state == "verified"
    assert hub.holders_of(TOKEN) == {"hub"}
    assert hub.served("maker/chunked") == 0
    assert 12_000_000 <= hub.served("xorbs") < 13_000_000


async def test_a_wrong_byte_from_chunk_storage_is_never_called_verified(
    app: Application, hub: LoopbackHub
) -> None:
    big = safetensors_file(20_000_000)
    hub.add("maker/chunked", {"big.safetensors": big}, xet=True)
    hub.has_chunks = True
    damaged = bytearray(block(hub["maker/chunked"].files["big.safetensors"], 1))
    damaged[HEADER + 1000] ^= 1
    hub.faults.other_bytes(f"xorbs/*{1:08x}", bytes(damaged))
    plan = await app.downloads.plan("maker/chunked", ["big.safetensors"])
    done = await settled(app, (await app.downloads.start(plan)).id)
    assert done.state == "done", done.error
    assert (app.paths.models / "maker/chunked/big.safetensors").read_bytes() == big
    assert hub.faults.spoiled
    assert "the content is not the promised one" in " ".join(done.log)


@pytest.mark.slow
async def test_xet_that_fails_is_left_for_plain_https(
    app: Application, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = safetensors_file(10_000_000)
    hub.add("maker/chunked", {"big.safetensors": big}, xet=True)
    job = await app.downloads.start(await app.downloads.plan("maker/chunked", ["big.safetensors"]))
    done = await settled(app, job.id)
    assert done.state == "done", done.error
    assert "Going on over plain HTTPS." in done.log
    assert (app.paths.models / "maker/chunked/big.safetensors").read_bytes() == big
    assert hub.count("GET", "xet-read-token") > 0


@pytest.mark.slow
@pytest.mark.parametrize("silent", ["/cas/*", "/api/models/maker/chunked/xet-read-token/*"])
async def test_xet_that_says_nothing_is_left_for_plain_https(
    app: Application, hub: LoopbackHub, silent: str
) -> None:
    """Half of the file is there already, and is not fetched again."""
    big = safetensors_file(20_000_000)
    hub.add("maker/chunked", {"big.safetensors": big}, xet=True)
    plan = await app.downloads.plan("maker/chunked", ["big.safetensors"])
    partial = plan.partial(plan.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(big[:8_000_000])
    hub.faults.stall(silent, after=0, times=None)
    done = await settled(app, (await app.downloads.start(plan)).id)
    assert done.state == "done", done.error
    assert "Going on over plain HTTPS." in done.log
    assert (app.paths.models / "maker/chunked/big.safetensors").read_bytes() == big
    assert hub.served("maker/chunked", "big.safetensors") == 12_000_000


async def test_a_file_that_comes_packed_in_spite_of_our_wish_is_unpacked(
    app: Application, hub: LoopbackHub, desk_guide: Path
) -> None:
    hub.faults.packed(f"{REPO}/config.json")
    plan = await app.downloads.plan(REPO, ["config.json"])
    done = await settled(app, (await app.downloads.start(plan)).id)
    assert done.state == "done", done
    assert (plan.folder / "config.json").read_bytes() == b'{"model_type": "llama"}'
    # A large one that was begun unpacked is begun anew: what is packed has no ranges of the file.
    plan = await app.downloads.plan(REPO, ["small-Q4_K_M.gguf"])
    begun = plan.partial(plan.files[0])
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_bytes(desk_guide.read_bytes()[:3_000_000])
    hub.faults.packed(f"{REPO}/small-Q4_K_M.gguf")
    done = await settled(app, (await app.downloads.start(plan)).id)
    assert done.state == "done", done
    assert plan.target(plan.files[0]).read_bytes() == desk_guide.read_bytes()


@pytest.mark.slow  # five tries, with growing pauses between them
async def test_a_storage_that_cannot_be_reached_pauses_the_download_under_its_own_name(
    app: Application, hub: LoopbackHub, desk_guide: Path
) -> None:
    hub.faults.redirect(f"{REPO}/small-*", "http://localhost:9/somewhere", where="resolve")
    plan = await app.downloads.plan(REPO, ["small-Q4_K_M.gguf"])
    job = await app.downloads.start(plan)
    waiting = await settled(app, job.id)
    assert waiting.state == "paused", waiting
    assert waiting.error is not None
    assert waiting.error.code == "storage_unreachable"
    assert waiting.error.message.startswith("localhost, where")
    assert waiting.resume_at is not None
    hub.faults.clear()
    await app.jobs.resume(job.id)
    done = await until(app, job.id, lambda job: job.ended)
    assert done.state == "done", done
    assert plan.target(plan.files[0]).read_bytes() == desk_guide.read_bytes()
