"""Child processes that never outlive their parent, on any system.

The parent keeps the child's stdin open as a life line: the child ends when it closes. `child.py` has what our own
children do for that. On Windows the parent holds a job object that ends the child's whole tree when its last handle
closes.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psutil

    from slmdesk.core.windows_job import WindowsJob

# Zero on systems that do not know them.
_WINDOWS_FLAGS: int = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(
    subprocess, "CREATE_NEW_PROCESS_GROUP", 0
)
_BREAKAWAY: int = getattr(subprocess, "CREATE_BREAKAWAY_FROM_JOB", 0)

_TAIL_LINES = 200
_DRAIN_S = 1.0  # for the rest of stderr after the process ended
_LINE_LIMIT = 4096  # characters kept of one line of stderr
_STDOUT_LIMIT = 16 * 1024 * 1024  # longest line `stdout.readline` takes
_SECRET_NAME = re.compile(
    r"(^|_)(TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|PAT|(API|ACCESS|PRIVATE)_?KEYS?)(_|$)",
    re.IGNORECASE,
)


def self_command(*args: str) -> list[str]:
    """The command line that runs this program again: the frozen executable, or Python with the package."""
    if getattr(sys, "frozen", False):
        # The window's executable has no streams on Windows; the one for terminals beside it has.
        program = Path(sys.executable)
        beside = program.with_name("slmdesk").with_suffix(program.suffix)
        return [str(beside if beside.is_file() else program), *args]
    # -P: a child must not import a json.py that happens to lie in the folder it is started in.
    return [sys.executable, "-P", "-m", "slmdesk", *args]


def names_a_secret(variable: str) -> bool:
    """Whether what an environment variable of this name holds is likely a secret."""
    return _SECRET_NAME.search(variable) is not None


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a child: without variables that carry secrets, with UTF-8 pipes."""
    env = {name: value for name, value in os.environ.items() if not names_a_secret(name)}
    env["PYTHONUTF8"] = "1"
    env.update(extra or {})
    return env


class _Pipes(asyncio.subprocess.SubprocessStreamProtocol):
    """Streams for the three pipes, and when the process itself ended.

    asyncio's own `Process.wait` goes on while a grandchild holds a pipe open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_STDOUT_LIMIT, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()
        super().process_exited()


class ChildProcess:
    """A running child with its three pipes. Made by `start_child`; used on the event loop that started it."""

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        pipes: _Pipes,
        on_stderr: Callable[[str], None] | None,
        job: WindowsJob | None,
    ) -> None:
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        assert pipes.stderr is not None
        self.stdin = pipes.stdin
        self.stdout = pipes.stdout
        self._transport = transport
        self._pid = transport.get_pid()
        self._exited = pipes.exited
        self._on_stderr = on_stderr
        self._job = job
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reader = asyncio.create_task(self._read_stderr(pipes.stderr), name=f"stderr of {self._pid}")

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal (POSIX)."""
        return self._transport.get_returncode()

    @property
    def stderr_tail(self) -> list[str]:
        """The last 200 lines it wrote to stderr."""
        return list(self._tail)

    async def wait(self) -> int:
        """Its exit status, once it ended and its stderr was read to the end."""
        await self._exited.wait()
        # A grandchild that inherited stderr may keep the pipe open; do not wait for that one.
        await asyncio.wait({self._reader}, timeout=_DRAIN_S)
        if self._job is not None:
            self._job.close()
            self._job = None
        code = self.returncode
        assert code is not None
        return code

    async def terminate_tree(self, grace_s: float = 3.0) -> int:
        """End the child and everything it started: stdin closes, SIGTERM, after `grace_s` seconds SIGKILL.

        Returns its exit status. May be called again, and after the child ended by itself: what it left running
        is ended then.
        """
        self.stdin.close()
        family = await asyncio.to_thread(_descendants, self._pid) if self.returncode is None else []
        if self.returncode is None:
            self._ask()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), grace_s)
        await asyncio.to_thread(_kill, family)
        self._force()
        code = await self.wait()
        self._reader.cancel()
        self._transport.close()
        await asyncio.sleep(0)  # lets the pipes close before a loop that ends next does
        return code

    def _ask(self) -> None:
        # On Windows there is nothing gentler than the closed stdin.
        if sys.platform != "win32":
            self._signal(signal.SIGTERM)

    def _force(self) -> None:
        if self._job is not None:
            self._job.terminate()
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                self._transport.kill()
                return
            self._signal(signal.SIGKILL)
            # Not through the transport: it looks first whether the child ended, and takes its status away from who
            # waits for it, who would then say 255.
            if self.returncode is None:
                os.kill(self._pid, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Send a signal to the child's own group, which also holds grandchildren whose parent ended."""
        if sys.platform != "win32":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    async def _read_stderr(self, stream: asyncio.StreamReader) -> None:
        import codecs
        import io

        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
        line = ""
        while data := await stream.read(65536):
            *lines, line = (line + decoder.decode(data)).split("\n")
            for finished in lines:
                self._take_line(finished)
            line = line[:_LINE_LIMIT]
        line += decoder.decode(b"", final=True)
        if line:
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        self._tail.append(line[:_LINE_LIMIT])
        if self._on_stderr is not None:
            self._on_stderr(line[:_LINE_LIMIT])


async def start_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_stderr: Callable[[str], None] | None = None,
    own_group: bool = True,
) -> ChildProcess:
    """Start a child that ends with this process. `env` adds to `child_environment`.

    Not `own_group`: it stays in this process's group (POSIX), so that who ends this process's tree ends it too, however
    this process itself ended.

    `on_stderr` hears each line of its stderr on the event loop; it must not raise. On Linux start it from a
    thread that lives as long as the child may: the kernel ties the child to the thread.
    Raises `SlmDeskError("child_start_failed")`.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, pipes = await loop.subprocess_exec(
            lambda: _Pipes(loop),
            *argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(env),
            cwd=cwd,
            start_new_session=own_group,  # Ctrl-C in the terminal is for the parent to handle
            creationflags=_WINDOWS_FLAGS,
        )
    except (OSError, ValueError) as error:
        raise _start_failed(argv, error) from error
    return ChildProcess(transport, pipes, on_stderr, _job_for(transport.get_pid()))


def start_detached(
    argv: Sequence[str], log_path: Path, *, env: Mapping[str, str] | None = None, input_text: str = ""
) -> int:
    """Start a process that outlives this one: own session, no console, output added to `log_path`.

    `input_text` (a few kilobytes at most) is all it finds on its stdin. Returns its process id.
    Raises `SlmDeskError("child_start_failed")`.
    """
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            process = _popen_detached(argv, log.fileno(), child_environment(env), piped=bool(input_text))
    except (OSError, ValueError) as error:
        raise _start_failed(argv, error) from error
    if process.stdin is not None:
        with suppress(OSError), process.stdin as stdin:
            stdin.write(input_text.encode("utf-8"))
    # Collects its exit status, should it end before this process: no zombie that looks alive.
    threading.Thread(target=process.wait, name=f"slmdesk-reaper-{process.pid}", daemon=True).start()
    return process.pid


def _popen_detached(
    argv: Sequence[str], log: int, env: dict[str, str], *, piped: bool
) -> subprocess.Popen[bytes]:
    def popen(flags: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
            creationflags=flags,
        )

    try:
        return popen(_WINDOWS_FLAGS | _BREAKAWAY)
    except PermissionError:
        if not _BREAKAWAY:
            raise
        return popen(_WINDOWS_FLAGS)  # the job this process runs in lets nobody out


def process_alive(pid: int, create_time: float | None = None) -> bool:
    """Whether the process runs (a zombie does not). `create_time` (seconds since 1970, as psutil gives it)
    tells it from a later process with the same id."""
    import psutil

    if pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        if create_time is not None and abs(process.create_time() - create_time) > 2.0:
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def process_create_time(pid: int | None = None) -> float:
    """When a process began (this one by default), in seconds since 1970; 0.0 when it is not known."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _start_failed(argv: Sequence[str], error: Exception) -> SlmDeskError:
    reason = getattr(error, "strerror", None) or str(error)
    return SlmDeskError(
        "child_start_failed",
        f"{Path(argv[0]).name if argv else 'The program'} could not be started: {reason}.",
        "Check that the program is installed and that the machine has memory to spare.",
    )


def _job_for(pid: int) -> WindowsJob | None:
    if sys.platform == "win32":
        from slmdesk.core.windows_job import WindowsJob

        return WindowsJob.around(pid)
    else:  # noqa: RET505 - mypy follows the platform by branches
        return None


def _descendants(pid: int) -> list[psutil.Process]:
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(processes: list[psutil.Process]) -> None:
    """End those still running; psutil compares start times, so a reused process id is left alone."""
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()
