"""`slmdesk list`: the models on this machine's disks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.core import amounts
from slmdesk.library.usage import usage

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.created import CreatedModel
    from slmdesk.library.library import LibraryFile, LibraryModel
    from slmdesk.library.usage import DiskUsage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", action="store_true", help="what each model takes, and free space")


def run(args: argparse.Namespace, out: Output) -> int:
    application = Application.look()
    library = application.library
    models, created = asyncio.run(_models(application))
    rows = [_row(file) for model in models for file in model.files]
    if rows:
        out.table(("MODEL", "SIZE", "PARAMETERS", "CONTEXT", "STATE"), rows, right=(1, 2, 3))
    else:
        out.text("There is no model here yet.")
    _print_created(created, out)
    for file in (file for model in models for file in model.files):
        if file.problem is not None and file.serves is None:
            out.text()
            out.problem(file.problem)
    for problem in library.problems:
        out.text()
        out.problem(problem)
    result: dict[str, Any] = {
        "models": [model_json(model) for model in models],
        "folders": [str(folder) for folder in library.folders],
        "created": [{"name": model.name, "base": model.base} for model in created],
        "problems": [problem.to_json() for problem in library.problems],
    }
    if args.sizes:
        used = asyncio.run(usage(library))
        _print_sizes(used, out)
        result["usage"] = used.to_json()
    out.done(result)
    return 0


async def _models(application: Application) -> tuple[list[LibraryModel], list[CreatedModel]]:
    await application.library.check_starter()
    try:
        created = await application.created_models.models()
        return await application.library.models(every_format=True), created
    finally:
        await application.close()


def _print_created(created: list[CreatedModel], out: Output) -> None:
    if created:
        out.text()
        out.table(("CREATED MODEL", "MADE OF"), [(model.name, model.base) for model in created])


def _print_sizes(used: DiskUsage, out: Output) -> None:
    out.text()
    rows = [
        (
            model.id,
            amounts.size(model.size_bytes),
            amounts.size(model.shared) if model.shared else "",
            amounts.size(model.elsewhere) if model.elsewhere else "",
        )
        for model in used.models
    ]
    out.table(("MODEL", "TAKES", "SHARED", "USED IN PLACE"), rows, right=(1, 2, 3))
    for volume in used.volumes:
        folders = ", ".join(map(str, volume.folders))
        removed = (
            f", {amounts.size(volume.removed)} removed but not yet in the trash" if volume.removed else ""
        )
        out.text(
            f"{folders}: {amounts.size(volume.models)} of models{removed}; {amounts.size(volume.free)} free"
        )


def _row(file: LibraryFile) -> tuple[str, ...]:
    context = str(file.context_length) if file.context_length else ""
    return (
        file.id,
        amounts.size(file.size_bytes),
        amounts.parameters(file.parameters),
        context,
        str(file.state),
    )


def model_json(model: LibraryModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "publisher": model.publisher,
        "built_in": model.built_in,
        "starter": model.starter,
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
        "purpose": file.purpose,
        "format": file.format,
        "in_place": file.in_place,
        "shipped": file.shipped,
        "problem": file.problem.to_json() if file.problem else None,
    }
