"""The model that is made smaller: what it is, and whether it is still the same."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import GgufHeader, check, check_weights, read_header
from slmdesk.formats.quants import FULL_PRECISION
from slmdesk.formats.split import joined

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SPLIT = re.compile(r"^(.+)-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_HASHED = 1024 * 1024  # bytes of the beginning that go into the fingerprint


@dataclass(frozen=True, slots=True)
class SourceGguf:
    """A GGUF to quantize. `header` is the first part's, with the tensors of all."""

    path: Path
    parts: tuple[Path, ...]
    header: GgufHeader
    quant: str
    parameters: int
    bytes: int
    fingerprint: str

    @property
    def warning(self) -> str:
        """Why this is no good source; "" where it is one."""
        if self.quant in FULL_PRECISION:
            return ""
        return (
            f"{self.path.name} is quantized already ({self.quant or 'type unknown'}): what was rounded away does not "
            "come back, and the result is worse than one made from the full model. Use an F16, BF16 or F32 file."
        )

    def check_unchanged(self) -> None:
        """Raises `SlmDeskError("source_changed")` or `source_missing`."""
        if fingerprint(self.parts) != self.fingerprint:
            raise SlmDeskError(
                "source_changed",
                f"{self.path.name} was changed while it was being quantized.",
                "Start again when nothing writes to it any more.",
            )


def open_source(path: Path) -> SourceGguf:
    """Read and check a GGUF, all parts of a split one.

    Raises `SlmDeskError`: `source_missing`, `source_parts_missing`, `source_unsuitable`, and what
    `formats.gguf` raises for damaged files.
    """
    path = path.absolute()
    if path.is_dir():
        raise SlmDeskError(
            "source_unsuitable",
            f"{path} is a folder, not a GGUF file.",
            "Name the GGUF file in it, or a folder with safetensors files.",
        )
    parts = parts_of(path)
    headers = [_header(part) for part in parts]
    check(headers[0])
    for header in headers[1:]:
        check_weights(header)
    first = headers[0]
    if first.kind != "model":
        raise SlmDeskError(
            "source_unsuitable",
            f"{path.name} is no model but of the kind “{first.kind}”.",
            "Choose the model's own file.",
        )
    return SourceGguf(
        path=parts[0],
        parts=parts,
        header=joined(headers),
        quant=_quant(headers),
        parameters=sum(header.parameters for header in headers),
        bytes=sum(header.file_bytes for header in headers),
        fingerprint=fingerprint(parts),
    )


def parts_of(path: Path) -> tuple[Path, ...]:
    """All parts of a split file, in order; the file alone where it is not split.

    Raises `SlmDeskError("source_parts_missing")`.
    """
    match = _SPLIT.match(path.name)
    if match is None:
        return (path,)
    count = int(match[3])
    parts = [path.with_name(f"{match[1]}-{number:05}-of-{match[3]}.gguf") for number in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise SlmDeskError(
            "source_parts_missing",
            f"{path.name} is one of {count} parts; missing: {', '.join(missing[:5])}"
            f"{', …' if len(missing) > 5 else ''}.",
            "Put all parts into one folder, or download the model again.",
        )
    return tuple(parts)


def fingerprint(parts: tuple[Path, ...]) -> str:
    """Sizes, times and beginnings of the files, as one short text. Raises `SlmDeskError("source_missing")`."""
    digest = hashlib.sha256()
    for part in parts:
        try:
            with part.open("rb") as file:
                digest.update(file.read(_HASHED))
            status = part.stat()
        except OSError as error:
            raise _missing(part, error) from error
        digest.update(f"|{part.name}|{status.st_size}|{status.st_mtime_ns}|".encode())
    return digest.hexdigest()[:32]


def stem_of(path: Path, quant: str) -> str:
    """The name to build quants' names from: the file's without its part and its quant."""
    match = _SPLIT.match(path.name)
    stem = match[1] if match else path.stem
    if quant:
        stem = re.sub(rf"[-._ ]?{re.escape(quant)}$", "", stem, flags=re.IGNORECASE) or stem
    return stem


def output_name(pattern: str, values: Mapping[str, Any]) -> str:
    """A file name from a pattern such as "{name}-{quant}". Raises `SlmDeskError("pattern_invalid")`."""
    try:
        name = pattern.format(**values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise _bad_pattern(pattern) from error
    name = name[: -len(".gguf")] if name.lower().endswith(".gguf") else name
    forbidden = set('<>:"/\\|?*') | {chr(code) for code in range(32)}
    if not name.strip(" .") or name.startswith(".") or set(name) & forbidden or len(name) > 200:
        raise _bad_pattern(pattern)
    return name


def _bad_pattern(pattern: str) -> SlmDeskError:
    return SlmDeskError(
        "pattern_invalid",
        f"The naming pattern “{pattern}” gives no file name.",
        'Use {name} and {quant}, as in {name}-{quant}; no slashes and no < > : " | ? *.',
    )


def _header(path: Path) -> GgufHeader:
    try:
        return read_header(path)
    except SlmDeskError as error:
        if error.code == "file_missing":
            raise _missing(path, None) from error
        raise


def _missing(path: Path, error: OSError | None) -> SlmDeskError:
    why = (
        f": {error.strerror or error}"
        if error is not None and not isinstance(error, FileNotFoundError)
        else ""
    )
    return SlmDeskError(
        "source_missing", f"{path} is not there{why}.", "Check the path, and that its disk is connected."
    )


def _quant(headers: list[GgufHeader]) -> str:
    """What the weights really are: a file type says nothing certain, so the tensors are asked."""
    sizes: dict[str, int] = {}
    for header in headers:
        for tensor in header.tensors:
            if len(tensor.shape) > 1:
                sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.nbytes
    named = headers[0].quant
    quantized = {name for name in sizes if name not in FULL_PRECISION}
    if quantized and named not in FULL_PRECISION:
        return named
    return max(sizes, key=lambda name: sizes[name], default=named)
