"""A model as publishers keep it: a folder with config.json, a tokenizer and safetensors files; checked before anything
else reads it, and as far as its file names and config.json go before it is fetched.

Pickled weights can run code and are refused. Code that comes with a model is never run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import safetensors
from slmdesk.hub.repo import is_pickle
from slmdesk.quantize.hf_unsuitable import ADAPTER, refuse_adapter, refuse_other_kinds, refuse_packed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from slmdesk.formats.safetensors import SafetensorsHeader

INDEX = "model.safetensors.index.json"
_JSON_LIMIT = 64 * 1024 * 1024
_FLOATS = {"F64", "F32", "F16", "BF16"}
_TOKENIZERS = frozenset(
    (
        "tokenizer.json tokenizer.model spiece.model sentencepiece.bpe.model vocab.txt vocab.json tekken.json "
        "tokenizer.jsonl rwkv_vocab_v20230424.txt tokenizer.tok.json"
    ).split()
)
_TOKENIZER_ENDS = (".tiktoken",)
# As the converter does: some models name their text part's configuration otherwise.
_TEXT_CONFIGS = ("text_config", "llm_config", "lm_config", "language_config")
_BY_OUTER_NAME = {
    "StepVLForConditionalGeneration",
    "Sarashina2VisionForCausalLM",
    "Exaone4_5_ForConditionalGeneration",
    "Step3p7ForConditionalGeneration",
    "KimiK3ForConditionalGeneration",
}
BITNET = {"BitNetForCausalLM", "BitnetForCausalLM"}
# What transformers calls the inner norms of a BitNet; llama.cpp's converter knows older names.
_BITNET_NAMES = (".attn_sub_norm.weight", ".ffn_sub_norm.weight")
_TOKENIZER_FIELDS: dict[str, tuple[type, ...]] = {
    "tokenizer_class": (str,),
    "added_tokens_decoder": (dict,),
    "chat_template": (str, list, dict),
    "model_max_length": (int, float),
    "bos_token": (str, dict),
    "eos_token": (str, dict),
}
# Element type of the safetensors -> what the converter is asked to write so that nothing is lost.
_WRITTEN = {"F16": "f16", "F32": "f32", "F64": "f32"}
# Bytes a weight takes in what is written.
_WIDE = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32}
_REMOTE_HINT = (
    "That code is never run here. Download a GGUF of this model, or insist, and check the result: it may cut text into "
    "other tokens than the publisher's code does."
)


@dataclass(frozen=True, slots=True)
class HfFolder:
    """A folder that may be converted. `headers`: by file name, in the order of the files."""

    path: Path
    architecture: str
    headers: dict[str, SafetensorsHeader]
    warnings: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.path / name for name in self.headers)

    @property
    def tensors(self) -> int:
        return sum(len(header.tensors) for header in self.headers.values())

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return sum(header.data_bytes for header in self.headers.values())

    @property
    def types(self) -> dict[str, int]:
        """Bytes of each element type, the largest first."""
        totals: dict[str, int] = {}
        for header in self.headers.values():
            for kind, count in header.types.items():
                totals[kind] = totals.get(kind, 0) + count
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    @property
    def out_type(self) -> str:
        """What to write so that nothing is lost: "f16", "bf16" or "f32"."""
        return _WRITTEN.get(next(iter(self.types)), "bf16")

    @property
    def newer_bitnet(self) -> bool:
        """A BitNet whose tensors have the names that transformers gives them."""
        return self.architecture in BITNET and any(
            tensor.name.endswith(_BITNET_NAMES)
            for header in self.headers.values()
            for tensor in header.tensors
        )

    @property
    def gguf_bytes(self) -> int:
        """About how large the GGUF becomes: the weights in `out_type`, vocabulary and names."""
        return self.converted_bytes(self.out_type)

    def converted_bytes(self, out_type: str) -> int:
        """The same in another type: "f32", "f16", "bf16" or "q8_0"."""
        weights = sum(header.parameters for header in self.headers.values())
        return int(weights * _WIDE[out_type]) + 32 * 1024 * 1024


def architecture_of(config: Mapping[str, Any]) -> str:
    """The name of the text model's class, as the converter finds it; "" where there is none."""
    outer = _first(config.get("architectures"))
    if outer in _BY_OUTER_NAME:
        return outer
    for key in _TEXT_CONFIGS:
        inner = config.get(key)
        if isinstance(inner, dict) and (name := _first(inner.get("architectures"))):
            return name
    if not outer and isinstance(states := config.get("ssm_cfg"), dict):
        return str(states.get("layer", "Mamba")) + "ForCausalLM"
    return outer


def examine_description(
    config: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    names: Collection[str],
    supported: Collection[str],
    *,
    insist: bool = False,
) -> tuple[str, ...]:
    """What can be told from config.json, tokenizer_config.json and the names of all files (of a folder or of a
    repository not fetched yet). Returns warnings.

    Raises `SlmDeskError`: `adapter_alone`, `pickle_refused`, `weights_missing`, `architecture_unsupported`,
    `weights_type_unsupported`, `tokenizer_missing`, `remote_code_refused` (not with `insist`).
    """
    refuse_adapter(names)
    weights = [name for name in names if name.startswith("model") and name.endswith(".safetensors")]
    if not weights and INDEX not in names:
        _no_weights(names)
    architecture = architecture_of(config)
    if architecture not in supported:
        _unsupported(architecture, config)
    refuse_packed(config)
    if architecture in BITNET:
        _check_bitnet(architecture, config)
    if not any(name in _TOKENIZERS or name.endswith(_TOKENIZER_ENDS) for name in names):
        raise SlmDeskError(
            "tokenizer_missing",
            "The model comes without a tokenizer, so nothing can be asked of it.",
            "Download the whole folder again; with some models the tokenizer is in the repository of the base model.",
        )
    warnings = []
    own_tokenizer = tokenizer_config.get("auto_map")
    if own_tokenizer and not insist:
        raise SlmDeskError(
            "remote_code_refused", "The model's tokenizer is code that comes with the model.", _REMOTE_HINT
        )
    if own_tokenizer:
        warnings.append("The model's own tokenizer code is not run; llama.cpp's own is used in its place.")
    elif config.get("auto_map"):
        # llama.cpp has its own code for a supported architecture; config.json is read as plain data.
        warnings.append("The model comes with code of its own, which is not run and not needed here.")
    return tuple(warnings)


def examine(folder: Path, supported: Collection[str], *, insist: bool = False) -> HfFolder:
    """Check a folder: description, tokenizer, each part's header, types, and that the parts are what the index says.
    Blocks shortly; weights are not read.

    Raises as `examine_description`, and `SlmDeskError`: `source_missing`, `source_unsuitable`, `config_missing`,
    `config_damaged`, `source_parts_missing`, `safetensors_damaged`, `safetensors_truncated`.
    """
    names = _names(folder)
    _check_description(folder, names)
    if ADAPTER in names:
        refuse_adapter(names, _read_json(folder / ADAPTER))
    config = _read_json(folder / "config.json")
    told = _read_json(folder / "tokenizer_config.json") if "tokenizer_config.json" in names else {}
    _check_tokenizer(folder, names, told)
    warnings = examine_description(config, told, names, supported, insist=insist)
    headers = _headers(folder, names)
    found = HfFolder(folder, architecture_of(config), headers, warnings)
    _check_types(found, config)
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises `SlmDeskError`: `source_missing`, `source_unsuitable`, `config_missing`,
    `config_damaged`, `adapter_alone`."""
    _check_description(folder, _names(folder))
    return _read_json(folder / "config.json")


def weight_headers(folder: Path) -> dict[str, SafetensorsHeader]:
    """Of all parts, by file name. Raises `SlmDeskError`: `weights_missing`, `pickle_refused`, `source_parts_missing`,
    `safetensors_damaged`, `safetensors_truncated`."""
    names = _names(folder)
    if INDEX not in names and not any(n.startswith("model") and n.endswith(".safetensors") for n in names):
        _no_weights(names)
    return _headers(folder, names)


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as error:
        raise SlmDeskError(
            "source_missing",
            f"{folder} is not there, or no folder.",
            "Check the path, and that its disk is connected.",
        ) from error


def _check_description(folder: Path, names: Collection[str]) -> None:
    if "config.json" not in names:
        refuse_other_kinds(folder, names)
        raise SlmDeskError(
            "config_missing",
            f"{folder.name} holds no config.json, which says what the model is.",
            "Download the whole folder again.",
        )


def _check_tokenizer(folder: Path, names: Collection[str], told: Mapping[str, Any]) -> None:
    """A tokenizer that is there and damaged must not be called missing later, by whoever fails at it."""
    if "tokenizer.json" in names:
        _read_json(folder / "tokenizer.json")
    for name, kinds in _TOKENIZER_FIELDS.items():
        value = told.get(name)
        if value is not None and not isinstance(value, kinds):
            raise _damaged(folder / "tokenizer_config.json", f"{name} is not what it should be")


def _headers(folder: Path, names: Collection[str]) -> dict[str, SafetensorsHeader]:
    """Of all parts, in order; what the index says must be there, and nothing besides."""
    placed: dict[str, str] | None = None
    if INDEX in names:
        parts: Iterable[str] = safetensors.parse_index(INDEX, _read(folder / INDEX)).files
        placed = _read_json(folder / INDEX)["weight_map"]
    else:
        parts = sorted(n for n in names if n.startswith("model") and n.endswith(".safetensors"))
    missing = [name for name in parts if not (folder / name).is_file()]
    if missing:
        raise SlmDeskError(
            "source_parts_missing",
            f"Parts of the model are missing: {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}.",
            "Download the whole folder again.",
        )
    headers = {name: safetensors.read_header(folder / name) for name in parts}
    if placed is not None:
        there = {(tensor.name, name) for name, header in headers.items() for tensor in header.tensors}
        if wrong := sorted(there.symmetric_difference(placed.items())):
            raise SlmDeskError(
                "safetensors_damaged",
                f"The files and {INDEX} do not agree: {wrong[0][0]} ({len(wrong)} tensors).",
                "Download the whole folder again; parts of two versions may be mixed.",
            )
    if not any(header.tensors for header in headers.values()):
        raise SlmDeskError(
            "weights_missing", "The safetensors files hold no weights.", "Download them again."
        )
    return headers


def _check_types(folder: HfFolder, config: Mapping[str, Any]) -> None:
    types = folder.types
    plain = sum(count for kind, count in types.items() if kind in _FLOATS)
    described = any(
        isinstance(c, dict) and c.get("quantization_config") for c in (config, config.get("text_config"))
    )
    if plain * 2 < sum(types.values()) and not described:
        kind = next(iter(types))
        raise SlmDeskError(
            "weights_type_unsupported",
            f"Most weights are of the type {kind}, and config.json does not say how they were packed.",
            "Choose the model in F16, BF16 or F32.",
        )


def _no_weights(names: Collection[str]) -> None:
    if any(is_pickle(name) for name in names):
        raise SlmDeskError(
            "pickle_refused",
            "The weights are pickled, and reading pickled files can run code that is hidden in them.",
            "Choose a repository with safetensors files; most models have one.",
        )
    other = [name for name in names if name.endswith(".safetensors")]
    raise SlmDeskError(
        "weights_missing",
        f"There is no model.safetensors{f', only {other[0]}' if other else ''}.",
        "Name the folder of the whole model; adapters alone cannot be converted.",
    )


def _check_bitnet(architecture: str, config: Mapping[str, Any]) -> None:
    """llama.cpp computes the BitNet of its first publication; what differs would convert and answer nonsense."""
    newer = architecture == "BitNetForCausalLM"
    activation = str(config.get("hidden_act", "relu2" if newer else "silu"))
    if activation != "silu":
        differs = f"the activation {activation[:40]}, and llama.cpp computes silu in every BitNet"
    elif not config.get("tie_word_embeddings", not newer):
        differs = "an output layer of its own, and llama.cpp computes a BitNet's output with its embeddings"
    else:
        return
    raise SlmDeskError(
        "architecture_unsupported",
        f"This BitNet has {differs}: what it answers would be wrong.",
        "Choose another model; a converted file of this one would load and be useless.",
    )


def _unsupported(architecture: str, config: Mapping[str, Any]) -> None:
    if not architecture:
        raise SlmDeskError(
            "architecture_unsupported",
            "config.json does not say which architecture the model has "
            f"(model type: {config.get('model_type') or 'not given'}).",
            "Download a GGUF of this model.",
        )
    raise SlmDeskError(
        "architecture_unsupported",
        f"The model's architecture, {architecture[:80]}, is not one that llama.cpp's converter knows.",
        "Look for a GGUF of this model, or for a newer SLM Desk.",
    )


def _first(value: Any) -> str:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else ""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_JSON_LIMIT + 1)
    except OSError as error:
        raise SlmDeskError(
            "file_unreadable",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check its permissions.",
        ) from error
    if len(data) > _JSON_LIMIT:
        raise _damaged(path, "it is too large")
    return data


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)[:80]) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is no list of names and values")
    return content


def _damaged(path: Path, why: str) -> SlmDeskError:
    return SlmDeskError(
        "config_damaged",
        f"{path.name} cannot be read: {why.rstrip('.')}.",
        f"Download {path.name} again, or compare it with the publisher's.",
    )
