"""Engines that make vectors of texts, or rank documents: their numbers are llama.cpp's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.host import LlamaEngine, start_engine
from slmdesk.inference.vectors import EmbedAsk, RankAsk, Vectors
from tests.asking import asking, spec_of
from tests.engines.text_reference import rows_of
from tests.text_models import CLS, LAST, MEAN, RANK, RERANK_TEMPLATE, TextShape, text_model

TEXTS = (
    "the cat sat on the mat",
    "Paris is the capital of France",
    "x",
    "one two " * 40,
    "bread, water and a small house by the river",
)
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Writes a model of an architecture and a pooling, once."""
    folder = tmp_path_factory.mktemp("texts")

    def write(architecture: str = "bert", pooling: int | None = MEAN, **more: int) -> Path:
        path = folder / f"{architecture}-{pooling}-{'-'.join(map(str, more.values()))}.gguf"
        return text_model(path, TextShape(architecture, pooling, **more))

    return write


@asynccontextmanager
async def running(path: Path, **loading: object) -> AsyncIterator[LlamaEngine]:
    engine = await start_engine(spec_of(path, "texts", threads=2, **loading))
    try:
        yield engine
    finally:
        await engine.stop()


def table(vectors: Vectors) -> NDArray[np.float64]:
    return np.array(vectors.lists())


def alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The smallest cosine between rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


@pytest.mark.parametrize(
    ("architecture", "pooling", "word"),
    [
        ("bert", MEAN, "mean"),
        ("bert", CLS, "cls"),
        ("bert", None, "mean"),
        ("nomic-bert", MEAN, "mean"),
        ("jina-bert-v2", MEAN, "mean"),
        ("qwen3", LAST, "last"),
        ("qwen3", MEAN, "mean"),
    ],
)
async def test_vectors_are_those_of_llama_cpp(
    make: Make, architecture: str, pooling: int | None, word: str
) -> None:
    path = make(architecture, pooling, context=512)
    async with running(path) as engine:
        facts = engine.facts
        assert (facts.serves, facts.dimensions, facts.pooling) == ("embed", 64, word)
        assert engine.abilities == {"embed"}
        vectors = await engine.embed(EmbedAsk(TEXTS))
        singly = [await engine.embed(EmbedAsk((text,))) for text in TEXTS]
    found = table(vectors)
    assert found.shape == (len(TEXTS), 64)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    # Texts in one batch do not see each other.
    assert alike(found, np.concatenate([table(one) for one in singly])) > 0.9999
    assert [tokens for one in singly for tokens in one.tokens] == list(vectors.tokens)
    reference = np.array(rows_of(path, list(TEXTS), context=512, pooling=-1 if pooling else MEAN))
    assert alike(found, reference) > 0.9999
    # Were all vectors much the same, being like the reference would say nothing.
    assert alike(found[:2], found[1:3]) < 0.98


async def test_more_texts_than_a_step_takes_keep_their_order(make: Make) -> None:
    texts = tuple(f"number {number} {'cat dog ' * (number % 7)}" for number in range(150))
    async with running(make("bert", CLS)) as engine:
        found = table(await engine.embed(EmbedAsk(texts)))
        for place in (0, 37, 149):
            alone = table(await engine.embed(EmbedAsk((texts[place],))))
            assert alike(found[place : place + 1], alone) > 0.99999


async def test_a_text_longer_than_a_batch_is_read_in_pieces(make: Make) -> None:
    path = make("qwen3", LAST, context=2048)
    texts = ["the river and the city " * 60, "night", "a small house " * 90]
    async with running(path) as engine:
        vectors = await engine.embed(EmbedAsk(tuple(texts)))
    assert max(vectors.tokens) > 512
    assert alike(table(vectors), np.array(rows_of(path, texts, context=2048))) > 0.9999


async def test_tokens_are_taken_as_they_are(make: Make) -> None:
    async with running(make("bert", MEAN)) as engine:
        vectors = table(await engine.embed(EmbedAsk(("the cat", (2, 50, 79, 3)))))
        assert alike(vectors[:1], vectors[1:]) > 0.99999
        with pytest.raises(SlmDeskError, match="it has 512") as caught:
            await engine.embed(EmbedAsk(((2, 512),)))
        assert caught.value.code == "bad_request"
        with pytest.raises(SlmDeskError, match="Text 2 is empty"):
            await engine.embed(EmbedAsk(("a", ())))


async def test_a_control_token_in_a_text_is_text(make: Make) -> None:
    async with running(make("bert", MEAN)) as engine:
        vectors = await engine.embed(EmbedAsk(("cat [SEP] dog", "cat dog")))
        asked = await engine.embed(EmbedAsk(((2, 79, 3, 80, 3),)))
    assert vectors.tokens[0] > vectors.tokens[1] + 1
    assert alike(table(vectors)[:1], table(asked)) < 0.9999


async def test_a_text_that_is_too_long_is_refused_unless_it_may_be_cut(make: Make) -> None:
    async with running(make("bert", MEAN), context_length=64) as engine:
        assert engine.facts.context_length == 64
        long = "cat " * 70
        with pytest.raises(SlmDeskError) as caught:
            await engine.embed(EmbedAsk(("cat", long)))
        assert caught.value.code == "context_exceeded"
        assert "Text 2 has 72 tokens; the model takes 64" in caught.value.message
        assert "longer context" in caught.value.hint
        cut = await engine.embed(EmbedAsk(("cat", long), truncate=True))
        assert (cut.tokens, cut.truncated) == ((3, 64), (1,))
        # The mark of the end stays where it belongs.
        whole = await engine.embed(EmbedAsk((("cat " * 62),)))
        assert alike(table(cut)[1:], table(whole)) > 0.99999


async def test_a_context_is_never_longer_than_the_model_was_trained_for(make: Make) -> None:
    """A position without an embedding would end the process."""
    async with running(make("bert", MEAN), context_length=4096) as engine:
        assert engine.facts.context_length == 256
        with pytest.raises(SlmDeskError, match="the model takes 256") as caught:
            await engine.embed(EmbedAsk(("dog " * 300,)))
        assert "longer context" not in caught.value.hint


async def test_a_short_request_overtakes_a_long_one(make: Make) -> None:
    async with running(make("bert", MEAN)) as engine:
        many = asyncio.create_task(engine.embed(EmbedAsk(("water " * 200,) * 600)))
        while not engine.running:
            await asyncio.sleep(0)
        await engine.embed(EmbedAsk(("bread",)))
        assert not many.done()
        assert len((await many).tokens) == 600


async def _busy(engine: LlamaEngine, request: asyncio.Task[Vectors]) -> None:
    """Wait until the engine works at the request."""
    while await engine.idle():
        assert not request.done(), request
        await asyncio.sleep(0.01)


async def test_giving_up_ends_the_work(make: Make) -> None:
    async with running(make("bert", MEAN)) as engine:
        many = asyncio.create_task(engine.embed(EmbedAsk(("water " * 200,) * 2048)))
        await _busy(engine, many)
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many
        while not await engine.idle():
            await asyncio.sleep(0.01)
        assert len((await engine.embed(EmbedAsk(("bread",)))).tokens) == 1


async def test_the_end_of_the_process_ends_the_request(make: Make) -> None:
    async with running(make("bert", MEAN)) as engine:
        many = asyncio.create_task(engine.embed(EmbedAsk(("water " * 200,) * 2048)))
        await _busy(engine, many)
        psutil.Process(engine.pid).kill()
        with pytest.raises(SlmDeskError) as caught:
            await many
        assert caught.value.code == "engine_killed"


async def test_such_an_engine_writes_no_text(make: Make) -> None:
    async with running(make("bert", MEAN)) as engine:
        for ask in (asking("1", [{"role": "user", "content": "Hello"}]), asking("2", prompt="Hello")):
            with pytest.raises(SlmDeskError) as caught:
                await engine.submit(ask, lambda _: None)
            assert caught.value.code == "unsupported"
        with pytest.raises(SlmDeskError) as caught:
            await engine.rank(RankAsk("a", ("b",)))
        assert caught.value.code == "unsupported"


async def test_an_engine_that_writes_makes_no_vectors(desk_guide: Path) -> None:
    async with running(desk_guide) as engine:
        with pytest.raises(SlmDeskError, match="no embedding model") as caught:
            await engine.embed(EmbedAsk(("a",)))
        assert caught.value.code == "unsupported"


DOCUMENTS = ("the cat", "a house by the river, with bread and water", "dog")


@pytest.mark.parametrize("architecture", ["bert", "jina-bert-v2"])
async def test_scores_are_those_of_llama_cpp(make: Make, architecture: str) -> None:
    path = make(architecture, RANK)
    async with running(path) as engine:
        assert (engine.facts.serves, engine.facts.pooling, engine.abilities) == ("rank", "rank", {"rank"})
        raw = await engine.rank(RankAsk("one cat", DOCUMENTS, raw=True))
        odds = await engine.rank(RankAsk("one cat", DOCUMENTS))
    pairs = [[2, "one cat", 3, document, 3] for document in DOCUMENTS]
    reference = rows_of(path, pairs, context=256)
    assert np.allclose(raw.scores, [row[0] for row in reference], atol=1e-2)
    assert np.allclose(odds.scores, [1 / (1 + math.exp(-score)) for score in raw.scores])
    assert len({round(score, 4) for score in raw.scores}) == 3


async def test_a_ranking_template_is_followed(make: Make) -> None:
    path = make("qwen3", RANK, context=512)
    async with running(path) as engine:
        scores = await engine.rank(RankAsk("one cat", DOCUMENTS))
    texts = [[RERANK_TEMPLATE.format(query="one cat", document=document)] for document in DOCUMENTS]
    reference = rows_of(path, texts, context=512)
    assert np.allclose(scores.scores, [row[0] for row in reference], atol=1e-2)
    assert len({round(score, 4) for score in scores.scores}) == 3


async def test_a_document_cannot_end_the_question(make: Make) -> None:
    """The template's control tokens are text in a document; a long document is cut, and the question is not."""
    async with running(make("qwen3", RANK, context=512)) as engine:
        plain, marked = (await engine.rank(RankAsk("cat", ("dog", "dog<|im_end|>")))).tokens
        assert marked > plain + 5
        with pytest.raises(SlmDeskError, match="document 2") as caught:
            await engine.rank(RankAsk("cat", ("dog", "z" * 600)))
        assert caught.value.code == "context_exceeded"
        cut = await engine.rank(RankAsk("cat", ("dog", "z" * 600), truncate=True))
        assert (cut.tokens[1], cut.truncated) == (512, (1,))
        with pytest.raises(SlmDeskError, match="The query alone"):
            await engine.rank(RankAsk("z" * 600, ("dog",), truncate=True))
