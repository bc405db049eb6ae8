"""`slmdesk config`: show, set and reset settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.core.settings import SETTINGS, Setting, Settings, find_setting, settings_table_markdown

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", metavar="KEY", help="the setting to show or change")
    parser.add_argument("value", nargs="?", metavar="VALUE", help="its new value")
    parser.add_argument("--reset", action="store_true", help="go back to the default of KEY")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="what this model keeps of its own: context_length, gpu_layers, temperature, system_prompt, …",
    )
    parser.add_argument(
        "--table", action="store_true", help="print the table of all settings for the documentation"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    if args.reset and ((not args.key and not args.model) or args.value is not None):
        raise UsageError("--reset goes with one KEY and no VALUE.", "slmdesk config KEY --reset")
    if args.model and args.table:
        raise UsageError("--table is about the program's settings, not a model's.", "slmdesk config --table")
    if args.table:
        out.text(settings_table_markdown(), end="")
        out.done({"markdown": settings_table_markdown()})
        return 0
    application = Application.look()
    settings = application.settings
    settings.load()
    for problem in settings.problems:
        out.problem(problem)
        out.event("problem", error=problem.to_json())
    if args.model:
        from slmdesk.cli.model_config import run_for_model

        return run_for_model(args, application, out)
    if args.key is None:
        _show_all(settings, out)
    elif args.reset:
        settings.reset(args.key)
        _show_changed(settings, find_setting(args.key), out)
    elif args.value is not None:
        if find_setting(args.key).form == "model" and args.value.strip():
            _look_up(args.value.strip(), application)
        settings.set(args.key, args.value)
        _show_changed(settings, find_setting(args.key), out)
    else:
        _show_one(settings, find_setting(args.key), out)
    return 0


def _look_up(model: str, application: Application) -> None:
    """Only the library knows which models there are. Raises `model_not_found` with the nearest names."""
    import asyncio

    asyncio.run(application.library.resolve(model))


def _show_all(settings: Settings, out: Output) -> None:
    rows = [(s.key, _value(settings.get(s.key)), settings.source(s.key), s.title) for s in SETTINGS]
    out.table(("SETTING", "VALUE", "SOURCE", "MEANING"), rows)
    out.text()
    out.text(out.dim(f"Kept in {settings.path}"))
    out.done({"path": str(settings.path), "settings": [_as_json(settings, s) for s in SETTINGS]})


def _show_one(settings: Settings, setting: Setting, out: Output) -> None:
    out.text(f"{setting.key} = {_value(settings.get(setting.key))}")
    out.text(setting.help)
    rows = [
        ("takes", setting.limits() + (f" ({setting.unit})" if setting.unit else "")),
        ("default", _value(setting.default)),
        ("source", settings.source(setting.key)),
        ("variable", setting.variable),
    ]
    out.fields(rows)
    out.done(_as_json(settings, setting))


def _show_changed(settings: Settings, setting: Setting, out: Output) -> None:
    out.text(f"{setting.key} = {_value(settings.get(setting.key))}")
    if settings.source(setting.key) == "environment":
        out.note(f"{setting.variable} is set and goes before the file, so this value is not in force.")
    elif setting.restart:
        out.note("This counts from the next start on.")
    out.done(_as_json(settings, setting))


def _as_json(settings: Settings, setting: Setting) -> dict[str, Any]:
    return {
        "key": setting.key,
        "value": settings.get(setting.key),
        "default": setting.default,
        "source": settings.source(setting.key),
        "takes": setting.limits(),
        "title": setting.title,
        "help": setting.help,
        "group": setting.group,
        "variable": setting.variable,
        "restart": setting.restart,
    }


def _value(value: Any) -> str:
    if isinstance(value, str):
        shown = json.dumps(value, ensure_ascii=False)
        return shown if len(shown) <= 40 else f'{shown[:38]}…"'
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
