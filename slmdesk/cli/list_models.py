"""`slmdesk list`: the models on this machine's disks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slmdesk.cli.output import parameters_text, size_text
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.library.library import Library

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.library import LibraryFile, LibraryModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # nothing to choose yet


def run(args: argparse.Namespace, out: Output) -> int:
    del args
    paths = Paths.resolve()
    models = asyncio.run(Library(paths, Settings(paths.settings_file)).models())
    rows = [_row(file) for model in models for file in model.files]
    if rows:
        out.table(("MODEL", "SIZE", "PARAMETERS", "CONTEXT", "STATE"), rows, right=(1, 2, 3))
    else:
        out.text("There is no model here yet.")
    for file in (file for model in models for file in model.files):
        if file.problem is not None:
            out.text()
            out.problem(file.problem)
    out.done({"models": [model_json(model) for model in models]})
    return 0


def _row(file: LibraryFile) -> tuple[str, ...]:
    context = str(file.context_length) if file.context_length else ""
    return (file.id, size_text(file.size_bytes), parameters_text(file.parameters), context, str(file.state))


def model_json(model: LibraryModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "publisher": model.publisher,
        "built_in": model.built_in,
        "files": [file_json(file) for file in model.files],
    }


def file_json(file: LibraryFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "path": str(file.path),
        "size_bytes": file.size_bytes,
        "quant": file.quant,
        "architecture": file.architecture,
        "parameters": file.parameters,
        "context_length": file.context_length,
        "state": file.state,
        "problem": file.problem.to_json() if file.problem else None,
    }
