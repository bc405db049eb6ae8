"""What a person asks of a file tool. The same for the window, the command line and a job's row.

`source` is a path once it got as far as a job; front ends may name a library id. `output`: a file (it ends with .gguf),
a folder, or "" for the model's own folder in the library.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.adapter_types import AUTO
from slmdesk.quantize.protocol import CHUNK

if TYPE_CHECKING:
    from collections.abc import Mapping


class ToolWish:
    """What all share. Subclasses are frozen dataclasses with a `tool`."""

    tool: ClassVar[str]
    source: str
    output: str

    def to_json(self) -> dict[str, Any]:
        return {"tool": self.tool, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        known = {entry.name for entry in fields(cls)}  # type: ignore[arg-type]
        return cls(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True)
class SplitWish(ToolWish):
    """A GGUF into parts of at most so many bytes or tensors."""

    source: str
    max_bytes: int = 0
    max_tensors: int = 0
    metadata_first: bool = False
    output: str = ""
    tool = "split"


@dataclass(frozen=True)
class JoinWish(ToolWish):
    """The parts of a model into one file; `source` is any of them."""

    source: str
    output: str = ""
    tool = "join"


@dataclass(frozen=True)
class MatrixWish(ToolWish):
    """An importance matrix of a model over a text ("": the built-in one), `chunk` tokens at a time."""

    source: str
    text: str = ""
    chunk: int = CHUNK
    most_chunks: int = 0  # 0: the whole text
    output: str = ""
    threads: int = 0
    tool = "imatrix"


@dataclass(frozen=True)
class MatrixSumWish(ToolWish):
    """Importance matrices of one model added up; `source` is the first of them. `chunk`: tokens that a call of an older
    file stands for."""

    source: str
    others: tuple[str, ...] = ()
    chunk: int = CHUNK
    output: str = ""
    tool = "imatrix sum"


@dataclass(frozen=True)
class ConvertWish(ToolWish):
    """A folder with safetensors into a GGUF: `type` "f32", "f16", "bf16", "q8_0", or "" for the one in which nothing is
    lost. `projector`: what lets the model see or hear, in place of the model."""

    source: str
    type: str = ""
    projector: bool = False
    insist: bool = False
    output: str = ""
    tool = "convert"


@dataclass(frozen=True)
class AdapterWish(ToolWish):
    """A PEFT adapter's folder into a GGUF adapter. `base`: a folder with its model's config.json, or that model in the
    library as safetensors; "" for what the adapter itself names, where it is here."""

    source: str
    base: str = ""
    type: str = "f16"
    output: str = ""
    tool = "adapter"


@dataclass(frozen=True)
class AdapterMergeWish(ToolWish):
    """Adapters (pairs of a GGUF and a scale) into a model's weights. `type`: one of `adapter_types.WISHES`."""

    source: str
    adapters: tuple[tuple[str, float], ...] = ()
    type: str = AUTO
    output: str = ""
    threads: int = 0
    tool = "adapter merge"


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)b?")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def size_in_bytes(text: str) -> int:
    """ "2G" or "2 GB" is 2·10⁹ bytes, as disks are sold. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no size; an example is 2 GB")
    return int(float(match[1]) * _UNITS[match[2]])


def adapter_in(text: str) -> tuple[str, float]:
    """`file.gguf=0.5`: half as strong. A name with "=" that ends otherwise is a name. Raises ValueError."""
    path, mark, scale = text.rpartition("=")
    if mark and path.lower().endswith(".gguf"):
        try:
            return path, float(scale)
        except ValueError:
            raise ValueError(f"{scale!r} is no number; an example is {path}=0.5") from None
    return text, 1.0


_WISHES: dict[str, type[ToolWish]] = {
    kind.tool: kind
    for kind in (
        SplitWish,
        JoinWish,
        MatrixWish,
        MatrixSumWish,
        ConvertWish,
        AdapterWish,
        AdapterMergeWish,
    )
}


def wish_from_json(data: Mapping[str, Any]) -> ToolWish:
    """The reverse of `to_json`. Raises `SlmDeskError("request_invalid")`."""
    try:
        return _WISHES[str(data.get("tool"))].of(data)
    except (KeyError, TypeError) as error:
        raise SlmDeskError("request_invalid", f"The request cannot be read: {error}.", "") from error
