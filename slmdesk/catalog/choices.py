"""From a repository's list of files to the few things a person chooses among.

A choice is one runnable whole: a quant with all its parts, a folder of ONNX files, the safetensors with their
tokenizer, a vision projector. Nothing is downloaded for this: names and sizes say enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from slmdesk.engines.registry import KINDS
from slmdesk.formats.purpose import companion_named
from slmdesk.formats.quants import PREFERRED, quant_named
from slmdesk.hub.repo import is_pickle
from slmdesk.library.names import quant_in, split_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slmdesk.hub.repo import Level, RepoFile
    from slmdesk.memory.fit import Fit
    from slmdesk.memory.forecast import Verdict

ChoiceKind = Literal[
    "gguf", "projector", "draft", "other", "safetensors", "mlx", "onnx", "adapter", "matrix", "pickle"
]
_ORDER: tuple[ChoiceKind, ...] = (
    *("gguf", "other", "projector", "draft", "onnx"),
    *("mlx", "safetensors", "adapter", "matrix", "pickle"),
)
# Never taken unless a person names it.
_ONLY_BY_NAME: frozenset[ChoiceKind] = frozenset(
    {"projector", "draft", "other", "adapter", "matrix", "pickle"}
)
_PREFIXES: dict[ChoiceKind, str] = {"projector": "mmproj", "draft": "draft", "adapter": "adapter"}

# What names tell at once; headers are asked where a name may mean something else (catalog/examining.py).
_NAMED_KINDS: dict[str, ChoiceKind] = {
    "projector": "projector",
    "draft": "draft",
    "adapter": "adapter",
    "control vector": "adapter",
}

_WEIGHTS = re.compile(r"(?i)(model|weights|consolidated|checkpoint|adapter)")
_SUPPORT = re.compile(
    r"(?i)^(config|generation_config|genai_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|"
    r"merges|preprocessor_config|processor_config|chat_template|params|tekken|.*\.index)\b.*\.(json|txt|jinja|model)$"
    r"|^.*(tokenizer|spiece|sentencepiece).*\.(model|json|bpe)$|^LICEN[CS]E.*$|^NOTICE.*$|^USE_POLICY.*$"
)
_IMATRIX_FILE = re.compile(r"(?i)imatrix.*\.(gguf|dat)$|\.imatrix$")
_IMATRIX_NAME = re.compile(r"(?i)(^|[-._])(i1|imat|imatrix)(?=[-._])")
_ONNX_VARIANT = re.compile(r"(?i)[_-](q4f16|q4|q8|int8|uint8|int4|fp16|bnb4|quantized|fp32)$")


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to choose. `id` is unique in its repository and can follow `publisher/name:`.

    `kind` "other" is a model that does not chat. `files` is all it needs, `size_bytes` their sum. `bits_per_weight` is
    0 when the number of parameters is not known. `missing_parts`: of a split file that the publisher has not put
    there. `fit` (forecast and verdict), `best` and `reason` are there after `judged`.
    """

    id: str
    kind: ChoiceKind
    quant: str
    files: tuple[RepoFile, ...]
    size_bytes: int
    weights_bytes: int
    bits_per_weight: float = 0.0
    imatrix: bool = False
    missing_parts: int = 0
    level: Level = ""
    fit: Fit | None = None
    best: bool = False
    reason: str = ""

    @property
    def runs(self) -> bool:
        """Whether an engine runs it once it is here."""
        path = PurePosixPath(self.files[0].path if self.files else "")
        return KINDS.runs(path, self.kind) and not self.missing_parts

    @property
    def verdict(self) -> Verdict | None:
        return self.fit.verdict if self.fit else None


def group(files: Sequence[RepoFile], parameters: int = 0, *, mlx: bool = False) -> list[Choice]:
    """The choices of a repository, GGUF first, each kind from the largest to the smallest.

    `parameters` counts the model's weights (0: not known), `mlx` says that the safetensors are MLX's.
    """
    support = [file for file in files if _is_support(file.path)]
    weights = [file for file in files if not _is_support(file.path)]
    calibrated = any(_IMATRIX_FILE.search(file.path) for file in files)
    found = [
        *_gguf([f for f in weights if f.path.lower().endswith(".gguf")], calibrated=calibrated),
        *_safetensors([f for f in weights if f.path.lower().endswith(".safetensors")], support, mlx=mlx),
        *_onnx([f for f in weights if ".onnx" in f.path.lower()], support),
        *_pickles(weights, support),
    ]
    return named_apart([replace(one, bits_per_weight=_bits(one, parameters)) for one in found])


def named_apart(choices: Iterable[Choice]) -> list[Choice]:
    """The choices in their order, each with an id of its own: its quant where only one model has it."""
    found = _unique([replace(one, id=_usual_id(one)) for one in choices])
    return sorted(
        found, key=lambda one: (_ORDER.index(one.kind), bool(one.missing_parts), -one.weights_bytes, one.id)
    )


def _usual_id(choice: Choice) -> str:
    """By its kind and quant, for what is a GGUF file."""
    path = PurePosixPath(choice.files[0].path) if choice.files else PurePosixPath()
    if path.suffix.lower() != ".gguf":
        return choice.id
    split = split_part(path.stem)
    stem = split[0] if split else path.stem
    if not choice.quant:
        return stem
    if choice.kind == "gguf":
        return choice.quant
    return f"{_PREFIXES[choice.kind]}-{choice.quant}" if choice.kind in _PREFIXES else stem


def _is_support(path: str) -> bool:
    return bool(_SUPPORT.match(PurePosixPath(path).name))


def _choice(
    name: str, kind: ChoiceKind, quant: str, weights: Sequence[RepoFile], support: Sequence[RepoFile] = ()
) -> Choice:
    together = tuple(sorted({*weights, *support}, key=lambda file: file.path))
    return Choice(
        id=name,
        kind=kind,
        quant=quant,
        files=together,
        size_bytes=sum(file.size for file in together),
        weights_bytes=sum(file.size for file in weights),
        missing_parts=_missing(weights),
        level=_worst(together),
    )


def _gguf(files: Sequence[RepoFile], *, calibrated: bool) -> list[Choice]:
    wholes: dict[tuple[str, str], list[RepoFile]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        if _IMATRIX_FILE.search(path.name):
            continue
        split = split_part(path.stem)
        wholes.setdefault((str(path.parent), split[0] if split else path.stem), []).append(file)
    choices = []
    for (folder, stem), parts in wholes.items():
        quant = quant_in(stem) or quant_in(PurePosixPath(folder).name)
        companion = companion_named(stem)
        kind: ChoiceKind = _NAMED_KINDS.get(companion, "gguf") if companion else "gguf"
        made = _choice(stem, kind, quant, parts)
        imatrix = kind == "gguf" and (
            quant.startswith(("IQ1", "IQ2", "IQ3"))
            or bool(_IMATRIX_NAME.search(stem))
            or (calibrated and _low(quant))
        )
        choices.append(replace(made, imatrix=imatrix))
    return choices


def _low(quant: str) -> bool:
    """Whether an importance matrix is of any use to this quant."""
    known = quant_named(quant)
    return known is None or known.bits < 8


def _safetensors(files: Sequence[RepoFile], support: Sequence[RepoFile], *, mlx: bool) -> list[Choice]:
    folders: dict[str, list[RepoFile]] = {}
    choices = []
    for file in files:
        path = PurePosixPath(file.path)
        if path.name.startswith("adapter"):
            choices.append(
                _choice(_named(path.parent, "adapter"), "adapter", "", [file], _at(support, path.parent))
            )
        else:
            folders.setdefault(str(path.parent), []).append(file)
    for name, inside in folders.items():
        folder = PurePosixPath(name)
        sharded = [f for f in inside if split_part(PurePosixPath(f.path).stem)]
        plain = [f for f in inside if PurePosixPath(f.path).name == "model.safetensors"]
        # Publishers who put the same weights there twice (consolidated.safetensors beside the shards): once is enough.
        weights = sharded or plain or inside
        kind: ChoiceKind = "mlx" if mlx else "safetensors"
        choices.append(_choice(_named(folder, kind), kind, "", weights, _at(support, folder)))
    return choices


def _onnx(files: Sequence[RepoFile], support: Sequence[RepoFile]) -> list[Choice]:
    folders: dict[PurePosixPath, list[RepoFile]] = {}
    for file in files:
        folders.setdefault(PurePosixPath(file.path).parent, []).append(file)
    choices = []
    for folder, inside in folders.items():
        own = _at(support, folder)
        whole = any(PurePosixPath(f.path).name == "genai_config.json" for f in own)
        graphs = [f for f in inside if f.path.lower().endswith(".onnx")]
        if whole or not all(
            _ONNX_VARIANT.search(PurePosixPath(g.path).stem)
            or "_" not in PurePosixPath(g.path).stem.removeprefix("decoder_")
            for g in graphs
        ):
            choices.append(_choice(_named(folder, "onnx"), "onnx", _onnx_quant(str(folder)), inside, own))
            continue
        variants: dict[str, list[RepoFile]] = {}
        for file in inside:  # model_q4.onnx with model_q4.onnx_data: one of several ways to the same model
            stem = PurePosixPath(file.path).name.lower().partition(".onnx")[0]
            variant = _ONNX_VARIANT.search(stem)
            variants.setdefault(variant[1].lower() if variant else "", []).append(file)
        for variant_name, parts in variants.items():
            label = _named(folder, "onnx") + (f"-{variant_name}" if variant_name else "")
            choices.append(_choice(label, "onnx", variant_name, parts, own or _at(support, PurePosixPath())))
    return choices


def _onnx_quant(folder: str) -> str:
    found = re.search(r"(?i)(int4|int8|fp16|fp32)", folder)
    return found[1].lower() if found else ""


def _pickles(files: Sequence[RepoFile], support: Sequence[RepoFile]) -> list[Choice]:
    folders: dict[PurePosixPath, list[RepoFile]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        if is_pickle(file.path) and _WEIGHTS.search(path.stem):
            folders.setdefault(path.parent, []).append(file)
    return [
        _choice(_named(folder, "pickle"), "pickle", "", inside, _at(support, folder))
        for folder, inside in folders.items()
    ]


def _at(support: Iterable[RepoFile], folder: PurePosixPath) -> list[RepoFile]:
    return [file for file in support if PurePosixPath(file.path).parent == folder]


def _named(folder: PurePosixPath, kind: str) -> str:
    return kind if str(folder) in {".", kind} else str(folder)


def _missing(files: Sequence[RepoFile]) -> int:
    """How many parts of split files are not there."""
    sets: dict[tuple[str, int], set[int]] = {}
    for file in files:
        split = split_part(PurePosixPath(file.path).stem)
        if split is not None:
            sets.setdefault((split[0], split[2]), set()).add(split[1])
    return sum(max(0, count - len(parts)) for (_, count), parts in sets.items())


def _worst(files: Iterable[RepoFile]) -> Level:
    order: tuple[Level, ...] = ("", "safe", "queued", "error", "suspicious", "unsafe")
    return max((file.level for file in files), key=order.index, default="")


def _bits(choice: Choice, parameters: int) -> float:
    if not parameters or choice.kind not in {"gguf", "other", "safetensors", "mlx", "onnx", "pickle"}:
        return 0.0
    bits = choice.weights_bytes * 8 / parameters
    return round(bits, 2) if bits < 40 else 0.0  # above that the number of parameters is not this model's


def _unique(choices: Sequence[Choice]) -> list[Choice]:
    """Where a repository holds several models of one quant, their file names tell them apart."""
    counts: dict[str, int] = {}
    for one in choices:
        counts[one.id] = counts.get(one.id, 0) + 1
    unique = []
    for one in choices:
        if counts[one.id] > 1:
            path = PurePosixPath(one.files[0].path)
            split = split_part(path.stem)
            stem = split[0] if split else path.stem
            name = stem if str(path.parent) == "." else f"{path.parent}/{stem}"
            unique.append(replace(one, id=name))
        else:
            unique.append(one)
    return unique


# Choosing for this machine

LADDERS: dict[str, tuple[str, ...]] = {
    # Small models lose more by coarse weights, and even fine ones are quick.
    "micro": tuple("Q8_0 Q6_K Q5_K_M Q5_K_S Q4_K_M F16 BF16 Q4_K_S Q4_0 IQ4_XS IQ4_NL".split()),
    "small": tuple(
        (
            "Q4_K_M Q5_K_M Q4_K_S Q5_K_S IQ4_XS IQ4_NL MXFP4 Q4_0 Q6_K Q8_0 Q3_K_L Q3_K_M IQ3_M Q3_K_S F16 "
            "BF16"
        ).split()
    ),
    "medium": tuple(
        (
            "Q4_K_M Q4_K_S IQ4_XS IQ4_NL MXFP4 Q4_0 Q3_K_L Q3_K_M IQ3_M IQ3_S Q3_K_S IQ3_XXS Q2_K IQ2_M "
            "Q5_K_M Q6_K Q8_0"
        ).split()
    ),
}
_WHY = {
    "Q8_0": "hardly any loss, and a model of this size stays quick",
    "Q6_K": "next to no loss",
    "Q5_K_M": "very little loss",
    "Q4_K_M": "the usual balance of quality, size and speed",
}


def judged(
    choices: Sequence[Choice], fit_of: Callable[[Choice], Fit | None], *, parameters: int = 0
) -> list[Choice]:
    """The choices with their forecasts and verdicts, and the best one for this machine marked with its reason.

    When nothing fits, nothing is marked and the smallest runnable one says so in its `reason`.
    """
    seen = [replace(one, fit=fit_of(one), best=False, reason="") if one.runs else one for one in choices]
    best = _best(seen, parameters)
    if best is not None:
        return [replace(one, best=True, reason=_reason(one, seen)) if one is best else one for one in seen]
    smallest = min((one for one in seen if one.runs), key=lambda one: one.weights_bytes, default=None)
    if smallest is None or smallest.verdict != "too_big":
        return seen
    sentence = "Even the smallest file needs more memory than is free now."
    return [replace(one, reason=sentence) if one is smallest else one for one in seen]


def _best(choices: Sequence[Choice], parameters: int) -> Choice | None:
    tier = (
        "micro" if 0 < parameters < 1_500_000_000 else "medium" if parameters >= 14_000_000_000 else "small"
    )
    ladder = LADDERS[tier]
    runnable = [one for one in choices if one.runs and one.level not in {"unsafe", "suspicious"}]

    def place(one: Choice) -> tuple[int, int]:
        known = quant_named(one.quant)
        step = ladder.index(known.name) if known is not None and known.name in ladder else len(ladder)
        return (step, one.weights_bytes)

    for wanted in ("fits", "tight", None):
        fitting = [one for one in runnable if one.verdict == wanted]
        if fitting:
            return min(fitting, key=place)
    return None


def _reason(best: Choice, choices: Sequence[Choice]) -> str:
    why = _WHY.get(best.quant, "")
    others = [one for one in choices if one.runs and one is not best]
    if best.verdict == "tight":
        return f"{best.quant or best.id}: it just fits; close other programs before loading it."
    if not others:
        return "The only file that runs here."
    if best.verdict is None:
        return f"{best.quant or best.id}: {why or 'the best balance among these files'}."
    larger = [one for one in others if one.weights_bytes > best.weights_bytes]
    if larger and all(one.verdict == "too_big" for one in larger):
        return f"{best.quant or best.id}: the best one that fits into the memory free now."
    return f"{best.quant or best.id}: {why or 'the best balance among these files'}, and it fits."


def usual_choice(choices: Sequence[Choice]) -> Choice | None:
    """What most people would take where no forecast tells: the first preferred quant, else what runs here."""
    whole = [one for one in choices if one.kind not in _ONLY_BY_NAME and not one.missing_parts]
    for quant in PREFERRED:
        for one in whole:
            if one.quant == quant:
                return one
    return min(whole, key=lambda one: (not one.runs, one.size_bytes), default=None)


def find(choices: Sequence[Choice], wanted: str) -> Choice | None:
    """The choice a person means by "Q4_K_M", "q4_k_m", a file's path or the start of an id; None when unclear."""
    lowered = wanted.lower()
    by_name = {one.id.lower(): one for one in choices} | {
        f.path.lower(): c
        for c in choices
        for f in c.files
        if len(c.files) == 1 or split_part(PurePosixPath(f.path).stem)
    }
    if lowered in by_name:
        return by_name[lowered]
    same = [one for one in choices if one.quant and one.quant.lower() == lowered]
    same = [one for one in same if one.kind == "gguf"] or [one for one in same if one.kind == "other"] or same
    if len(same) == 1:
        return same[0]
    begins = [one for one in choices if one.id.lower().startswith(lowered)]
    return begins[0] if len(begins) == 1 else None
