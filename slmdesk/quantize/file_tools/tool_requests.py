"""What a person asks of a file tool. The same for the window, the command line and a job's row.

`source` is a path once it got as far as a job; front ends may name a library id. `output`: a file (it ends with .gguf),
a folder, or "" for the model's own folder in the library.
"""

from __future__ import annotations

import re

from slmdesk.inference.wire import Wire, converted
from slmdesk.quantize.adapter_types import AUTO
from slmdesk.quantize.protocol import CHUNK


class ToolRequest(Wire, frozen=True, tag_field="tool"):
    """What all share."""

    source: str

    @property
    def tool(self) -> str:
        """The name of the tool that does it."""
        return str(self.__struct_config__.tag)


class SplitRequest(ToolRequest, frozen=True, tag="split"):
    """A GGUF into parts of at most so many bytes or tensors."""

    max_bytes: int = 0
    max_tensors: int = 0
    metadata_first: bool = False
    output: str = ""


class JoinRequest(ToolRequest, frozen=True, tag="join"):
    """The parts of a model into one file; `source` is any of them."""

    output: str = ""


class MatrixRequest(ToolRequest, frozen=True, tag="imatrix"):
    """An importance matrix of a model over a text ("": the built-in one), `chunk` tokens at a time."""

    text: str = ""
    chunk: int = CHUNK
    most_chunks: int = 0  # 0: the whole text
    output: str = ""
    threads: int = 0


class MatrixSumRequest(ToolRequest, frozen=True, tag="imatrix sum"):
    """Importance matrices of one model added up; `source` is the first of them. `chunk`: tokens that a call of an older
    file stands for."""

    others: tuple[str, ...] = ()
    chunk: int = CHUNK
    output: str = ""


class ConvertRequest(ToolRequest, frozen=True, tag="convert"):
    """A folder with safetensors into a GGUF: `type` "f32", "f16", "bf16", "q8_0", or "" for the one in which nothing is
    lost. `projector`: what lets the model see or hear, in place of the model."""

    type: str = ""
    projector: bool = False
    insist: bool = False
    output: str = ""


class AdapterRequest(ToolRequest, frozen=True, tag="adapter"):
    """A PEFT adapter's folder into a GGUF adapter. `base`: a folder with its model's config.json, or that model in the
    library as safetensors; "" for what the adapter itself names, where it is here."""

    base: str = ""
    type: str = "f16"
    output: str = ""


class AdapterMergeRequest(ToolRequest, frozen=True, tag="adapter merge"):
    """Adapters (pairs of a GGUF and a scale) into a model's weights. `type`: one of `adapter_types.CHOICES`."""

    adapters: tuple[tuple[str, float], ...] = ()
    type: str = AUTO
    output: str = ""
    threads: int = 0


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


AnyToolRequest = (
    SplitRequest
    | JoinRequest
    | MatrixRequest
    | MatrixSumRequest
    | ConvertRequest
    | AdapterRequest
    | AdapterMergeRequest
)


def request_from_json(data: object) -> AnyToolRequest:
    """The reverse of `to_json`. Raises `SlmDeskError("bad_request")` that says what is wrong."""
    request: AnyToolRequest = converted(data, AnyToolRequest)
    return request
