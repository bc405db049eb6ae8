"""`slmdesk config --model MODEL`: what one model is loaded and asked with, where it differs from the settings."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from slmdesk.inference.limits import (
    MODEL_SETTINGS,
    find_model_setting,
    limits_in_words,
    parse_model_setting,
)
from slmdesk.library.in_force import InForce

if TYPE_CHECKING:
    import argparse

    from slmdesk.application import Application
    from slmdesk.cli.output import Output
    from slmdesk.core.setting_table import Setting
    from slmdesk.core.settings import Settings
    from slmdesk.library.in_force import Says
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile

OWN = "this model"
_LONGEST = 60  # characters of a text that are shown


def run_for_model(args: argparse.Namespace, application: Application, out: Output) -> int:
    """Show, set or reset what `args.model` keeps."""
    settings, library = application.settings, application.library
    file = asyncio.run(library.resolve(args.model))
    keys = MODEL_SETTINGS if args.key is None else (find_model_setting(args.key),)
    if args.value is not None:
        library.kept.change(file, {keys[0].key: parse_model_setting(keys[0].key, args.value)})
    elif args.reset:
        library.kept.reset(file, tuple(key.key for key in keys))
    shown = Shown(file, library, settings)
    if args.key is None:
        out.text(
            f"What {file.id} keeps of its own:"
            if not args.reset
            else f"{file.id} keeps nothing of its own now."
        )
    rows = [shown.row(key) for key in keys]
    out.table(("SETTING", "VALUE", "FROM", "MEANING"), rows)
    if args.key is not None:
        out.fields([("takes", limits_in_words(keys[0].key))])
        out.text(keys[0].help)
    if file.in_place and args.value is not None:
        out.note("The file itself, which belongs to another program, is left as it is.")
    out.done(shown.to_json(keys))
    return 0


class Shown:
    """The values in force for one file, and where each comes from."""

    def __init__(self, file: LibraryFile, library: Library, settings: Settings) -> None:
        self._file = file
        self._in_force = InForce.of(file, library, settings)
        self._names: dict[Says, str] = {
            "model": OWN,
            "brought": self._in_force.kept.source,
            "settings": "the settings",
            "publisher": "its publisher",
            "default": "default",
        }

    def value(self, key: Setting) -> tuple[Any, str]:
        """The value, and where it comes from in words."""
        value, says = self._in_force.value(key)
        return value, "" if value is None else self._names[says]

    def row(self, key: Setting) -> tuple[str, str, str, str]:
        value, origin = self.value(key)
        return key.key, _words(value), origin, key.title

    def to_json(self, keys: tuple[Setting, ...] = MODEL_SETTINGS) -> dict[str, Any]:
        """Of every key its value, where it comes from, what the publisher recommends, and what it takes."""
        entries = []
        for key in keys:
            value, origin = self.value(key)
            entries.append(
                {
                    "key": key.key,
                    "value": value,
                    "source": origin,
                    "recommended": self._in_force.recommended.get(key.key),
                    "takes": limits_in_words(key.key),
                    "title": key.title,
                    "help": key.help,
                }
            )
        return {"model": self._file.id, "kept": self._in_force.kept.own.to_json(), "settings": entries}


def _words(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str | tuple | list) else str(value)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
