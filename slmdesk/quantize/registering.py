"""What is written down about a quant: in the table for the chart, and beside the file for everybody else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.library import sidecar
from slmdesk.library.sidecar import Origin
from slmdesk.quantize.store import Quant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.paths import Paths
    from slmdesk.quantize.request import Request
    from slmdesk.quantize.source import Source

# In the order of a table; those that were not measured are missing.
_FIGURES = (
    "size_bytes", "forecast_bytes", "bits_per_weight", "perplexity", "perplexity_error", "perplexity_ratio",
    "perplexity_ratio_error", "source_perplexity", "kld_mean", "kld_error", "kld_median", "kld_95", "kld_999", "top_1",
    "tokens_scored", "chunks", "text", "text_sha256", "prompt_tokens_s", "generation_tokens_s", "first_token_seconds",
    "load_seconds", "peak_memory_bytes", "quantize_seconds", "fallbacks", "error",
)  # fmt: skip


def facts(quant: str, entry: Mapping[str, Any], source: Source, request: Request) -> dict[str, Any]:
    """One quant of a result."""
    found: dict[str, Any] = {"quant": quant, "path": entry.get("path"), "paths": entry.get("paths", [])}
    found |= {name: entry[name] for name in _FIGURES if name in entry}
    found["imatrix"] = request.imatrix != "none"
    found["source_quant"] = source.quant
    return found


def record(model: str, source: Path, quant: str, figures: Mapping[str, Any]) -> Quant:
    return Quant(str(figures["path"]), model, str(source), quant, dict(figures), time.time())


def record_source(model: str, path: Path, source: Source, figures: Mapping[str, Any]) -> Quant:
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
    return Quant(str(path), model, str(path), source.quant, {**known, **figures}, time.time())


def write_sidecar(
    paths: Paths, entry: Mapping[str, Any], figures: Mapping[str, Any], origin: Path, source: Source
) -> None:
    """Note the files in the model's `slmdesk.json`. Blocking. Raises as `sidecar.record` does."""
    files = [Path(path) for path in entry["paths"]]
    folder = _home(files[0].parent, paths)
    hidden = {"path", "paths", "quant", "error"}
    made = {
        "from": origin.name,
        "from_fingerprint": source.fingerprint,
        **{key: value for key, value in figures.items() if key not in hidden},
    }
    entries: dict[str, Origin] = {}
    for file, written in zip(files, entry["files"], strict=True):
        status = file.stat()
        entries[file.relative_to(folder).as_posix()] = Origin(
            state="verified",
            size=status.st_size,
            sha256=str(written["sha256"]),
            licence=source.header.licence,
            source="quantize",
            checked_at=time.time(),
            modified_ns=status.st_mtime_ns,
            extra={"quantize": made},
        )
    sidecar.record(folder, entries)


def _home(folder: Path, paths: Paths) -> Path:
    """The model's folder: `<models>/<publisher>/<name>`, or the folder itself where it lies elsewhere."""
    try:
        parts = folder.relative_to(paths.models).parts
    except ValueError:
        return folder
    return paths.models.joinpath(*parts[:2]) if len(parts) > 2 else folder
