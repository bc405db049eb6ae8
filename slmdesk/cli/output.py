"""What a command says: sentences and tables for people, or one JSON event a line for programs."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DIM, _BOLD, _RED, _GREEN, _YELLOW = "2", "1", "31", "32", "33"
# Everything a terminal would act upon, except line ends and tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """One command's stdout and stderr. With `as_json` nothing but events goes to stdout.

    `text` and `table` are for people and silent with `as_json`; `event` is for programs and silent without.
    What stdout does not take (`closed`, or its disk is full) raises `SlmDeskError("output_failed")`; what stderr does
    not take is lost.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        environ: Mapping[str, str] | None = None,
        closed: bool = False,
    ) -> None:
        self.as_json = as_json
        self._closed = closed
        self._out = sys.stdout if stdout is None else stdout
        self._err = sys.stderr if stderr is None else stderr
        env = os.environ if environ is None else environ
        plain = bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb" or as_json
        self.colours = not plain and self._out.isatty()
        self._error_colours = not plain and self._err.isatty()
        self.live = self._err.isatty() and not as_json and env.get("TERM") != "dumb"
        self._status = ""

    # For people

    def text(self, text: str = "", *, end: str = "\n") -> None:
        """A line on stdout."""
        if not self.as_json:
            self.clear_status()
            self._write(text + end)

    def stream(self, text: str) -> None:
        """Text of a model, as it comes. A terminal is not given control characters a model made up."""
        if not self.as_json:
            self.clear_status()
            self._write(_CONTROL.sub("", text) if self._out.isatty() else text)

    @property
    def for_eyes(self) -> bool:
        """Whether what goes to stdout is read on a terminal as it comes."""
        return not self.as_json and self._out.isatty()

    def aside(self, text: str) -> None:
        """As `stream`, set apart from the rest."""
        self.clear_status()
        self._write(self.dim(_CONTROL.sub("", text)))

    def note(self, text: str) -> None:
        """A line on stderr that is not part of the result."""
        if not self.as_json:
            self.clear_status()
            self._aside(self._paint(text, _DIM, self._error_colours) + "\n")

    def status(self, text: str) -> None:
        """A line on the terminal that the next one replaces; nothing when stderr is not a terminal."""
        if self.live and text != self._status:
            self._aside(f"\r\x1b[K{self._paint(text, _DIM, self._error_colours)}")
            self._status = text

    def clear_status(self) -> None:
        """Take the status line away."""
        if self._status:
            self._aside("\r\x1b[K")
            self._status = ""

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
    ) -> None:
        """Aligned columns; `right` names those that stand to the right (numbers)."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for number, row in enumerate((header, *rows)):
            cells = [
                cell.rjust(width) if index in right else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            line = "  ".join(cells).rstrip()
            self.text(self.dim(line) if number == 0 else line)

    def fields(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values, one pair a line."""
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self.text(f"{self.dim(name.ljust(width))}  {value}".rstrip())

    def dim(self, text: str) -> str:
        return self._paint(text, _DIM, self.colours)

    def bold(self, text: str) -> str:
        return self._paint(text, _BOLD, self.colours)

    def good(self, text: str) -> str:
        return self._paint(text, _GREEN, self.colours)

    def bad(self, text: str) -> str:
        return self._paint(text, _RED, self.colours)

    def wary(self, text: str) -> str:
        return self._paint(text, _YELLOW, self.colours)

    # For programs

    def event(self, name: str, **fields: Any) -> None:
        """One JSON line."""
        if self.as_json:
            self._write(json.dumps({"event": name, **fields}, ensure_ascii=False, allow_nan=False) + "\n")

    def done(self, result: Mapping[str, Any]) -> None:
        """The last event of a command that succeeded."""
        self.event("done", result=dict(result))

    # For both

    def problem(self, error: SlmDeskError) -> None:
        """Tell an error on stderr without ending the command."""
        self.clear_status()
        if not self.as_json:
            word = self._paint("error:", _RED, self._error_colours)
            self._aside(f"{word} {error.message}\n")
            from slmdesk.cli.ways_out import command_for

            command = command_for(error.code)
            hint = f"{error.hint} ({command})".strip() if command else error.hint
            if hint:
                self._aside(self._paint(hint, _DIM, self._error_colours) + "\n")

    def failed(self, error: SlmDeskError) -> None:
        """The error that ends the command."""
        self.problem(error)
        if error.code == "unexpected" and not self.as_json:
            self._aside(error.details)
        if error.code == "output_failed":  # then the one place left is stderr, for programs too
            self._aside(f"error: {error}\n" if self.as_json else "")
            return
        self.event("error", error=error.to_json())

    def _aside(self, text: str) -> None:
        with suppress(OSError):
            self._err.write(text)
            self._err.flush()

    def _write(self, text: str) -> None:
        if self._closed:
            raise _failed("it is closed")
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            # Windows calls a pipe nobody reads any more an invalid argument.
            if error.errno in {errno.EPIPE, errno.EINVAL}:
                raise BrokenPipeError(error.errno, "nobody reads the output") from error
            raise _failed(error.strerror or str(error)) from error

    @staticmethod
    def _paint(text: str, colour: str, on: bool) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if on else text


def _failed(why: str) -> SlmDeskError:
    return SlmDeskError(
        "output_failed",
        f"The output cannot be written to stdout: {why[:1].lower()}{why[1:]}.",
        "Send it to another place, or to nowhere; what the command began is kept.",
    )
