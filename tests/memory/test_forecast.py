"""The forecast against real engines, and the decisions that rest on it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from _pytest.mark import ParameterSet

from slmdesk.formats.architecture import Architecture
from slmdesk.inference.loading import Loading
from slmdesk.memory.calibration import Correction
from slmdesk.memory.fit import fit
from slmdesk.memory.forecast import (
    cells_for,
    expect,
    forecast,
    largest_context,
    prefix_bytes,
    usual_context,
    verdict,
)

GB = 10**9
SMALL = Architecture.from_config(
    {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    }
)


@pytest.mark.parametrize("index", range(4))
async def test_the_engine_takes_what_was_forecast(
    index: int, architectures: ModuleType, forecast_benchmark: ModuleType, tmp_path: Path
) -> None:
    """Weights in a rearranged type (which would count twice, were the originals kept), a window, states, experts."""
    sizes, case = architectures.Sizes, forecast_benchmark.Case
    wide = {"layers": 8, "hidden": 768, "feed_forward": 2048, "heads": 12, "kv_heads": 4, "vocabulary": 16000}
    cases = (
        case("llama", sizes("llama", quant="Q4_0", tied=False, **wide), 700),
        case("gemma3", sizes("gemma3", quant="Q8_0", window=256, **wide), 512, cache_type="q8_0"),
        case("mamba2", sizes("mamba2", quant="Q8_0", layers=8, hidden=768, vocabulary=16000, state=64), 600),
        case("qwen3", sizes("qwen3", tokenizer="gpt2", head=128, **wide), 600, parallel=3),
    )
    chosen = cases[index]
    path = architectures.write_model(tmp_path / "model.gguf", chosen.sizes)
    result = await forecast_benchmark.measure(chosen, path)
    assert result.prompt_tokens > chosen.context * 0.9
    assert abs(result.error) <= forecast_benchmark.BAR, result.row()


def _real(model: str, context: int, cache_type: str, *, minutes: int = 0) -> ParameterSet:
    """`minutes` it may take where it takes long."""
    marks = [pytest.mark.timeout(60 * (minutes or 5)), *([pytest.mark.slow] if minutes else [])]
    return pytest.param(model, context, cache_type, marks=marks)


@pytest.mark.parametrize(
    ("model", "context", "cache_type"),
    [
        _real("SmolLM2", 2048, "f16", minutes=5),
        _real("Gemma", 2048, "q8_0", minutes=5),
        _real("SmolLM2", 2048, "q8_0", minutes=5),
        _real("Gemma", 2048, "f16", minutes=5),
        _real("SmolLM2", 8192, "f16", minutes=20),
        _real("SmolLM2", 8192, "q8_0", minutes=20),
        _real("Gemma", 8192, "f16", minutes=10),
        _real("Gemma", 8192, "q8_0", minutes=10),
        _real("Gemma", 32768, "q8_0", minutes=45),
    ],
)
async def test_real_models_take_what_was_forecast_with_the_context_full(
    model: str, context: int, cache_type: str, forecast_benchmark: ModuleType, tmp_path: Path
) -> None:
    case = forecast_benchmark.real_case(model, context, cache_type)
    result = await forecast_benchmark.measure(case, case.path(tmp_path))
    assert result.prompt_tokens > context * 0.95
    assert abs(result.error) <= forecast_benchmark.BAR, result.row()


def test_the_sum_is_the_sum_of_its_parts() -> None:
    found = forecast(SMALL, GB, Loading(4096, 1))
    assert found.total_bytes == sum(
        (found.weights_bytes, found.kv_bytes, found.compute_bytes, found.overhead_bytes)
    )
    assert found.weights_bytes == GB
    assert found.kv_bytes == 4096 * 16 * 2 * 512 * 2
    assert forecast(SMALL, GB, Loading(4097, 1)).cells == 4096 + 256


def test_without_flash_attention_every_head_sees_every_cell() -> None:
    lean = forecast(SMALL, GB, Loading(8192, 1)).compute_bytes
    wide = forecast(SMALL, GB, Loading(8192, 1, flash_attention=False)).compute_bytes
    assert wide - lean > 32 * 8192 * 512 * 4 * 0.9


def test_cells_for_more_contexts_only_where_they_are_asked_for_and_there_is_room() -> None:
    assert cells_for(SMALL, GB, Loading(8192, contexts=1), available=100 * GB) == 8192
    plenty = cells_for(SMALL, GB, Loading(8192, contexts=4), available=100 * GB)
    assert plenty == 4 * 8192
    assert cells_for(SMALL, GB, Loading(8192, contexts=4), available=GB) == 8192
    between = cells_for(SMALL, GB, Loading(8192, contexts=4), available=3 * GB)
    assert 8192 < between < 4 * 8192
    # Where only one context fits, the forecast is that one's.
    least = forecast(SMALL, GB, Loading(8192, 4)).total_bytes
    tight = expect(SMALL, GB, Loading(8192, 4, contexts=4), available=least + 1000)
    assert tight.total_bytes <= least + 1000


def test_the_verdict_is_about_one_conversation() -> None:
    """However many answers are written at once, and however much memory is free."""
    one = forecast(SMALL, GB, Loading(8192, 4))
    found = fit(SMALL, GB, Loading(parallel=4), available=100 * GB)
    assert (found.forecast, found.least_bytes) == (one, one.total_bytes)
    assert found.forecast.cells == 8192
    assert fit(SMALL, GB, Loading(parallel=4), available=one.total_bytes).verdict != "too_big"
    assert fit(SMALL, GB, Loading(parallel=4), available=one.total_bytes - 1).verdict == "too_big"


def test_the_longest_context_fits_and_a_longer_one_does_not() -> None:
    longest = largest_context(SMALL, GB, Loading(parallel=1), available=2 * GB)
    assert longest % 256 == 0
    assert forecast(SMALL, GB, Loading(longest, 1)).total_bytes <= 2 * GB
    assert forecast(SMALL, GB, Loading(longest + 256, 1)).total_bytes > 2 * GB
    assert largest_context(SMALL, 3 * GB, Loading(parallel=1), available=2 * GB) == 0
    assert largest_context(SMALL, GB, Loading(parallel=1), available=10**15) == 131072


def test_verdicts() -> None:
    assert verdict(50, 100) == "fits"
    assert verdict(90, 100) == "tight"
    assert verdict(101, 100) == "too_big"
    found = fit(SMALL, GB, Loading(), available=4 * GB)
    assert (found.verdict, found.forecast.context) == ("fits", 8192)
    assert found.forecast.total_bytes <= 4 * GB
    too_big = fit(SMALL, 5 * GB, Loading(context_length=4096), available=4 * GB)
    assert (too_big.verdict, too_big.max_context) == ("too_big", 0)
    assert too_big.to_json()["total_bytes"] > 5 * GB
    assert usual_context(0) == usual_context(131072) == 8192
    assert usual_context(2048) == 2048


def test_what_conversations_put_aside_may_take_is_told_beside_the_total() -> None:
    plain = forecast(SMALL, GB, Loading(2048, 1, prefix_bytes=0))
    told = forecast(SMALL, GB, Loading(2048, 1, prefix_bytes=50_000_000))
    assert (plain.prefix_bytes, told.prefix_bytes) == (0, 50_000_000)
    assert told.total_bytes == plain.total_bytes
    most = forecast(SMALL, GB, Loading(2048, 1, prefix_bytes=100 * GB))
    assert most.prefix_bytes == 4 * most.kv_bytes
    loading = Loading(prefix_bytes=GB)
    assert prefix_bytes(loading, GB, left=GB // 2) == GB // 10
    assert prefix_bytes(loading, GB, left=-5) == 0
    assert fit(SMALL, GB, loading, available=4 * GB).to_json()["prefix_bytes"] == GB


def test_a_correction_changes_what_is_not_known_exactly() -> None:
    plain = forecast(SMALL, GB, Loading(2048, 1))
    corrected = forecast(SMALL, GB, Loading(2048, 1), calibration=Correction(1.5, 1.2, 0.03, 4))
    assert corrected.weights_bytes == plain.weights_bytes
    assert corrected.kv_bytes == plain.kv_bytes
    assert corrected.overhead_bytes == pytest.approx(1.5 * plain.overhead_bytes, rel=1e-6)
    assert corrected.compute_bytes > plain.compute_bytes
    assert corrected.error == 0.03
