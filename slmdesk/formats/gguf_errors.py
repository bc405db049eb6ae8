"""What is wrong with a GGUF file, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.ggml_types import REMOVED_TYPES

if TYPE_CHECKING:
    from pathlib import Path

DOWNLOAD_AGAIN = "Download or convert it again."


def damaged(path: Path, what: str, hint: str = DOWNLOAD_AGAIN) -> SlmDeskError:
    """`what` completes "NAME is damaged: …"."""
    return SlmDeskError("gguf_damaged", f"{path.name} is damaged: {what}.", hint)


def cut_off(path: Path, there: int, whole: int) -> SlmDeskError:
    """`there` of `whole` bytes of weights are in the file."""
    return SlmDeskError(
        "gguf_truncated",
        f"{path.name} is cut off: {amounts.size(there)} of {amounts.size(whole)} of weights are there.",
        "Download it again; an interrupted download leaves such a file.",
    )


def not_gguf(path: Path, data: bytes) -> SlmDeskError:
    """Says what the file looks like instead, by its first bytes."""
    if not data:
        return SlmDeskError("not_gguf", f"{path.name} is empty.", DOWNLOAD_AGAIN)
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        what = "a web page, probably an error message saved by a browser"
    elif start.startswith(b"version https://git-lfs"):
        what = "a Git LFS pointer: the real file was not fetched"
    elif data[:4] in {b"ggml", b"ggjt", b"ggla", b"lmgg", b"tjgg"}:
        what = "a GGML file, which came before GGUF"
    elif data[:4] == b"PK\x03\x04":
        what = "a ZIP archive"
    elif data[8:9] == b"{":
        what = "a safetensors file"
    else:
        what = "something else"
    return SlmDeskError(
        "not_gguf", f"{path.name} is no GGUF file; it is {what}.", "Choose a file in the GGUF format."
    )


def wrong_version(path: Path, version: int) -> SlmDeskError:
    """A version of GGUF that is not read here."""
    if version == 1:
        return SlmDeskError(
            "gguf_version",
            f"{path.name} is GGUF version 1, which is no longer read.",
            "Get a newer file of the same model.",
        )
    if version & 0xFFFF == 0:
        return SlmDeskError(
            "gguf_version",
            f"{path.name} was made for big-endian machines.",
            "Get the ordinary (little-endian) file of the same model.",
        )
    return SlmDeskError(
        "gguf_version",
        f"{path.name} is GGUF version {version}; this program reads versions 2 and 3.",
        "Update SLM Desk, or download the file again in case it is damaged.",
    )


def unknown_type(path: Path, tensor: str, number: int) -> SlmDeskError:
    """A tensor's type is one that was given up, or none that is known."""
    if number in REMOVED_TYPES:
        return SlmDeskError(
            "gguf_version",
            f"{path.name} uses {REMOVED_TYPES[number]}, a format that is no longer read.",
            "Get a newer quant of the same model, for example Q4_0 or Q4_K_M.",
        )
    return damaged(
        path,
        f"the tensor {short(tensor)} has the unknown type {number}",
        f"{DOWNLOAD_AGAIN} If it is very new, update SLM Desk.",
    )


def short(text: str) -> str:
    """A name from a file, fit to be shown in a sentence."""
    shown = text if len(text) <= 60 else text[:57] + "…"
    return f"“{shown}”" if shown.isprintable() else repr(shown)


def unreadable(path: Path, error: OSError) -> SlmDeskError:
    """The system refused to open or read the file."""
    if isinstance(error, FileNotFoundError):
        return SlmDeskError(
            "file_missing", f"{path} is not there.", "Check the path, and that its disk is connected."
        )
    return SlmDeskError(
        "file_unreadable",
        f"{path} cannot be read: {error.strerror or error}.",
        "Check that it is a file and that you may read it.",
    )
