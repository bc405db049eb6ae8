"""The list of models that ships with the program: every record valid, its numbers consistent, mistakes named."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slmdesk.catalog.builtin import CatalogModel, architecture, load_builtin
from slmdesk.catalog.records import TIERS
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.loading import Loading
from slmdesk.memory.forecast import forecast

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "resources" / "catalog"
MUST_HAVE = [
    "microsoft/Phi-4-mini-instruct",
    "microsoft/Phi-4-mini-reasoning",
    "microsoft/Phi-3.5-mini-instruct",
    "microsoft/phi-4",
    "microsoft/bitnet-b1.58-2B-4T",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-14B",
    "Qwen/Qwen3-4B-Instruct-2507",
    "Qwen/Qwen3-4B-Thinking-2507",
    "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-3B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-14B-Instruct",
    "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "Qwen/Qwen2.5-Coder-3B-Instruct",
    "Qwen/Qwen2.5-Coder-7B-Instruct",
    "Qwen/Qwen2.5-Coder-14B-Instruct",
    "google/gemma-3-270m-it",
    "google/gemma-3-1b-it",
    "google/gemma-3-4b-it",
    "google/gemma-3-12b-it",
    "google/gemma-3-27b-it",
    "google/gemma-2-2b-it",
    "google/gemma-2-9b-it",
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "HuggingFaceTB/SmolLM3-3B",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
    "mistralai/Ministral-8B-Instruct-2410",
    "mistralai/Mistral-Nemo-Instruct-2407",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    "ibm-granite/granite-3.3-2b-instruct",
    "ibm-granite/granite-3.3-8b-instruct",
    "ibm-granite/granite-4.0-micro",
    "ibm-granite/granite-4.0-h-tiny",
    "allenai/OLMo-2-0425-1B-Instruct",
    "allenai/OLMo-2-1124-7B-Instruct",
    "allenai/OLMo-2-1124-13B-Instruct",
    "tiiuae/Falcon3-1B-Instruct",
    "tiiuae/Falcon3-3B-Instruct",
    "tiiuae/Falcon3-7B-Instruct",
    "tiiuae/Falcon3-10B-Instruct",
    "LiquidAI/LFM2-350M",
    "LiquidAI/LFM2-700M",
    "LiquidAI/LFM2-1.2B",
    "LiquidAI/LFM2-2.6B",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "stabilityai/stablelm-2-zephyr-1_6b",
    "01-ai/Yi-1.5-6B-Chat",
    "01-ai/Yi-1.5-9B-Chat",
    "internlm/internlm2_5-7b-chat",
    "LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct",
    "openbmb/MiniCPM3-4B",
    "nomic-ai/nomic-embed-text-v1.5",
    "BAAI/bge-small-en-v1.5",
    "BAAI/bge-base-en-v1.5",
    "BAAI/bge-large-en-v1.5",
    "BAAI/bge-m3",
    "Qwen/Qwen3-Embedding-0.6B",
    "sentence-transformers/all-MiniLM-L6-v2",
]


@pytest.fixture(scope="module")
def models() -> dict[str, CatalogModel]:
    return {model.id: model for model in load_builtin(FOLDER)}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_catalog", ROOT / "packaging" / "check_catalog.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_the_well_known_ones_are_there(models: dict[str, CatalogModel]) -> None:
    assert len(models) >= 60
    assert not set(MUST_HAVE) - set(models)
    # Above the largest tier: not for this program.
    assert not any("30B-A3B" in name or "32B" in name for name in models)


def test_every_tier_kind_and_language_model_format_is_served(models: dict[str, CatalogModel]) -> None:
    found = list(models.values())
    assert {model.tier for model in found if model.kind != "embedding"} == set(TIERS)
    assert {model.kind for model in found} == {"base", "instruct", "reasoning", "code", "embedding"}
    without = {model.id for model in found if model.kind != "base" and not model.repos.gguf}
    assert without == {"microsoft/bitnet-b1.58-2B-4T"}
    assert "bitnet.cpp" in models["microsoft/bitnet-b1.58-2B-4T"].note
    assert sum(bool(model.repos.onnx) for model in found) >= 15
    assert sum(bool(model.repos.mlx) for model in found) >= 15


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "micro"),
        ("ibm-granite/granite-4.0-h-1b", "micro"),
        ("Qwen/Qwen2.5-1.5B-Instruct", "small"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "small"),
        ("microsoft/Phi-4-mini-instruct", "small"),
        ("allenai/OLMo-2-1124-13B-Instruct", "small"),
        ("microsoft/phi-4", "medium"),
        ("google/gemma-3-27b-it", "medium"),
        ("sentence-transformers/all-MiniLM-L6-v2", None),
    ],
)
def test_the_tier_follows_from_the_parameters(
    models: dict[str, CatalogModel], name: str, tier: str | None
) -> None:
    assert models[name].tier == tier


def test_stated_parameters_are_what_the_architecture_adds_up_to(
    models: dict[str, CatalogModel], check: ModuleType
) -> None:
    counted = {name: check.recount(model) for name, model in models.items()}
    off = {
        name: round(counted[name] / model.parameters - 1, 3)
        for name, model in models.items()
        if counted[name] and abs(counted[name] / model.parameters - 1) > check.tolerance(model)
    }
    assert not off
    assert sum(value is not None for value in counted.values()) >= 90


def test_a_wrong_number_of_layers_would_be_noticed(
    models: dict[str, CatalogModel], check: ModuleType, tmp_path: Path
) -> None:
    content = json.loads((FOLDER / "meta.json").read_text(encoding="utf-8"))
    content[0]["architecture"]["layers"] += 1
    (tmp_path / "meta.json").write_text(json.dumps(content), encoding="utf-8")
    model = load_builtin(tmp_path)[0]
    assert abs(check.recount(model) / model.parameters - 1) > check.tolerance(model)


@pytest.mark.parametrize(
    ("name", "bytes_a_token", "windowed", "with_state"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072, 0, 0),  # 32 layers, 2 x 1024 numbers of 2 bytes
        ("microsoft/Phi-3.5-mini-instruct", 393_216, 0, 0),  # no grouped queries
        ("google/gemma-3-4b-it", 139_264, 29, 0),  # of 34 layers five look back all the way
        ("openai/gpt-oss-20b", 49_152, 12, 0),
        ("LiquidAI/LFM2-1.2B", 12_288, 0, 10),
        ("ibm-granite/granite-4.0-h-1b", 8_192, 0, 36),
        ("Qwen/Qwen3.5-4B", 32_768, 0, 24),
        ("openbmb/MiniCPM3-4B", 793_600, 0, 0),  # keys of 96, values of 64, 40 heads, 62 layers
    ],
)
def test_what_a_layer_keeps_follows_the_architecture(
    models: dict[str, CatalogModel], name: str, bytes_a_token: int, windowed: int, with_state: int
) -> None:
    found = architecture(models[name])
    assert found is not None
    assert sum(2 * (layer.keys + layer.values) for layer in found.layers) == bytes_a_token
    assert sum(layer.windowed for layer in found.layers) == windowed
    assert sum(layer.state > 0 for layer in found.layers) == with_state


def test_every_architecture_gives_a_sensible_forecast(models: dict[str, CatalogModel]) -> None:
    for model in models.values():
        sizes = architecture(model)
        if sizes is None:
            assert "header" in model.note
            continue
        if model.kind == "embedding":
            continue
        weights = model.parameters * 5 // 8
        context = min(4096, model.context_length)
        total = forecast(sizes, weights, Loading(context, 1)).total_bytes
        assert weights < total < 1.6 * weights + 2_500_000_000, model.id


def test_a_line_of_the_catalog_carries_the_facts(models: dict[str, CatalogModel]) -> None:
    entry = models["meta-llama/Llama-3.2-1B-Instruct"].entry()
    assert entry.built_in
    assert entry.gated
    assert (entry.licence, entry.kind, entry.tier) == ("llama3.2", "instruct", "micro")
    assert entry.formats == ("gguf", "safetensors", "onnx", "mlx")
    assert entry.repos["gguf"] == ("bartowski/Llama-3.2-1B-Instruct-GGUF",)
    assert models["BAAI/bge-m3"].entry().kind == "embedding"
    assert models["Qwen/Qwen3-4B-Base"].entry().kind == "base"
    assert models["microsoft/phi-4"].entry().licence == "mit"


def record() -> dict[str, Any]:
    content = json.loads((FOLDER / "liquid.json").read_text(encoding="utf-8"))
    return copy.deepcopy(content[0])


def loaded(folder: Path, *records: object) -> tuple[CatalogModel, ...]:
    (folder / "some.json").write_text(json.dumps(list(records)), encoding="utf-8")
    return load_builtin(folder)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("licence", None, "field licence"),
        ("licence", "  ", "is no text"),
        ("parameters", "350M", "field parameters: '350M' is no whole number"),
        ("parameters", True, "is no whole number"),
        ("parameters", 90_000_000, "outside the tiers"),
        ("parameters", 31_000_000_000, "outside the tiers"),
        ("gated", "no", "neither true nor false"),
        ("kind", "chatty", "'chatty' is none of base, instruct"),
        ("strengths", ["chat", "singing"], "'singing' is none of"),
        ("modalities", [], "it is empty"),
        ("languages", ["English"], "not of the right form"),
        ("confirmed", "yesterday", "not of the right form"),
        ("sources", [], "it is empty"),
        ("unchecked", ["colour"], "'colour' is no field"),
        ("colour", "blue", "field colour: no such field"),
        ("repos.gguf", ["not a repository"], "field repos.gguf"),
        ("repos.torrent", [], "field repos.torrent: no such field"),
        ("repos.original", "someone/else", "not the model's id"),
        ("architecture.layers", 0, "field architecture.layers"),
        ("architecture.kv_heads", 7, "does not divide"),
        ("architecture.window", 512, "go together"),
        ("architecture.attention_layers", [2, 5, 99], "there are 16 layers"),
        ("architecture.attention_layers", [5, 2], "no rising list"),
        ("architecture.recurrent", None, "go together"),
        ("architecture.recurrent.kind", "magic", "field architecture.recurrent.kind"),
        ("architecture.experts", {"count": 2, "used": 3, "feed_forward": 64}, "3 of 2"),
    ],
)
def test_a_mistake_names_file_record_and_field(tmp_path: Path, path: str, value: object, words: str) -> None:
    wrong = record()
    *outer, last = path.split(".")
    place = wrong
    for step in outer:
        place = place[step]
    place[last] = value
    with pytest.raises(SlmDeskError) as caught:
        loaded(tmp_path, wrong)
    assert caught.value.code == "catalog_invalid"
    assert "some.json, record LiquidAI/LFM2-350M" in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("field", ["id", "repos", "architecture", "good_for", "sources"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    wrong = record()
    del wrong[field]
    with pytest.raises(SlmDeskError, match=f"field {field}: it is missing"):
        loaded(tmp_path, wrong)


def test_the_same_model_twice_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SlmDeskError, match=r"LiquidAI/LFM2-350M is also in some\.json"):
        loaded(tmp_path, record(), record())


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "\xff"])
def test_a_file_that_is_no_list_of_records_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SlmDeskError, match=r"bad\.json"):
        load_builtin(tmp_path)


def test_no_list_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(SlmDeskError, match="there are no models"):
        load_builtin(tmp_path / "missing")
