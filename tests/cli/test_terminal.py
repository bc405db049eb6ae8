"""The interactive chat on a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import Program

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are a thing of Unix", allow_module_level=True)

import fcntl
import pty
import struct
import termios

# Makes the pseudo-terminal the controlling one, as a shell would, so that Ctrl-C becomes a signal.
LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
CTRL_C, CTRL_D, ALT_ENTER, ENTER = "\x03", "\x04", "\x1b\r", "\r"
PROMPT = "›"


class Screen:
    """One end of the pseudo-terminal: what a person sees and types."""

    def __init__(self, descriptor: int, child: subprocess.Popen[bytes]) -> None:
        self.descriptor = descriptor
        self.child = child
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait_for(self, words: str, timeout: float = 60) -> str:
        """Read until `words` are on the screen; returns and forgets everything up to them."""
        deadline = time.monotonic() + timeout
        while words not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{words!r} never came; there is {self.text!r}")
        seen, self.text = self.text.split(words, 1)
        return seen

    def wait_for_end(self) -> int:
        while self._read(60):
            pass
        return self.child.wait(30)

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], timeout)
        if not ready:
            return False
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode("utf-8", "replace"))
        return bool(data)


@contextmanager
def terminal(program: Program, *words: str, **env: str) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    extra: dict[str, Any] = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"} | env
    child = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *program.command("chat", *words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=program.environment(extra),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Screen(ours, child)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(30)
        os.close(ours)


def stored(program: Program) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(program.database)
    try:
        return connection.execute("SELECT role, text, state FROM messages ORDER BY id").fetchall()
    finally:
        connection.close()


def test_the_instructions_of_a_conversation(shared: Program) -> None:
    with terminal(shared, "--system", "Be brief.") as screen:
        screen.wait_for(PROMPT)
        screen.type("/system" + ENTER)
        screen.wait_for("Be brief.")
        screen.wait_for(PROMPT)
        screen.type("/system Answer like a pirate." + ENTER)
        screen.wait_for("That counts from here on.")
        screen.wait_for(PROMPT)
        assert instructions(shared) == "Answer like a pirate."
        screen.type("/system -" + ENTER)
        screen.wait_for("There are no instructions any more.")
        screen.wait_for(PROMPT)
        assert not instructions(shared)
        screen.type("/system" + ENTER)
        screen.wait_for("This conversation has no instructions.")
        screen.wait_for(PROMPT)
        screen.type("/exit" + ENTER)
        assert screen.wait_for_end() == 0


def instructions(program: Program) -> str:
    """Those of the newest conversation."""
    connection = sqlite3.connect(program.database)
    try:
        row = connection.execute(
            "SELECT system_prompt FROM conversations ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return str(row[0])
    finally:
        connection.close()


def test_talking_commands_and_leaving(shared: Program) -> None:
    before = len(stored(shared)) if shared.database.exists() else 0
    with terminal(shared, "--temperature", "0") as screen:
        screen.wait_for(PROMPT)
        screen.type("What is Q4_K_M?" + ENTER)
        answer = screen.wait_for("tokens/s")
        assert len(answer) > 40
        screen.wait_for(PROMPT)
        screen.type("/help" + ENTER)
        screen.wait_for("/regenerate")
        screen.wait_for(PROMPT)
        screen.type("/model" + ENTER)
        screen.wait_for("slmdesk/desk-guide answers.")
        screen.wait_for(PROMPT)
        screen.type("/model nobody/nothing" + ENTER)
        screen.wait_for("error:")
        screen.wait_for(PROMPT)
        screen.type("/nonsense" + ENTER)
        screen.wait_for("There is no command /nonsense.")
        screen.wait_for(PROMPT)
        screen.type("/regenerate" + ENTER)
        screen.wait_for("tokens/s")
        screen.wait_for(PROMPT)
        screen.type("/new" + ENTER)
        screen.wait_for("A new conversation.")
        screen.wait_for(PROMPT)
        screen.type("one\\" + ENTER + "two" + ALT_ENTER + "three" + ENTER)
        screen.wait_for("tokens/s")
        screen.wait_for(PROMPT)
        screen.type("/exit" + ENTER)
        assert screen.wait_for_end() == 0
    rows = stored(shared)[before:]
    assert [row[0] for row in rows] == ["user", "assistant", "assistant", "user", "assistant"]
    assert rows[0][1] == "What is Q4_K_M?"
    assert rows[1][1] == rows[2][1]
    assert rows[3][1] == "one\ntwo\nthree"
    history = shared.home / "data" / "chat_history"
    assert "What is Q4_K_M?" in history.read_text("utf-8")
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(shared: Program, endless_model: Path) -> None:
    with terminal(shared, str(endless_model)) as screen:
        screen.wait_for(PROMPT)
        screen.type("What is Q4_K_M?" + ENTER)
        screen.wait_for("\n")  # the echo of the question
        while len(screen.text) < 200:
            assert screen._read(60)
        screen.type(CTRL_C)
        screen.wait_for("Stopped. What was written is kept.")
        screen.wait_for(PROMPT)
        assert stored(shared)[-1][2] == "stopped"
        assert len(stored(shared)[-1][1]) > 50
        # A line that is begun goes away; at the empty prompt twice leaves.
        screen.type("half a thought" + CTRL_C)
        screen.type(CTRL_C)
        screen.wait_for("Press Ctrl-C again to leave.")
        screen.wait_for(PROMPT)
        screen.type(CTRL_C)
        assert screen.wait_for_end() == 0


def test_leaving_nothing_behind(program: Program, shared: Program) -> None:
    history = shared.home / "data" / "chat_history"
    kept = history.read_bytes() if history.exists() else b""
    before = len(stored(shared)) if shared.database.exists() else 0
    with terminal(shared, "--no-save", "--temperature", "0") as screen:
        screen.wait_for(PROMPT)
        screen.type("What is a secret quant?" + ENTER)
        screen.wait_for("tokens/s")
        screen.wait_for(PROMPT)
        screen.type("/regenerate" + ENTER)
        screen.wait_for("tokens/s")
        screen.wait_for(PROMPT)
        screen.type(CTRL_D)
        assert screen.wait_for_end() == 0
    assert (len(stored(shared)) if shared.database.exists() else 0) == before
    assert (history.read_bytes() if history.exists() else b"") == kept


def test_json_needs_a_question_on_a_terminal(shared: Program) -> None:
    with terminal(shared, "--json") as screen:
        screen.wait_for('"code": "usage"')
        assert screen.wait_for_end() == 2
