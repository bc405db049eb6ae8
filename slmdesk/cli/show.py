"""`slmdesk show MODEL`: what is known about one model file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slmdesk.cli.list_models import file_json
from slmdesk.cli.output import parameters_text, size_text
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.formats import gguf
from slmdesk.library.library import Library

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.library import LibraryFile

_LONGEST = 2000  # characters of a text in the metadata that are shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="library id or GGUF file")
    parser.add_argument("--metadata", action="store_true", help="show everything the file says about itself")


def run(args: argparse.Namespace, out: Output) -> int:
    paths = Paths.resolve()
    library = Library(paths, Settings(paths.settings_file))
    file, header = asyncio.run(_read(library, args.model))
    out.fields(_rows(file, header))
    if args.metadata:
        out.text()
        out.fields([(key, _shown(value)) for key, value in header.metadata.items()])
    result = file_json(file) | {
        "name": header.name,
        "chat_template": bool(header.chat_template),
        "tensors": len(header.tensors),
    }
    if args.metadata:
        result["metadata"] = {key: _plain(value) for key, value in header.metadata.items()}
    out.done(result)
    return 0


async def _read(library: Library, reference: str) -> tuple[LibraryFile, gguf.GgufHeader]:
    file = await library.resolve(reference)
    if file.problem is not None:
        raise file.problem
    header = await asyncio.to_thread(gguf.read_header, file.path)
    await asyncio.to_thread(gguf.check, header)
    return file, header


def _rows(file: LibraryFile, header: gguf.GgufHeader) -> list[tuple[str, str]]:
    rows = [
        ("model", file.id),
        ("name", header.name or ""),
        ("file", str(file.path)),
        ("size", f"{size_text(file.size_bytes)} ({file.size_bytes} bytes)"),
        ("quant", file.quant),
        ("architecture", file.architecture),
        ("parameters", parameters_text(file.parameters)),
        ("context", f"{file.context_length} tokens" if file.context_length else ""),
        ("tensors", str(len(header.tensors))),
        ("chat template", "yes" if header.chat_template else "no"),
        ("state", str(file.state)),
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
