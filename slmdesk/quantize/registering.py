"""What is written down about a quant: in the table for the chart, and beside the file for everybody else."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import sidecar
from slmdesk.library.sidecar import Origin
from slmdesk.quantize.job_memory import QuantMemory
from slmdesk.quantize.request import NONE
from slmdesk.quantize.source import open_source
from slmdesk.quantize.store import Quant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.core.paths import Paths
    from slmdesk.quantize.job_memory import Measured
    from slmdesk.quantize.request import Request
    from slmdesk.quantize.source import SourceGguf

# In the order of a table; those that were not measured are missing.
_FIGURES = tuple(
    (
        "size_bytes forecast_bytes bits_per_weight perplexity perplexity_error perplexity_ratio "
        "perplexity_ratio_error source_perplexity kld_mean kld_error kld_median kld_95 kld_999 top_1 "
        "top_1_error tokens_scored chunks text text_sha256 prompt_tokens_s generation_tokens_s "
        "first_token_seconds load_seconds peak_memory_bytes quantize_seconds fallbacks error"
    ).split()
)


def facts(name: str, entry: QuantMemory, source: SourceGguf, request: Request) -> dict[str, Any]:
    """One quant of a result; `name`: what the job calls it."""
    found: dict[str, Any] = {
        "quant": entry.quant or name,
        "path": entry.path or None,
        "paths": list(entry.paths),
    }
    known = entry.to_json()
    found |= {figure: known[figure] for figure in _FIGURES if figure in known}
    found["imatrix"] = entry.imatrix if entry.imatrix is not None else request.matrix != NONE
    found["source_quant"] = source.quant
    return found


def found(path: Path, source: SourceGguf) -> QuantMemory:
    """The entry of a quant that is there and was not made by this job. Blocking. Raises what `open_source` raises,
    and `vocabulary_differs` or `source_differs` where it cannot be of this source."""
    other = open_source(path)
    if other.parts == source.parts:
        raise SlmDeskError(
            "source_differs", f"{path.name} is the source itself.", "Choose a quant that was made of it."
        )
    mine, its = source.header, other.header
    if mine.vocabulary != its.vocabulary:
        raise SlmDeskError(
            "vocabulary_differs",
            f"{path.name} has {its.vocabulary} tokens and {source.path.name} {mine.vocabulary}: they are different"
            " models, and what one lost cannot be seen by the other.",
            "Choose a quant of this model.",
        )
    if (mine.architecture, mine.number("block_count")) != (its.architecture, its.number("block_count")):
        raise SlmDeskError(
            "source_differs",
            f"{path.name} is no quant of {source.path.name}: its architecture or its layers are others.",
            "Choose a quant of this model.",
        )
    return QuantMemory(
        state="placed",
        quant=other.quant or path.stem,
        path=str(other.path),
        paths=tuple(str(part) for part in other.parts),
        size_bytes=other.bytes,
        bits_per_weight=other.bytes * 8 / max(other.parameters, 1),
        imatrix="quantize.imatrix.entries_count" in its.metadata,
    )


def all_found(paths: Sequence[Path], source: SourceGguf) -> dict[str, QuantMemory]:
    """`found` of each, by a name that none shares: its quant, with the file's name where several are of one quant."""
    entries: dict[str, QuantMemory] = {}
    for path in paths:
        entry = found(path, source)
        name = entry.quant if entry.quant not in entries else f"{entry.quant} ({path.name})"
        entries[name] = entry
    return entries


def record(model: str, source: Path, quant: str, figures: Mapping[str, Any]) -> Quant:
    return Quant(str(figures["path"]), model, str(source), quant, dict(figures), time.time())


def record_source(model: str, path: Path, source: SourceGguf, figures: Measured) -> Quant:
    """The source as a row of the chart: what all its quants are compared with. `path`: the file, or the folder
    it was converted from."""
    known = {
        "quant": source.quant,
        "size_bytes": source.bytes,
        "bits_per_weight": source.bytes * 8 / max(source.parameters, 1),
        "kld_mean": 0.0,
        "top_1": 1.0,
        "is_source": True,
    }
    return Quant(str(path), model, str(path), source.quant, {**known, **figures.to_json()}, time.time())


def write_sidecar(
    paths: Paths, entry: QuantMemory, figures: Mapping[str, Any], origin: Path, source: SourceGguf
) -> None:
    """Note the files in the model's `slmdesk.json`; of files that this job did not make only the figures, where the
    files are noted there. Blocking. Raises as `sidecar.record` does."""
    files = [Path(path) for path in entry.paths]
    folder = _home(files[0].parent, paths)
    if entry.files is None:
        _add_figures(folder, files, figures)
        return
    hidden = {"path", "paths", "quant", "error"}
    made = {
        "from": origin.name,
        "from_fingerprint": source.fingerprint,
        **{key: value for key, value in figures.items() if key not in hidden},
    }
    entries: dict[str, Origin] = {}
    for file, written in zip(files, entry.files, strict=True):
        status = file.stat()
        entries[file.relative_to(folder).as_posix()] = Origin(
            state="verified",
            size=status.st_size,
            sha256=written.sha256,
            licence=source.header.licence,
            source="quantize",
            checked_at=time.time(),
            modified_ns=status.st_mtime_ns,
            extra={"quantize": made},
        )
    sidecar.record(folder, entries)


def _add_figures(folder: Path, files: list[Path], figures: Mapping[str, Any]) -> None:
    hidden = {"path", "paths", "quant", "error"}
    measured = {key: value for key, value in figures.items() if key not in hidden}
    known = sidecar.read(folder)
    names = [name for file in files if (name := file.relative_to(folder).as_posix()) in known]

    def with_figures(_name: str, origin: Origin) -> Origin:
        before = origin.extra.get("quantize")
        made = {**(before if isinstance(before, dict) else {}), **measured}
        return replace(origin, extra={**origin.extra, "quantize": made})

    if names:
        sidecar.change(folder, names, with_figures)


def _home(folder: Path, paths: Paths) -> Path:
    """The model's folder: `<models>/<publisher>/<name>`, or the folder itself where it lies elsewhere."""
    try:
        parts = folder.relative_to(paths.models).parts
    except ValueError:
        return folder
    return paths.models.joinpath(*parts[:2]) if len(parts) > 2 else folder
