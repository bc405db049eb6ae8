"""Real engine processes: one with the built-in model for each module, others where a test breaks or fills them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.engines.host import start_engine
from slmdesk.inference.answers import Delta, Stop
from tests.asking import asking, spec_of
from tests.random_models import generator

GREEDY = {"temperature": 0.0}
_numbers = itertools.count(1)


@dataclass
class Heard:
    """An answer as it arrives at a sink."""

    texts: list[str] = field(default_factory=list)
    pieces: list[Any] = field(default_factory=list)
    end: asyncio.Future[Stop] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    id: str = ""
    prompt_tokens: int = 0

    def sink(self, piece: Delta | Stop) -> None:
        if isinstance(piece, Stop):
            self.end.set_result(piece)
        else:
            self.texts.append(str(piece))
            self.pieces.append(piece)
        self.changed.set()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    async def until(self, condition: Callable[[Heard], bool]) -> None:
        """Wait until the condition holds or the answer ended."""
        while not condition(self) and not self.end.done():
            self.changed.clear()
            await self.changed.wait()


async def _ask(engine: Engine, question: str | list[dict[str, Any]], **options: Any) -> Heard:
    heard = Heard(id=f"t{next(_numbers)}")
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
    sampling = options.pop("sampling", GREEDY)
    chat: dict[str, Any] = {} if "prompt" in options else {"messages": messages}
    request = asking(heard.id, sampling=sampling, **chat, **options)
    heard.prompt_tokens = await engine.submit(request, heard.sink)
    return heard


async def _answer(engine: Engine, question: str | list[dict[str, Any]], **options: Any) -> tuple[str, Stop]:
    heard = await _ask(engine, question, **options)
    finished = await heard.end
    return heard.text, finished


@pytest.fixture(scope="session")
def ask() -> Callable[..., Awaitable[Heard]]:
    """`ask(engine, question, **options)` begins a greedy answer: `question` is what the user says, or messages;
    `prompt=` in its place is a raw prompt; other options are those of `asking`."""
    return _ask


@pytest.fixture(scope="session")
def answer() -> Callable[..., Awaitable[tuple[str, Stop]]]:
    """As `ask`, but waits: (text, stop)."""
    return _answer


StartEngine = Callable[..., Awaitable[Engine]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(desk_guide: Path) -> AsyncIterator[Engine]:
    """The built-in model, four at once."""
    started = await start_engine(spec_of(desk_guide, "slmdesk/desk-guide", parallel=4, cache_cells=8192))
    yield started
    await started.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def start(desk_guide: Path) -> AsyncIterator[StartEngine]:
    """Starts further engines; they end with the test."""
    engines: list[Engine] = []

    async def start_one(path: Path | None = None, **spec: Any) -> Engine:
        engines.append(await start_engine(spec_of(path or desk_guide, "test", **spec)))
        return engines[-1]

    yield start_one
    for started in engines:
        await started.stop()


@pytest.fixture(scope="session")
def models() -> ModuleType:
    """The generator of random models, which the benchmarks use too."""
    return generator()


@pytest.fixture(scope="session")
def tiny(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 0.2 MB that writes nonsense without end."""
    return Path(
        models.random_llama_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", models.TINY, quant="F16")
    )


@pytest.fixture(scope="session")
def slow(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that takes seconds for a long prompt."""
    shape = models.Shape(
        layers=6, hidden=512, feed_forward=1536, heads=8, kv_heads=4, vocabulary=1024, context=8192
    )
    return Path(models.random_llama_gguf(tmp_path_factory.mktemp("slow") / "slow.gguf", shape, quant="F16"))
