"""How this program and the children it starts of itself speak: engines, the quantizer, the self-test, the list of GPUs.

The parent writes one line of JSON to stdin, what the child is to do, and keeps stdin open as a life line. The child
answers in lines of JSON on stdout, each with an "event" (`progress`, `result`, `ready`, …); a line `error` says why it
cannot go on. A child that takes more than one order hears further lines on stdin (`hear_parent`, `SpokenChild.say`).
What native code prints goes to stderr. A child that ends without a word is explained by its exit status and the end of
its stderr. Parents use `SpokenChild`; children `begin`, and `reported` around their work.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import start_child

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.processes import ChildProcess

    Tell = Callable[[dict[str, Any]], None]
    """Writes one line to the parent."""


# The parent's half


class SpokenChild:
    """A child that was told what to do. Made by `start`; used on the event loop that started it."""

    def __init__(self, process: ChildProcess, grace_s: float) -> None:
        self.process = process
        self._grace_s = grace_s

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        spec: bytes,
        *,
        env: Mapping[str, str] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        grace_s: float = 0.2,
    ) -> SpokenChild:
        """Start it with its `spec`, one line of JSON without the end. `env` and `on_stderr` as in `start_child`;
        `grace_s`: how long it may take to end by itself. Raises `SlmDeskError("child_start_failed")`."""
        child = cls(await start_child(command, env=env, on_stderr=on_stderr), grace_s)
        try:
            child.process.stdin.write(spec + b"\n")
            with suppress(OSError):  # it ended already; its exit status says why
                await child.process.stdin.drain()
        except BaseException:
            await child.end()
            raise
        return child

    async def events(
        self, silence_s: Callable[[], float | None] = lambda: None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What it says, until its stdout ends; what is no event of ours is left out.

        Raises the `SlmDeskError` of an `error` line, and `TimeoutError` where nothing is heard for `silence_s()`
        seconds (None: no limit).
        """
        while line := await asyncio.wait_for(self.process.stdout.readline(), silence_s()):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # printed by somebody else, or cut off by the child's death
            if not isinstance(event, dict):
                continue
            if event.get("event") == "error":
                raise SlmDeskError.from_json(event["error"])
            yield event

    async def say(self, message: Mapping[str, Any]) -> None:
        """Give it one more order; one that ended hears nothing, and its events say so."""
        self.process.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        with suppress(OSError):
            await self.process.stdin.drain()

    @property
    def tail(self) -> list[str]:
        """The last lines it wrote to stderr."""
        return self.process.stderr_tail

    async def wait(self) -> int:
        """Its exit status, once it ended."""
        return await self.process.wait()

    async def end(self) -> None:
        """End it with everything it started; harmless when it ended already. Goes on when it is cancelled."""
        await asyncio.shield(self.process.terminate_tree(grace_s=self._grace_s))


# The child's half


def begin(*, stack_bytes: int = 0) -> tuple[str, Tell]:
    """The first thing a child does: the parent's line, "" when the parent is gone, and what writes to the parent.

    From then on native code prints to stderr, and the process ends with its parent, wherever it is in its work.
    Threads get `stack_bytes` of stack: some tokenizers and grammars make llama.cpp recurse deeply.
    """
    tell = own_stdout()
    if stack_bytes:
        threading.stack_size(stack_bytes)
    die_with_parent()
    return read_spec_then_watch(lambda: os._exit(0)), tell


def reported(work: Callable[[], None], tell: Tell, explained: Callable[[Exception], SlmDeskError]) -> int:
    """Do the work; the exit status. What ends it is told to the parent: 1 then. `explained` finds words for what is no
    `SlmDeskError`, a defect mostly."""
    try:
        work()
    except SlmDeskError as error:
        problem = error
    except Exception as error:  # noqa: BLE001 - the last place where a defect can become words
        problem = explained(error)
    else:
        return 0
    tell({"event": "error", "error": problem.to_json()})
    return 1


def defect(code: ErrorCode, what: str, error: Exception) -> SlmDeskError:
    """Words for what should not happen: "The engine could not start", say. Called where it is handled."""
    return SlmDeskError(
        code,
        f"{what} because of a defect: {str(error) or type(error).__name__}.",
        "Report it with the details.",
        details="".join(traceback.format_exception(error)),
    )


def die_with_parent() -> None:
    """For children, early: ask the kernel to end this process when the thread that started it ends (Linux).

    Elsewhere the watch on stdin does it.
    """
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)


def end_with_stdin(on_end: Callable[[], None], *, descriptor: int = 0) -> threading.Thread:
    """For children: call `on_end` (on a daemon thread) once the parent closed stdin. Input is dropped."""

    def watch() -> None:
        # os.read, not sys.stdin: a daemon thread inside a buffered reader aborts the interpreter's shutdown.
        with suppress(OSError):
            while os.read(descriptor, 65536):
                pass
        on_end()

    thread = threading.Thread(target=watch, name="slmdesk-life-line", daemon=True)
    thread.start()
    return thread


def read_spec_then_watch(
    on_end: Callable[[], None], *, descriptor: int = 0, limit: int = 16 * 1024 * 1024
) -> str:
    """For children: the first line of stdin (without its end); afterwards `end_with_stdin`.

    Blocks until the line is there. Empty when stdin closed before. Raises `SlmDeskError("spec_too_long")`.
    """
    spec, _ = _read_line(descriptor, b"", limit)
    end_with_stdin(on_end, descriptor=descriptor)
    return _text(spec)


def hear_parent(
    on_line: Callable[[str], None],
    on_end: Callable[[], None],
    *,
    descriptor: int = 0,
    limit: int = 16 * 1024 * 1024,
) -> str:
    """For children that take orders: the first line of stdin; each further one goes to `on_line`.

    `on_end` is called once the parent closed it or sent a line over the limit. Both are called on a daemon thread.

    Raises `SlmDeskError("spec_too_long")` for the first line.
    """
    spec, left = _read_line(descriptor, b"", limit)

    def listen(left: bytes) -> None:
        with suppress(OSError, SlmDeskError):
            while True:
                line, left = _read_line(descriptor, left, limit)
                if not line and not left:
                    break
                on_line(_text(line))
        on_end()

    threading.Thread(target=listen, args=(left,), name="slmdesk-orders", daemon=True).start()
    return _text(spec)


def _read_line(descriptor: int, left: bytes, limit: int) -> tuple[bytes, bytes]:
    """The next line without its end, and what was read behind it; both empty where there is no more."""
    data = bytearray(left)
    while b"\n" not in data:
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return bytes(data), b""
        data += chunk
        if len(data) > limit:
            raise SlmDeskError("spec_too_long", "The first line of the input is too long.", "")
    line, _, behind = bytes(data).partition(b"\n")
    return line, behind


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def own_stdout() -> Callable[[dict[str, Any]], None]:
    """For children, before native code is loaded: a writer of JSON lines to the real stdout.

    Native code prints where it likes, so what it prints to stdout goes to stderr from now on.
    """
    sys.stdout.flush()
    descriptor = os.dup(1)
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)

    def write(event: dict[str, Any]) -> None:
        data = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(descriptor, data) :]

    return write
