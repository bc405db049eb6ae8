"""The forecast of models that make vectors of texts, against the engine's measured peak."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from slmdesk.core.held_memory import held_bytes
from slmdesk.engines.host import start_engine
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.formats.pooling import TextModel
from slmdesk.inference.loading import Loading
from slmdesk.inference.vectors import EmbedAsk
from slmdesk.memory.forecast import Forecast
from slmdesk.memory.texts import fit_texts, forecast_texts, text_context
from slmdesk.memory.weights import weights_bytes
from tests.asking import spec_of
from tests.text_models import CLS, LAST, MEAN, TextShape, text_model

BAR = 0.05
WIDE = {"layers": 6, "hidden": 384, "feed_forward": 1536, "heads": 12}


def expected(path: Path, context: int, *, flash_attention: bool = True) -> Forecast:
    header = read_header(path)
    return forecast_texts(
        Architecture.from_gguf(header),
        weights_bytes(header),
        TextModel.of(header),
        Loading(context_length=context, flash_attention=flash_attention, threads=2),
    )


@pytest.mark.parametrize(
    ("shape", "context", "flash"),
    [
        (TextShape("bert", MEAN, vocabulary=30522, context=512, **WIDE), 512, True),
        (TextShape("bert", CLS, vocabulary=120000, context=1024, **WIDE), 1024, False),
        (TextShape("nomic-bert", MEAN, vocabulary=30522, context=2048, **WIDE), 2048, True),
        (TextShape("qwen3", LAST, vocabulary=60000, context=4096, **WIDE), 2048, True),
    ],
)
async def test_the_engine_takes_what_was_forecast(
    shape: TextShape, context: int, flash: bool, tmp_path: Path
) -> None:
    """With a text that fills the context; a row of logits for each of its tokens is the most of it."""
    path = text_model(tmp_path / "texts.gguf", shape)
    forecast = expected(path, context, flash_attention=flash)
    engine = await start_engine(
        spec_of(path, "texts", context_length=context, threads=2, flash_attention=flash)
    )
    try:
        loaded = engine.facts.memory_bytes
        vectors = await engine.embed(EmbedAsk(("b c " * context,), truncate=True))
        assert vectors.tokens == (context,)
        peak = await asyncio.to_thread(held_bytes, engine.pid)
    finally:
        await engine.stop()
    assert abs(forecast.total_bytes / peak - 1) <= BAR, (forecast, peak)
    assert abs(forecast.loaded_bytes / loaded - 1) <= BAR, (forecast, loaded)


def test_a_text_is_never_longer_than_the_model_was_trained_for() -> None:
    assert text_context(0, 512) == 512
    assert text_context(8192, 512) == 512
    assert text_context(0, 8192) == 2048
    assert text_context(4096, 8192) == 4096
    assert text_context(0, 0) == 2048


def test_the_fit_tells_the_longest_text_that_there_is_room_for(tmp_path: Path) -> None:
    path = text_model(tmp_path / "texts.gguf", TextShape("nomic-bert", MEAN, vocabulary=30522, context=2048))
    header = read_header(path)
    file = path.stat().st_size
    plenty = fit_texts(header, Loading(), file_bytes=file, available=10**10)
    assert (plenty.verdict, plenty.max_context, plenty.forecast.context) == ("fits", 2048, 2048)
    assert plenty.forecast.kv_bytes == 0
    short = fit_texts(header, Loading(), file_bytes=file, available=plenty.least_bytes - 50_000_000)
    assert short.verdict == "too_big"
    assert 0 < short.max_context < 2048
    longest = expected(path, short.max_context).total_bytes
    assert longest <= plenty.least_bytes - 50_000_000 < expected(path, short.max_context + 1).total_bytes
