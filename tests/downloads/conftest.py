"""A loopback hub, a home whose downloads come from it, and the real process that does the work."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.core.jobs.job_store import Job
from slmdesk.core.paths import Paths
from tests.hub import LoopbackHub, User
from tests.hub.files import onnx_file, safetensors_file

REPO = "maker/small-model"
TOKEN = "hf_plantedSecretToken0123456789"


def some_bytes(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


@pytest.fixture
def hub(desk_guide: Path) -> Iterator[LoopbackHub]:
    """`maker/small-model` with a real GGUF, a larger file of random bytes and small ones."""
    files = {
        "small-Q4_K_M.gguf": desk_guide,
        "weights.safetensors": safetensors_file(6_000_000),
        "config.json": b'{"model_type": "llama"}',
        "onnx/model.onnx": onnx_file(200_000, 2),
        "pytorch_model.bin": some_bytes(1000, 3),
    }
    with LoopbackHub({REPO: files}, users={TOKEN: User("ada")}) as hub:
        yield hub


@pytest.fixture
async def app(paths: Paths, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Application]:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    application = Application.build(dict(os.environ))
    yield application
    assert await application.jobs.end_runner()
    await application.close()


async def until(application: Application, job_id: str, condition: Callable[[Job], bool]) -> Job:
    last = None
    async with asyncio.timeout(60), aclosing(application.jobs.watch(job_id)) as seen:
        async for job in seen:
            last = job
            if condition(job):
                return job
    raise AssertionError(f"the job ended otherwise: {last}")


async def settled(application: Application, job_id: str) -> Job:
    """The job once it ended, or waits for something."""
    return await until(application, job_id, lambda job: job.ended or job.state == "paused")
