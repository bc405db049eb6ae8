"""The list of well-known small models that ships with the program: read, checked, and put in other rooms' terms.

One JSON file a publisher in `resources/catalog/`, each a list of records. A record states nothing that was not looked
up: what is not known is null or left out, `sources` say where a figure came from, and `unchecked` names the fields that
nobody has compared with the publisher's page.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast, get_args

from slmdesk.catalog.records import CatalogEntry, Format, Tier, tier_of
from slmdesk.catalog.records import Kind as EntryKind
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.architecture import Architecture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Kind = Literal["base", "instruct", "reasoning", "code", "embedding"]
Modality = Literal["text", "image", "audio", "embedding"]
Strength = Literal[
    "chat",
    "code",
    "reasoning",
    "multilingual",
    "maths",
    "vision",
    "embedding",
    "tools",
    "fast",
]
StateKind = Literal["shortconv", "mamba2", "delta"]

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
# The names the hub's `license:` tags use, where they differ from the licence's own.
_HUB_LICENCES = {
    "EXAONE AI Model License 1.1 NC": "exaone",
    "EXAONE AI Model License 1.2 NC": "exaone",
    "Falcon LLM License 2.0": "falcon-llm-license",
    "InternLM License": "other",
    "LFM Open License v1.0": "lfm1.0",
    "Llama 3.1 Community License": "llama3.1",
    "Llama 3.2 Community License": "llama3.2",
    "Mistral Research License": "mrl",
    "Qwen Research License": "qwen-research",
    "Stability AI Community License": "other",
}


@dataclass(frozen=True, slots=True)
class Repos:
    """Repositories of the hub that hold the model: the publisher's own, and those with it in other formats."""

    original: str
    gguf: tuple[str, ...]
    onnx: tuple[str, ...]
    mlx: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture: how many experts a layer has, how many answer a token, the inner width of each."""

    count: int
    used: int
    feed_forward: int


@dataclass(frozen=True, slots=True)
class Recurrent:
    """What the layers without attention are. Short convolutions have a kernel only."""

    kind: StateKind
    kernel: int
    heads: int = 0
    head_size: int = 0
    state: int = 0
    groups: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """A model's architecture under llama.cpp's name for it; widths are numbers, not bytes.

    `feed_forward` is the width every token passes (of a mixture the shared expert's, or an expert's where none is
    shared). `window` with `window_every`: of so many layers the last one looks back further than the window.
    `attention_layers` are those with a KV cache, None when all have one; the others are `recurrent`.
    """

    name: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    head_size: int
    value_head_size: int
    feed_forward: int
    vocabulary: int
    tied: bool
    window: int = 0
    window_every: int = 0
    attention_layers: tuple[int, ...] | None = None
    experts: Experts | None = None
    recurrent: Recurrent | None = None


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One record of the list. `languages` are ISO 639 codes, "mul" first where there are more than listed."""

    id: str
    name: str
    publisher: str
    repos: Repos
    parameters: int
    architecture: Numbers | None
    context_length: int
    licence: str
    gated: bool
    languages: tuple[str, ...]
    modalities: tuple[Modality, ...]
    kind: Kind
    good_for: str
    strengths: tuple[Strength, ...]
    sources: tuple[str, ...]
    confirmed: str
    unchecked: tuple[str, ...]
    note: str = ""

    @property
    def tier(self) -> Tier | None:
        """None for an embedding model below the smallest tier."""
        return tier_of(self.parameters)

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats it can be had in; the publisher's repository is taken to hold safetensors."""
        held: dict[Format, tuple[str, ...]] = {
            "gguf": self.repos.gguf,
            "safetensors": (self.repos.original,),
            "onnx": self.repos.onnx,
            "mlx": self.repos.mlx,
        }
        return tuple(form for form, repos in held.items() if repos)

    def entry(self) -> CatalogEntry:
        """The model as a line of the catalog's lists."""
        kinds: dict[str, EntryKind] = {"base": "base", "embedding": "embedding"}
        sees = "image" in self.modalities
        return CatalogEntry(
            id=self.id,
            parameters=self.parameters,
            formats=self.formats,
            licence=_HUB_LICENCES.get(self.licence, self.licence.lower()),
            task="feature-extraction" if self.kind == "embedding" else _task(sees=sees),
            kind=kinds.get(self.kind, "instruct"),
            gated=self.gated,
            architecture=self.architecture.name if self.architecture else "",
            context_length=self.context_length,
            languages=self.languages,
            built_in=True,
            repos={"gguf": self.repos.gguf, "onnx": self.repos.onnx, "mlx": self.repos.mlx},
        )


def load_builtin(folder: Path) -> tuple[CatalogModel, ...]:
    """All models of the list in `folder` (resources/catalog), by file name and then as written.

    Raises `SlmDeskError("catalog_invalid")`, naming file, record and field, for anything that is not as it should be.
    """
    models: list[CatalogModel] = []
    places: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")):
        for place, record in _records(path):
            model = _model(_Fields(record, place))
            if model.id in places:
                _wrong(place, "id", f"{model.id} is also in {places[model.id]}")
            places[model.id] = place
            models.append(model)
    if not models:
        _wrong(str(folder), "", "there are no models")
    return tuple(models)


def architecture(model: CatalogModel) -> Architecture | None:
    """The sizes a memory forecast needs; None where the record has no architecture numbers."""
    numbers = model.architecture
    if numbers is None:
        return None
    config: dict[str, Any] = {
        "model_type": numbers.name,
        "num_hidden_layers": numbers.layers,
        "hidden_size": numbers.embedding,
        "num_attention_heads": numbers.heads,
        "num_key_value_heads": numbers.kv_heads,
        "head_dim": numbers.head_size,
        "v_head_dim": numbers.value_head_size,
        "intermediate_size": numbers.feed_forward,
        "vocab_size": numbers.vocabulary,
        "max_position_embeddings": model.context_length,
    }
    if numbers.experts:
        config["num_local_experts"] = numbers.experts.count
        config["num_experts_per_tok"] = numbers.experts.used
        config["moe_intermediate_size"] = numbers.experts.feed_forward
    if numbers.window:
        config["sliding_window"] = numbers.window
        every = numbers.window_every
        config["layer_types"] = [
            "full_attention" if layer % every == every - 1 else "sliding_attention"
            for layer in range(numbers.layers)
        ]
    if numbers.recurrent:
        config |= _states(numbers.recurrent, numbers)
    return Architecture.from_config(config)


def _states(recurrent: Recurrent, numbers: Numbers) -> dict[str, Any]:
    """The recurrent layers as a publisher's config.json has them."""
    other = {"shortconv": "conv", "mamba2": "mamba", "delta": "linear_attention"}[recurrent.kind]
    attention = numbers.attention_layers or ()
    found: dict[str, Any] = {
        "layer_types": ["full_attention" if layer in attention else other for layer in range(numbers.layers)]
    }
    if recurrent.kind == "shortconv":
        found["conv_L_cache"] = recurrent.kernel
    elif recurrent.kind == "mamba2":
        found["mamba_d_conv"] = recurrent.kernel
        found["mamba_d_state"] = recurrent.state
        found["mamba_n_groups"] = recurrent.groups
        found["mamba_d_ssm"] = recurrent.heads * recurrent.head_size
    else:
        found["linear_conv_kernel_dim"] = recurrent.kernel
        found["linear_key_head_dim"] = recurrent.state
        found["linear_num_key_heads"] = recurrent.groups
        found["linear_num_value_heads"] = recurrent.heads
        found["linear_value_head_dim"] = recurrent.head_size
    return found


def _task(*, sees: bool) -> str:
    return "image-text-to-text" if sees else "text-generation"


def _wrong(place: str, field: str, what: str) -> NoReturn:
    where = f"{place}, field {field}" if field else place
    raise SlmDeskError(
        "catalog_invalid",
        f"The built-in list of models has a mistake in {where}: {what}.",
        "Install SLM Desk again. Searching the hub still works.",
    )


def _records(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The records of a file, each with the words that name its place."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        _wrong(path.name, "", f"it cannot be read ({error})")
    if not isinstance(content, list):
        _wrong(path.name, "", "it is no list of records")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for position, record in enumerate(content, 1):
        if not isinstance(record, dict):
            _wrong(f"{path.name}, record {position}", "", "it is no record")
        label = record.get("id")
        found.append((f"{path.name}, record {label if isinstance(label, str) else position}", record))
    return found


class _Fields:
    """A record that is read field by field; what nobody asked for is a mistake."""

    def __init__(self, record: Mapping[str, Any], place: str, prefix: str = "") -> None:
        self.place = place
        self._record = record
        self._prefix = prefix
        self._left = set(record)

    def wrong(self, field: str, what: str) -> NoReturn:
        _wrong(self.place, self._prefix + field, what)

    def finish(self) -> None:
        if self._left:
            self.wrong(min(self._left), "no such field")

    def take(self, field: str, *, needed: bool = True) -> Any:
        if field not in self._record:
            if needed:
                self.wrong(field, "it is missing")
            return None
        self._left.discard(field)
        return self._record[field]

    def text(self, field: str, pattern: re.Pattern[str] | None = None) -> str:
        return self._string(field, self.take(field), pattern)

    def number(self, field: str, default: int | None = None, least: int = 1) -> int:
        value = self.take(field, needed=default is None)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.wrong(field, f"{value!r} is no whole number of at least {least}")
        return value

    def truth(self, field: str) -> bool:
        value = self.take(field)
        if not isinstance(value, bool):
            self.wrong(field, f"{value!r} is neither true nor false")
        return value

    def texts(self, field: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        value = self.take(field)
        if not isinstance(value, list):
            self.wrong(field, f"{value!r} is no list")
        found = tuple(self._string(field, item, pattern) for item in value)
        if len(set(found)) != len(found):
            self.wrong(field, "something is listed twice")
        return found

    def one_of(self, field: str, allowed: tuple[str, ...]) -> str:
        value = self.text(field)
        if value not in allowed:
            self.wrong(field, f"{value!r} is none of {', '.join(allowed)}")
        return value

    def some_of(self, field: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        values = self.texts(field)
        for value in values:
            if value not in allowed:
                self.wrong(field, f"{value!r} is none of {', '.join(allowed)}")
        if not values:
            self.wrong(field, "it is empty")
        return values

    def part(self, field: str, *, needed: bool = True) -> _Fields | None:
        """The record inside this one; None where it is null or, if not needed, left out."""
        value = self.take(field, needed=needed)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(field, f"{value!r} is no record")
        return _Fields(value, self.place, f"{self._prefix}{field}.")

    def _string(self, field: str, value: Any, pattern: re.Pattern[str] | None) -> str:
        if not isinstance(value, str) or not value.strip():
            self.wrong(field, f"{value!r} is no text")
        if pattern is not None and not pattern.fullmatch(value):
            self.wrong(field, f"{value!r} is not of the right form")
        return value


def _model(fields: _Fields) -> CatalogModel:
    model = CatalogModel(
        id=fields.text("id", _REPO),
        name=fields.text("name"),
        publisher=fields.text("publisher"),
        repos=_repos(fields),
        parameters=fields.number("parameters"),
        architecture=_numbers(fields),
        context_length=fields.number("context_length"),
        licence=fields.text("licence"),
        gated=fields.truth("gated"),
        languages=fields.texts("languages", _LANGUAGE),
        modalities=cast("tuple[Modality, ...]", fields.some_of("modalities", get_args(Modality))),
        kind=cast("Kind", fields.one_of("kind", get_args(Kind))),
        good_for=fields.text("good_for"),
        strengths=cast("tuple[Strength, ...]", fields.some_of("strengths", get_args(Strength))),
        sources=fields.texts("sources"),
        confirmed=fields.text("confirmed", _DATE),
        unchecked=fields.texts("unchecked"),
        note=fields.take("note", needed=False) or "",
    )
    fields.finish()
    if model.tier is None and model.kind != "embedding":
        fields.wrong("parameters", f"{model.parameters} is outside the tiers")
    if not model.sources:
        fields.wrong("sources", "it is empty")
    for field in model.unchecked:
        if field not in CatalogModel.__dataclass_fields__:
            fields.wrong("unchecked", f"{field!r} is no field")
    if not isinstance(model.note, str):
        fields.wrong("note", f"{model.note!r} is no text")
    if model.repos.original != model.id:
        fields.wrong("repos.original", "it is not the model's id")
    return model


def _repos(fields: _Fields) -> Repos:
    part = fields.part("repos")
    if part is None:
        fields.wrong("repos", "it is empty")
    repos = Repos(
        original=part.text("original", _REPO),
        gguf=part.texts("gguf", _REPO),
        onnx=part.texts("onnx", _REPO),
        mlx=part.texts("mlx", _REPO),
    )
    part.finish()
    return repos


def _numbers(fields: _Fields) -> Numbers | None:
    part = fields.part("architecture")
    if part is None:
        return None
    head = part.number("head_size")
    listed = part.take("attention_layers", needed=False)
    numbers = Numbers(
        name=part.text("name"),
        layers=part.number("layers"),
        embedding=part.number("embedding"),
        heads=part.number("heads"),
        kv_heads=part.number("kv_heads"),
        head_size=head,
        value_head_size=part.number("value_head_size", head),
        feed_forward=part.number("feed_forward"),
        vocabulary=part.number("vocabulary"),
        tied=part.truth("tied"),
        window=part.number("window", 0),
        window_every=part.number("window_every", 0),
        attention_layers=None if listed is None else _layer_list(part, listed),
        experts=_experts(part),
        recurrent=_recurrent(part),
    )
    part.finish()
    if numbers.heads % numbers.kv_heads:
        part.wrong("kv_heads", f"{numbers.kv_heads} does not divide {numbers.heads} heads")
    if bool(numbers.window) != bool(numbers.window_every):
        part.wrong("window_every", "window and window_every go together")
    if (numbers.recurrent is None) != (numbers.attention_layers is None):
        part.wrong("attention_layers", "recurrent and attention_layers go together")
    if numbers.attention_layers and numbers.attention_layers[-1] >= numbers.layers:
        part.wrong("attention_layers", f"there are {numbers.layers} layers")
    return numbers


def _layer_list(part: _Fields, value: Any) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or any(not isinstance(item, int) or isinstance(item, bool) or item < 0 for item in value)
        or value != sorted(set(value))
    ):
        part.wrong("attention_layers", f"{value!r} is no rising list of layers")
    return tuple(value)


def _experts(part: _Fields) -> Experts | None:
    inner = part.part("experts", needed=False)
    if inner is None:
        return None
    experts = Experts(inner.number("count"), inner.number("used"), inner.number("feed_forward"))
    inner.finish()
    if experts.used > experts.count:
        inner.wrong("used", f"{experts.used} of {experts.count}")
    return experts


def _recurrent(part: _Fields) -> Recurrent | None:
    inner = part.part("recurrent", needed=False)
    if inner is None:
        return None
    kind = cast("StateKind", inner.one_of("kind", get_args(StateKind)))
    least = 0 if kind == "shortconv" else None
    recurrent = Recurrent(
        kind,
        kernel=inner.number("kernel"),
        heads=inner.number("heads", least),
        head_size=inner.number("head_size", least),
        state=inner.number("state", least),
        groups=inner.number("groups", least),
    )
    inner.finish()
    return recurrent
