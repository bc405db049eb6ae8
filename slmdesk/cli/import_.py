"""`slmdesk import`: use models that are on this machine already."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.cli.verify import progress_line
from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.library.requests import ImportRequest
from slmdesk.library.sources import ImportSource, source_at, standard_sources

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.candidates import Candidate
    from slmdesk.library.importing import Imported, Mode

_DONE: dict[Mode, str] = {
    "in-place": "used where it lies",
    "copy": "copied",
    "move": "moved",
    "link": "linked, takes no space of its own",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    programs = ("ollama", "lm-studio", "hf-cache")
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help="a GGUF file, or a folder of any program's models"
    )
    parser.add_argument("--from", dest="origin", choices=programs, help="that program's models")
    parser.add_argument(
        "--model", metavar="NAME", action="append", help="only this one of several; may be repeated"
    )
    parser.add_argument("--as", dest="name", metavar="PUBLISHER/NAME", help="the name in the library")
    parser.add_argument("--list", dest="only_list", action="store_true", help="only show what is there")
    how = parser.add_mutually_exclusive_group()
    for mode in ("move", "copy", "link"):
        what = f"{mode} the files into the library" + (" (hard links)" if mode == "link" else "")
        how.add_argument(
            f"--{mode}", dest="mode", action="store_const", const=mode, default="in-place", help=what
        )


def run(args: argparse.Namespace, out: Output) -> int:
    if bool(args.path) == bool(args.origin):
        raise UsageError("Give a path, or --from and a program.", "slmdesk import --help shows the options.")
    return asyncio.run(_import(Application.look(), args, out))


async def _import(application: Application, args: argparse.Namespace, out: Output) -> int:
    found: list[Candidate] = []
    for source in await asyncio.to_thread(_sources, args.path, args.origin):
        found += await application.importer.find(source)
    chosen = _chosen(found, args.model or [])
    if args.only_list:
        rows = [(c.title or c.id, amounts.size(c.size_bytes), _what(c)) for c in chosen]
        out.table(("MODEL", "SIZE", ""), rows, right=(1,))
        out.done({"found": [candidate.to_json() for candidate in chosen], "imported": []})
        return 0

    def told(imported: Imported) -> None:
        out.clear_status()
        out.event("model", **imported.to_json())
        if imported.problem is not None:
            out.problem(imported.problem)
        elif imported.skipped:
            out.text(f"{imported.id} is in the library already")
        else:
            out.text(f"{imported.id}: {_DONE[imported.mode]}")
            for note in imported.notes:
                out.note(note)

    request = ImportRequest(tuple(chosen), args.mode, args.name or "")
    imported = await application.library_actions.import_now(request, progress_line(out, "importing"), told)
    out.clear_status()
    failed = [one.problem for one in imported if one.problem is not None]
    if failed and len(failed) == len(imported):
        raise failed[0]
    out.done({"imported": [one.to_json() for one in imported], "failed": len(failed)})
    return 1 if failed else 0


def _sources(path: str | None, origin: str | None) -> list[ImportSource]:
    if path is not None:
        return [source_at(Path(path))]
    there = [source for source in standard_sources() if source.kind == origin]
    if not there:
        raise SlmDeskError(
            "import_nothing",
            f"No models of {origin} were found at their usual places.",
            "Give the folder they are in: slmdesk import PATH.",
        )
    return there


def _chosen(found: list[Candidate], names: list[str]) -> list[Candidate]:
    wanted = {name.casefold() for name in names}
    chosen = [
        c for c in found if not wanted or wanted & {c.id.casefold(), c.title.casefold(), c.name.casefold()}
    ]
    if not chosen:
        if not found:
            raise SlmDeskError(
                "import_nothing",
                "No models were found there.",
                "SLM Desk takes GGUF files, folders with config.json and safetensors or ONNX, and what Ollama, LM "
                "Studio and the Hugging Face cache hold.",
            )
        listed = ", ".join((c.title or c.id) for c in found[:8])
        raise SlmDeskError("import_nothing", "There is no such model to import.", f"There are: {listed}")
    return chosen


def _what(candidate: Candidate) -> str:
    if candidate.problem is not None:
        return candidate.problem.message
    return f"in the library as {candidate.inside}" if candidate.inside else ""
