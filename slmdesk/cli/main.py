"""The command line: finds the command, imports only its module, and turns errors into exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from slmdesk import __version__
from slmdesk.cli.output import Output
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


class CommandModule(Protocol):
    """What a module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace, out: Output) -> int: ...


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the module that runs it and the line that `--help` shows for it."""

    module: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "pull": Command("slmdesk.cli.pull", "download a model, verified"),
    "jobs": Command("slmdesk.cli.jobs", "what is being done; pause, resume or cancel it"),
    "chat": Command("slmdesk.cli.chat", "talk with a model in the terminal"),
    "search": Command("slmdesk.cli.search", "find models on the hub and in the built-in list"),
    "list": Command("slmdesk.cli.list_models", "the models on this machine"),
    "show": Command("slmdesk.cli.show", "what is known about one model"),
    "verify": Command("slmdesk.cli.verify", "check that files are what they should be"),
    "import": Command("slmdesk.cli.import_", "use models that are on this machine already"),
    "rm": Command("slmdesk.cli.rm", "remove a model, or undo that"),
    "fit": Command("slmdesk.cli.fit", "whether a model will run here, and what its memory is made of"),
    "quantize": Command("slmdesk.cli.quantize", "make a model smaller, and measure what it cost"),
    "imatrix": Command("slmdesk.cli.imatrix", "importance matrices: make, merge, show"),
    "split": Command("slmdesk.cli.split", "cut a GGUF into parts"),
    "merge": Command("slmdesk.cli.merge", "join the parts of a model into one file"),
    "convert": Command("slmdesk.cli.convert", "make a GGUF of a Hugging Face folder, or of its projector"),
    "lora": Command("slmdesk.cli.lora", "LoRA adapters: convert one, merge some into a model"),
    "login": Command("slmdesk.cli.login", "keep a hub's access token, or a proxy's login, in the keyring"),
    "serve": Command("slmdesk.cli.serve", "the OpenAI API for other programs"),
    "keys": Command("slmdesk.cli.keys", "API keys of the service: list, add, revoke"),
    "tools": Command("slmdesk.cli.tools", "tools that models may call: built in, and of MCP servers"),
    "config": Command("slmdesk.cli.config", "show or change settings"),
    "doctor": Command("slmdesk.cli.doctor", "check what works here, for a bug report"),
    "stop": Command("slmdesk.cli.stop", "end the window and what works in the background"),
    "tour": Command("slmdesk.cli.tour", "drive the window through what it can do, with screenshots"),
}


class UsageError(Exception):
    """The command line was written wrongly; `usage` is the line that shows how it is written."""

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.usage = usage


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().strip())


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0, 1 failed, 2 usage, 130 Ctrl-C."""
    closed = _open_streams()
    out = Output(as_json="--json" in argv, closed="stdout" in closed)
    _prepare_streams(as_json=out.as_json)
    try:
        return guarded(lambda: _dispatch(_readable(argv), out), out)
    except BrokenPipeError:
        # The reader went away (`slmdesk list | head -1`).
        _forget_output()
        return EXIT_BROKEN_PIPE


def guarded(action: Callable[[], int], out: Output) -> int:
    """Run a command; every way it can fail becomes words and an exit code."""
    try:
        return action()
    except UsageError as error:
        out.failed(SlmDeskError("usage", error.message, error.usage))
        return EXIT_USAGE
    except SlmDeskError as error:
        out.failed(error)
        if error.code == "output_failed":
            _forget_output()
        return EXIT_FAILED
    except KeyboardInterrupt:
        out.clear_status()
        out.event("error", error=SlmDeskError("interrupted", "Stopped by Ctrl-C.").to_json())
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place where a defect can become words
        out.failed(_defect(error))
        return EXIT_FAILED


def _dispatch(argv: list[str], out: Output) -> int:
    words = [word for word in argv if word != "--json"]
    if not words:
        return _no_command(out)
    if words[0] in {"-h", "--help", "help"}:
        out.text(help_text())
        out.done({"commands": {name: command.summary for name, command in COMMANDS.items()}})
        return 0
    if words[0] in {"-V", "--version"}:
        out.text(f"slmdesk {__version__}")
        out.done({"version": __version__})
        return 0
    name = words[0]
    if len(words) == 1 and KINDS.runs(PurePath(name)):
        # What a double click on a model starts.
        return _no_command(out, name)
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(_unknown(name), "slmdesk --help lists the commands.")
    module = cast("CommandModule", import_module(command.module))
    parser = _ArgumentParser(
        prog=f"slmdesk {name}",
        description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON event a line, for programs")
    module.add_arguments(parser)
    return module.run(parser.parse_args(words[1:]), out)


def _no_command(out: Output, file: str = "") -> int:
    if out.as_json:
        raise UsageError("--json needs a command.", "slmdesk --help lists the commands.")
    if not has_display(os.environ, sys.platform):
        out.note("No display here, so the window cannot open; this is the chat in the terminal.")
        return _dispatch(["chat", file] if file else ["chat"], out)
    try:
        window: Any = import_module("slmdesk.gui.app")
    except ImportError as error:
        from slmdesk.core.installation import window_libraries

        raise SlmDeskError(
            "window_unavailable",
            f"The window cannot be loaded: {error}.",
            f"{window_libraries()} In the terminal, slmdesk chat works without.",
        ) from error
    return int(window.run(["slmdesk", file] if file else []))


def has_display(environ: Mapping[str, str], platform: str) -> bool:
    """Whether a window can be shown; only Unix desktops may lack one."""
    if platform in {"win32", "darwin"}:
        return True
    return any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def help_text() -> str:
    """The text of `slmdesk --help`."""
    width = max(map(len, COMMANDS))
    lines = [
        "usage: slmdesk [COMMAND] [OPTIONS]",
        "",
        "Small language models on your own machine. Without a command the window opens.",
        "",
        *(f"  {name.ljust(width)}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "  --version  show the version",
        "  --json     with any command: one JSON event a line, for programs",
        "",
        "slmdesk COMMAND --help shows the options of a command. MODEL is a library id as `slmdesk list`",
        "shows it (publisher/name or publisher/name:QUANT), or the path of a GGUF file.",
    ]
    return "\n".join(lines)


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"There is no command {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")


def _defect(error: Exception) -> SlmDeskError:
    import traceback

    return SlmDeskError(
        "unexpected",
        f"SLM Desk failed in a way it should not: {type(error).__name__}: {error}",
        "Please report this, with the output of slmdesk doctor.",
        details="".join(traceback.format_exception(error)),
    )


def _readable(argv: Sequence[str]) -> list[str]:
    """The words. Raises `UsageError` for bytes that are no text: no name or path with them can be kept."""
    for word in argv:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            shown = word.encode("utf-8", "replace").decode()
            raise UsageError(
                f"“{shown}” holds bytes that are no UTF-8 text (shown as ?).",
                "Where it is the name of a file or folder, rename that first.",
            ) from None
    return list(argv)


def _open_streams() -> set[str]:
    """Give the streams somebody closed (`>&-`) a place that takes everything; returns their names.

    Otherwise the next file that is opened, a database maybe, would get the number of stdout.
    """
    closed: set[str] = set()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            closed.add(name)
            descriptor = os.open(os.devnull, os.O_RDWR)
            if sys.platform != "win32" and descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
                descriptor = number
            setattr(sys, name, os.fdopen(descriptor, "w" if number else "r", encoding="utf-8"))
    return closed


def _forget_output() -> None:
    """What waits for a stdout that takes nothing goes nowhere: Python would complain again when it closes it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams(*, as_json: bool) -> None:
    """A console that cannot show a character shows "?" instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            if as_json and stream is sys.stdout:
                reconfigure(encoding="utf-8", errors="replace")
            else:
                reconfigure(errors="replace")
