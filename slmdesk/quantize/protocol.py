"""What is asked of the child process `slmdesk quantizer`: one operation a process, as one JSON line on its stdin.

It answers with JSON lines on stdout: `{"event": "progress", …}`, and last `{"event": "result", "result": {…}}` or
`{"event": "error", "error": {…}}`. Paths are text, sizes bytes, times seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Mapping

STEP_VARIABLE = "_SLMDESK_SAFE_STEP"  # in the child's environment: what native code it leaves out
CHUNK = 512  # tokens evaluated together, as llama.cpp's own tools do


class Spec:
    """What all operations share: to JSON and back. Subclasses are frozen dataclasses with an `op`."""

    op: str

    def to_json(self) -> dict[str, Any]:
        return {"op": self.op, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises `SlmDeskError("spec_invalid")`."""
        known = {entry.name for entry in fields(cls)}  # type: ignore[arg-type]
        try:
            made = cls(**{key: value for key, value in data.items() if key in known})
        except TypeError as error:
            raise SlmDeskError("spec_invalid", f"The request cannot be read: {error}.", "") from error
        return made


@dataclass(frozen=True)
class Options:
    """How to quantize, beyond the target. Types are named as in `targets.TENSOR_TYPE_NUMBERS`; "" is llama.cpp's
    choice. `overrides`: pairs of a regular expression on tensor names and a type, the first that matches counts.
    """

    output_type: str = ""
    embedding_type: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    pure: bool = False
    keep_split: bool = False
    threads: int = 0  # 0: all this process may use

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """Raises `SlmDeskError("spec_invalid")`."""
        try:
            return cls(
                output_type=str(data.get("output_type", "")),
                embedding_type=str(data.get("embedding_type", "")),
                overrides=tuple((str(a), str(b)) for a, b in data.get("overrides", ())),
                pure=bool(data.get("pure", False)),
                keep_split=bool(data.get("keep_split", False)),
                threads=int(data.get("threads", 0)),
            )
        except (TypeError, ValueError) as error:
            raise SlmDeskError("spec_invalid", f"The options cannot be read: {error}.", "") from error


@dataclass(frozen=True)
class MatrixUse:
    """An importance matrix as quantizing uses it. With `path` "" one that does not exist yet is reckoned with."""

    path: str = ""
    name: str = "imatrix.gguf"  # as it is written into the quant
    dataset: str = ""


@dataclass(frozen=True)
class ForecastSpec(Spec):
    """llama.cpp's dry run for each target. `matrix` is None where none will be used."""

    source: str
    targets: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    matrix: dict[str, str] | None = None
    texts: list[str] = field(default_factory=list)  # to be counted in tokens
    timed: bool = True  # whether seconds are wanted, too
    op = "forecast"


@dataclass(frozen=True)
class QuantizeSpec(Spec):
    """Write `source` as `target` into `folder`, under `name` (or `name-00001-of-…` with keep_split)."""

    source: str
    folder: str
    name: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    matrix: dict[str, str] | None = None
    buffer_bytes: int = 0  # most of one tensor held in memory; 0: llama.cpp's choice
    op = "quantize"


@dataclass(frozen=True)
class CheckSpec(Spec):
    """See that a written quant is what was asked for and runs. `types`: tensor name to type, all of them. With
    `load_only` neither types nor hashes are looked at; with `vocabulary_only` nothing is computed either: llama.cpp
    opens all parts and reads their headers."""

    files: list[str]
    types: dict[str, str]
    threads: int = 0
    load_only: bool = False
    vocabulary_only: bool = False
    op = "check"


@dataclass(frozen=True)
class MatrixSpec(Spec):
    """Compute an importance matrix over a text and write it to `output`."""

    source: str
    text: str
    output: str
    dataset: str
    chunk: int = CHUNK
    most_chunks: int = 0  # 0: the whole text
    special: bool = False  # whether the text may spell control tokens, such as those of a chat
    threads: int = 0
    gpu_layers: int = -1
    op = "matrix"


@dataclass(frozen=True)
class QualitySpec(Spec):
    """Perplexity of the source and each quant over a text, and how far each quant is from the source.

    `quants`: name to path. `state` is a file in which the work so far is kept, to go on from. `answers_only`: of a
    text in ChatML only the assistant's tokens are scored.
    """

    source: str
    quants: dict[str, str]
    text: str
    state: str
    chunk: int = CHUNK
    most_chunks: int = 0
    special: bool = False
    answers_only: bool = False
    threads: int = 0
    gpu_layers: int = -1
    op = "quality"


@dataclass(frozen=True)
class SpeedSpec(Spec):
    """How quick one model is, and how much memory it takes."""

    path: str
    text: str
    threads: int = 0
    gpu_layers: int = -1
    op = "speed"


@dataclass(frozen=True)
class CompareSpec(Spec):
    """Greedy answers of several models to one prompt. `chat`: as a question in the model's chat format."""

    paths: list[str]
    prompt: str
    most_tokens: int = 128
    chat: bool = True
    threads: int = 0
    gpu_layers: int = -1
    op = "compare"


@dataclass(frozen=True)
class RegroupSpec(Spec):
    """Split `source` into parts `name-00001-of-…` in `folder`; with neither limit join its parts into `name.gguf`."""

    source: str
    folder: str
    name: str
    max_bytes: int = 0
    max_tensors: int = 0
    metadata_first: bool = False
    op = "regroup"


@dataclass(frozen=True)
class MatrixMergeSpec(Spec):
    """Add up importance matrices. `chunk`: tokens a call of the older files stands for, and where no file says it."""

    files: list[str]
    output: str
    chunk: int = CHUNK
    op = "matrix_merge"


@dataclass(frozen=True)
class MatrixStatisticsSpec(Spec):
    """What an importance matrix holds; with `model` also which of its tensors it says nothing about."""

    path: str
    model: str = ""
    op = "matrix_statistics"


@dataclass(frozen=True)
class AdapterMergeSpec(Spec):
    """Add adapters, pairs of a file and a scale, to the weights of `source`. `type`: what changed tensors become, ""
    for the types they have."""

    source: str
    adapters: list[tuple[str, float]]
    output: str
    type: str = "F16"
    threads: int = 0
    op = "adapter_merge"
