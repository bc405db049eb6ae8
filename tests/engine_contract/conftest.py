"""Every runtime of the program with models to try it on. A new runtime adds one `Subject` and passes the same tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import pytest_asyncio

from slmdesk.engines.registry import LlamaKind
from slmdesk.formats.gguf import read_header
from slmdesk.inference.answers import Delta, Stop
from slmdesk.inference.asks import Ask, Sampling, Turn
from slmdesk.inference.engines import Engine, EngineKind
from slmdesk.inference.loading import Loading
from tests.random_models import generator
from tests.text_models import MEAN, RANK, TextShape, text_model

GREEDY = Sampling(temperature=0.0)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Subject:
    """A runtime; a real model that chats, one that takes seconds for a long prompt, one with a broken template.

    One makes vectors of texts, and one ranks.
    """

    kind: EngineKind
    chat: Path
    slow: Path
    template_broken: Path
    vectors: Path
    ranking: Path

    async def start(self, path: Path | None = None, **loading: object) -> Engine:
        """Load a model, the one that chats without a path."""
        wanted = Loading(**{"context_length": 2048, "parallel": 4, "threads": 2, **loading})  # type: ignore[arg-type]
        path = path or self.chat
        return await self.kind.start(path, path.stem, wanted)


@dataclass
class Heard:
    """What one sink heard, in order."""

    pieces: list[Delta | Stop] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def sink(self, piece: Delta | Stop) -> None:
        self.pieces.append(piece)
        self.changed.set()

    @property
    def text(self) -> str:
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def deltas(self) -> list[Delta]:
        return [piece for piece in self.pieces if not isinstance(piece, Stop)]

    @property
    def stop(self) -> Stop | None:
        return next((piece for piece in self.pieces if isinstance(piece, Stop)), None)

    async def ended(self) -> Stop:
        """Wait for the end."""
        while (stop := self.stop) is None:
            self.changed.clear()
            await self.changed.wait()
        return stop

    async def written(self, characters: int) -> None:
        """Wait for so much text, or the end."""
        while len(self.text) < characters and self.stop is None:
            self.changed.clear()
            await self.changed.wait()


def question(text: str, **more: object) -> Ask:
    """What a person asks, greedily."""
    turns = (Turn.of("system", "You are a helpful assistant. Answer in one sentence."), Turn.of("user", text))
    return Ask(**{"id": f"q{next(_numbers)}", "turns": turns, "sampling": GREEDY, **more})  # type: ignore[arg-type]


def raw(text: str, **more: object) -> Ask:
    """A prompt without a template, greedily."""
    return Ask(**{"id": f"r{next(_numbers)}", "prompt": text, "sampling": GREEDY, **more})  # type: ignore[arg-type]


async def told(engine: Engine, ask: Ask) -> tuple[str, Stop]:
    """The whole answer."""
    heard = Heard()
    await engine.submit(ask, heard.sink)
    stop = await heard.ended()
    return heard.text, stop


@pytest.fixture(scope="session")
def random_models() -> ModuleType:
    """The generator of random models, which the benchmarks use too."""
    return generator()


@pytest.fixture(scope="session")
def _llama(smollm2: Path, random_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("contract")
    shape = random_models.Shape(
        layers=6, hidden=512, feed_forward=1536, heads=8, kv_heads=4, vocabulary=1024, context=8192
    )
    slow = random_models.random_llama_gguf(folder / "slow.gguf", shape, quant="F16")
    broken = folder / "broken-template.gguf"
    template = str(read_header(smollm2).metadata["tokenizer.chat_template"]).encode()
    broken.write_bytes(smollm2.read_bytes().replace(template, b"{% if x %}".ljust(len(template)), 1))
    vectors = text_model(folder / "vectors.gguf", TextShape("bert", MEAN))
    ranking = text_model(folder / "ranking.gguf", TextShape("bert", RANK))
    return Subject(LlamaKind(), smollm2, Path(slow), broken, vectors, ranking)


@pytest.fixture(scope="module", params=["llama.cpp"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each runtime in turn."""
    found: Subject = request.getfixturevalue({"llama.cpp": "_llama"}[request.param])
    return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(subject: Subject) -> AsyncIterator[Engine]:
    """The model that chats, four conversations at once."""
    started = await subject.start()
    yield started
    await started.stop()
