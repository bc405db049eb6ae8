"""`slmdesk show MODEL`: what is known about one model file."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.cli.list_models import file_json
from slmdesk.cli.model_config import Shown
from slmdesk.core import amounts
from slmdesk.engines.families import form_of_file, in_words
from slmdesk.formats import gguf
from slmdesk.formats.purpose import not_for_chat
from slmdesk.formats.split import read_whole
from slmdesk.inference.limits import MODEL_SETTINGS
from slmdesk.library import sidecar
from slmdesk.library.sidecar import Origin
from slmdesk.library.verify import entry_place

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.library import Library, LibraryFile

_LONGEST = 2000  # characters of a text in the metadata that are shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="library id or GGUF file")
    parser.add_argument("--metadata", action="store_true", help="show everything the file says about itself")


def run(args: argparse.Namespace, out: Output) -> int:
    application = Application.look()
    settings, library = application.settings, application.library
    file, header = asyncio.run(_read(library, args.model))
    out.fields(_rows(file, header))
    form = ""
    if header is not None and not header.chat_template and not not_for_chat(header):
        form = form_of_file(header).name
        out.note(in_words(form))
    result = file_json(file) | {"parts": [_part_json(file, number) for number in range(len(file.parts))]}
    for number in range(len(file.parts)):
        _print_origin(file, number, out)
    if file.runs:
        result["settings"] = _show_kept(Shown(file, library, settings), out)
    if header is not None:
        if args.metadata:
            out.text()
            out.fields([(key, _shown(value)) for key, value in header.metadata.items()])
            result["metadata"] = {key: _plain(value) for key, value in header.metadata.items()}
        result |= {
            "name": header.name,
            "chat_template": bool(header.chat_template),
            "chat_form": form,
            "tensors": len(header.tensors),
        }
    out.done(result)
    return 0


def _show_kept(shown: Shown, out: Output) -> list[dict[str, Any]]:
    """What the model keeps of its own; all values for programs."""
    rows = [row for row in map(shown.row, MODEL_SETTINGS) if row[2] not in {"", "default", "the settings"}]
    if rows:
        out.text()
        out.table(("SETTING", "VALUE", "FROM", "MEANING"), rows)
    found: list[dict[str, Any]] = shown.to_json()["settings"]
    return found


async def _read(library: Library, reference: str) -> tuple[LibraryFile, gguf.GgufHeader | None]:
    await library.check_starter()
    file = await library.resolve(reference, every_format=True)
    told = {"hash_wrong", "model_not_chat"}  # of which the header says more
    if file.problem is not None and file.problem.code not in told:
        raise file.problem
    if file.format != "gguf":
        return file, None
    header = await asyncio.to_thread(read_whole, file.path)
    if file.problem is None or file.problem.code != "model_not_chat":
        await asyncio.to_thread(gguf.check, header)
    return file, header


def _origin(file: LibraryFile, number: int) -> Origin:
    """What the sidecar tells of a part; a folder's own entry stands for all of its files."""
    part = file.parts[number]
    place = entry_place(file, part)
    known = sidecar.read(place[0]).get(place[1]) if place else None
    return known or Origin()


def _part_json(file: LibraryFile, number: int) -> dict[str, Any]:
    return {"path": str(file.parts[number]), **_origin(file, number).to_json()}


def _print_origin(file: LibraryFile, number: int, out: Output) -> None:
    origin = _origin(file, number)
    checked = time.strftime("%Y-%m-%d %H:%M", time.localtime(origin.checked_at)) if origin.checked_at else ""
    told = " (taken down here; nobody published one)" if origin.sha256 and not origin.published else ""
    rows = [
        ("part", file.parts[number].name if len(file.parts) > 1 else ""),
        ("origin", f"{origin.repo} at {origin.revision[:12]}" if origin.repo else origin.source),
        ("SHA-256", f"{origin.sha256}{told}" if origin.sha256 else ""),
        ("verified", checked if origin.state in {"verified", "changed upstream"} else ""),
        ("looked at", checked if origin.state in {"unverified", "damaged"} else ""),
    ]
    out.fields([(name, value) for name, value in rows if value])


def _rows(file: LibraryFile, header: gguf.GgufHeader | None) -> list[tuple[str, str]]:
    rows = [
        ("model", file.id),
        ("name", header.name if header else ""),
        ("file", str(file.path)),
        ("size", f"{amounts.size(file.size_bytes)} ({file.size_bytes} bytes)"),
        ("quant", file.quant),
        ("architecture", file.architecture),
        ("parameters", amounts.parameters(file.parameters)),
        ("context", f"{file.context_length} tokens" if file.context_length else ""),
        ("tensors", str(len(header.tensors)) if header else ""),
        ("chat template", ("yes" if header.chat_template else "no") if header else ""),
        ("state", str(file.state)),
        ("note", file.problem.message if file.problem else ""),
        ("licence", file.licence),
        ("used in place", "yes, its file belongs to another program" if file.in_place else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _shown(value: Any) -> str:
    text = " ".join(str(_plain(value)).split())
    return text if len(text) <= 80 else text[:79] + "…"


def _plain(value: Any) -> Any:
    """Metadata as JSON can hold it; a list that was not read is told by its length."""
    if isinstance(value, gguf.GgufArray):
        return f"{value.count} values"
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
