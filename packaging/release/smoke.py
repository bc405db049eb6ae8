"""Does the frozen program work by itself? Everything a fresh machine does first, with no Python in reach."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from release import starter
from release.project import BUILD, LINUX, VERSION, WINDOWS, command_line_program, say, stop

# Lines on stderr that say nothing about the program. Any other line fails the test.
KNOWN_LINES = re.compile(
    r"^\s*$"
    # The screenless platform has no such functions.
    r"|This plugin does not support"
    # A machine that only builds has no keyring; the program says so once.
    r"|[Kk]eyring"
    r"|^QStandardPaths: XDG_RUNTIME_DIR not set"
    # A temporary home has no font folder of its own.
    r"|Fontconfig (warning|error)"
    r"|^qt\.qpa\.fonts"
)
GUIDE = "slmdesk/desk-guide"
PATIENCE_S = 600  # for one command; a busy machine with two cores takes minutes for the tour


def environment(home: Path) -> dict[str, str]:
    """A fresh user's environment: no Python, no checkout, a home of its own."""
    kept = {
        "LANG",
        "SYSTEMROOT",
        "WINDIR",
        "COMSPEC",
        "TEMP",
        "TMP",
        "TMPDIR",
        "USERNAME",
        "SYSTEMDRIVE",
        "PATHEXT",
    }
    told = {name: value for name, value in os.environ.items() if name.upper() in kept}
    root = os.environ.get("SYSTEMROOT", r"C:\Windows")
    told["PATH"] = f"{root}\\System32;{root}" if WINDOWS else str(home / "no-programs")
    told.update(HOME=str(home), USERPROFILE=str(home), SLMDESK_HOME=str(home / "desk"))
    if LINUX:
        told.setdefault("LANG", "C.UTF-8")
        told["QT_QPA_PLATFORM"] = "offscreen"
    return told


class Smoke:
    """Runs the program's commands one after the other; stops the build at the first that is wrong."""

    def __init__(self, program: Path, home: Path, *, inside: Path | None = None) -> None:
        """`inside`: the root of another system; `program` and `home` are then as they are named there."""
        self._command = [str(program)] if inside is None else ["chroot", str(inside), str(program)]
        self._root = inside or Path("/")
        self._folder = home if inside is None else inside
        self._environment = environment(home)
        if inside is not None:
            self._environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"

    def run(self, pictures: Path) -> None:
        version = self._last("--version", "--json")
        if version["version"] != VERSION:
            stop(f"the program says version {version['version']}, not {VERSION}")
        if GUIDE not in [model["id"] for model in self._last("list", "--json")["models"]]:
            stop("the program does not list its built-in model")
        answer = self._last("chat", GUIDE, "-p", "What is a quant?", "--json")
        if not answer["text"].strip():
            stop("the built-in model gave no answer")
        say(f"the built-in model answers: {answer['text'].strip()[:80]}")
        if starter.files():
            self._ask_the_starter()
        self._quantize(GUIDE)
        failed = [
            check
            for check in self._last("doctor", "--self-test", "--json")["checks"]
            if check["state"] == "failed"
        ]
        if failed:
            stop(f"slmdesk doctor finds: {failed}")
        ended = self._last("stop", "--json")["ended"]
        if "the service" not in ended:
            stop(f"slmdesk stop ended only {ended}")
        tour = self._last("tour", "--out", str(pictures), "--json")
        say(f"tour: {tour['steps']} steps in {tour['seconds']} s")

    def _ask_the_starter(self) -> None:
        """A general question goes to it without a word about which model; always the likeliest words."""
        self._last("config", "chat.temperature", "0", "--json")
        answer = self._last("chat", "-p", "What is the capital of France?", "--json")
        if starter.NAME not in answer["model"] or "Paris" not in answer["text"]:
            stop(f"the starter should have answered, and rightly: {answer['model']}: {answer['text']}")
        say(f"the starter answers: {answer['text'].strip()[:80]}")

    def _quantize(self, model: str) -> None:
        """The process of jobs and the one that quantizes."""
        result = self._last("quantize", model, "--to", "Q4_K_M", "--json")
        quant = result["quants"][0]
        written = Path(quant["path"]) if self._root == Path("/") else self._root / quant["path"].lstrip("/")
        if written.stat().st_size != quant["size_bytes"]:
            stop(f"the quant is not as large as the program says: {quant}")

    def _last(self, *arguments: str) -> dict[str, Any]:
        """The result of one command, from the last line it prints."""
        began = time.perf_counter()
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        said = done.stderr.decode("utf-8", "replace").splitlines()
        unknown = [line for line in said if not KNOWN_LINES.search(line)]
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        words = " ".join(arguments)
        if done.returncode != 0 or not lines:
            stop(f"“{words}” ended with {done.returncode}:\n" + "\n".join([*lines[-3:], *said]))
        if unknown:
            stop(f"“{words}” wrote to stderr:\n" + "\n".join(unknown))
        event = json.loads(lines[-1])
        if event["event"] != "done":
            stop(f"“{words}”: {event}")
        say(f"“{words[:60]}” {time.perf_counter() - began:.1f} s")
        result: dict[str, Any] = event["result"]
        return result


def smoke_test(folder: Path, name: str = "frozen") -> None:
    """Test the program in `folder`. Its pictures go to build/smoke/<name>."""
    pictures = BUILD / "smoke" / name
    shutil.rmtree(pictures, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="slmdesk-smoke-", ignore_cleanup_errors=True) as home:
        Smoke(command_line_program(folder), Path(home)).run(pictures)
    say(f"the program in {folder} works")
