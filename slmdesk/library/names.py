"""Reading names: of quants in file names, of split files, of models in folders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+')  # the last: bytes that were no text
_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in "0123456789¹²³")}
)

LOCAL = "local"  # the publisher of files that lie outside `publisher/name` folders

_SPLIT = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<of>\d{5})$")
_QUANT = re.compile(
    r"(?:^|[-._ ])((?:UD-)?(?:I?Q\d(?:_[0-9A-Z]+)*|TQ\d_\d|BF16|F16|FP16|F32|FP32|MXFP4(?:_MOE)?|NVFP4))(?=$|[-._ ])",
    re.IGNORECASE,
)


def split_part(stem: str) -> tuple[str, int, int] | None:
    """`(name without the part, part, of)` of a split file's stem ("x-00001-of-00003"), or None."""
    match = _SPLIT.match(stem)
    return (match["stem"], int(match["part"]), int(match["of"])) if match else None


def quant_in(stem: str) -> str:
    """The last quant a file's stem names ("Qwen3-0.6B-Q4_K_M" -> "Q4_K_M"), in capitals, or ""."""
    found: list[str] = _QUANT.findall(stem)
    return found[-1].upper().replace("FP16", "F16").replace("FP32", "F32") if found else ""


def model_of(relative: Sequence[str]) -> tuple[str, str]:
    """Publisher and name of the model a file belongs to, by the parts of its path below a models folder."""
    folders = relative[:-1]
    if len(folders) >= 2:
        return folders[0], folders[1]
    if folders:
        return LOCAL, folders[0]
    stem = relative[-1].rpartition(".")[0] or relative[-1]
    split = split_part(stem)
    stem = split[0] if split else stem
    without = _QUANT.sub("", stem).strip("-._ ")
    return LOCAL, without or stem


def safe_name(text: str) -> str:
    """A text as one folder or file name that every system takes; never empty, hidden, reserved or a way up."""
    name = _UNSAFE.sub("-", text).strip(" .")[:120].rstrip(" .")
    if not name or name.split(".")[0].upper() in _RESERVED:
        name = f"_{name}"
    return name


def check_model_id(text: str) -> tuple[str, str]:
    """Publisher and name of `publisher/name`. Raises `SlmDeskError("name_invalid")`."""
    publisher, slash, name = text.strip().partition("/")
    if not slash or "/" in name or safe_name(publisher) != publisher or safe_name(name) != name:
        raise SlmDeskError(
            "name_invalid",
            f"{text!r} is no name for a model.",
            "Names look like publisher/name: letters, digits, spaces, - _ . and +.",
        )
    return publisher, name
