"""Child processes: real ones, with grandchildren, and nothing left behind whoever dies first."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import (
    child_environment,
    process_alive,
    process_create_time,
    self_command,
    start_child,
    start_detached,
)

# A child that starts a grandchild deaf to SIGTERM, tells both ids, and goes on until it is ended.
FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c",
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(300)"], stdout=subprocess.PIPE)
grandchild.stdout.readline()
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(300)
"""

# A child as the program's own are: it ends with its parent.
WELL_BEHAVED = """
import os, time
from slmdesk.core.child import die_with_parent, read_spec_then_watch
{death}
print(os.getpid(), read_spec_then_watch(lambda: os._exit(0)), flush=True)
time.sleep(300)
"""

# A parent that starts such a child, tells its id, and waits to be killed.
PARENT = """
import asyncio, sys
from slmdesk.core.processes import start_child

async def main():
    child = await start_child([sys.executable, "-c", sys.argv[1]])
    child.stdin.write(b"spec\\n")
    print((await child.stdout.readline()).decode(), flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


def python(code: str, *args: str) -> list[str]:
    return [sys.executable, "-c", code, *args]


def wait_until_dead(pid: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while process_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


async def test_output_and_exit_status() -> None:
    heard: list[str] = []
    code = "import sys; print(sys.stdin.readline().upper()); print('first\\nsecond', file=sys.stderr); sys.exit(7)"
    child = await start_child(python(code), on_stderr=heard.append)
    child.stdin.write("größe\n".encode())
    assert (await child.stdout.read()).decode().strip() == "GRÖSSE"
    assert await child.wait() == 7
    assert child.returncode == 7
    assert heard == child.stderr_tail == ["first", "second"]


async def test_stderr_keeps_the_last_lines_and_bounds_their_length() -> None:
    code = (
        "import sys; [print(n, file=sys.stderr) for n in range(5000)]; "
        "sys.stderr.write('x' * 3_000_000); sys.stderr.buffer.write(b'\\n\\xff end without newline')"
    )
    child = await start_child(python(code))
    assert await child.wait() == 0
    tail = child.stderr_tail
    assert len(tail) == 200
    assert tail[-3:-1] == ["4999", "x" * 4096]
    assert tail[-1] == "\N{REPLACEMENT CHARACTER} end without newline"


async def test_tree_is_ended_with_its_deaf_grandchild() -> None:
    child = await start_child(python(FAMILY))
    pids = [int(word) for word in (await child.stdout.readline()).split()]
    assert all(process_alive(pid) for pid in pids)
    assert await child.terminate_tree(grace_s=1.0) != 0
    for pid in pids:
        wait_until_dead(pid)
    await child.terminate_tree()  # again: nothing to do, no error


async def test_child_that_ignores_the_request_is_killed() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(300)"
    )
    child = await start_child(python(code))
    await child.stdout.readline()
    status = await child.terminate_tree(grace_s=0.2)
    assert not process_alive(child.pid)
    if sys.platform != "win32":
        assert status == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_how_a_killed_child_ended_is_known_however_many_end_at_once() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(300)"
    )

    async def killed() -> int:
        child = await start_child(python(code))
        await child.stdout.readline()
        return await child.terminate_tree(grace_s=0.05)

    for _ in range(4):
        assert set(await asyncio.gather(*(killed() for _ in range(8)))) == {-signal.SIGKILL}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_grandchild_ends_although_its_parent_is_gone() -> None:
    child = await start_child(python(FAMILY))
    parent, grandchild = (int(word) for word in (await child.stdout.readline()).split())
    os.kill(parent, signal.SIGKILL)
    await child.wait()
    assert process_alive(grandchild)
    await child.terminate_tree()
    wait_until_dead(grandchild)


@pytest.mark.parametrize("death", ["die_with_parent()", ""], ids=["kernel and stdin", "stdin alone"])
def test_children_end_when_the_parent_is_killed(death: str) -> None:
    with subprocess.Popen(
        python(PARENT, WELL_BEHAVED.format(death=death)), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, spec = parent.stdout.readline().split()
        assert spec == "spec"
        assert process_alive(int(pid))
        parent.kill()
        parent.wait()
        wait_until_dead(int(pid))


async def test_spec_line_is_read_whole_and_what_follows_is_not_mistaken_for_the_end() -> None:
    code = WELL_BEHAVED.format(death="")
    child = await start_child(
        python(
            code.replace("read_spec_then_watch(", "len(read_spec_then_watch(", 1).replace(
                "os._exit(0))", "os._exit(3)))", 1
            )
        )
    )
    child.stdin.write(b"x" * 300_000)
    await child.stdin.drain()
    child.stdin.write(b"y\nmore that nobody reads\n")
    assert (await child.stdout.readline()).split()[1] == b"300001"
    child.stdin.write(b"and more\n")
    await child.stdin.drain()
    assert child.returncode is None
    child.stdin.close()
    assert await child.wait() == 3


async def test_missing_program_is_told() -> None:
    with pytest.raises(SlmDeskError) as caught:
        await start_child(["no-such-program-here"])
    assert caught.value.code == "child_start_failed"
    assert "no-such-program-here" in caught.value.message


async def test_children_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("MY_API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    child = await start_child(python(code), env={"EXTRA": "1"})
    seen = json.loads(await child.stdout.read())
    await child.wait()
    assert not {"HF_TOKEN", "MY_API_KEY", "AWS_SECRET_ACCESS_KEY"} & set(seen)
    assert seen["TOKENIZERS_PARALLELISM"] == "false"
    assert seen["EXTRA"] == "1"
    assert not {"HF_TOKEN", "MY_API_KEY", "AWS_SECRET_ACCESS_KEY"} & set(child_environment())


def test_detached_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "service.log"
    starter = (
        "import sys; from pathlib import Path; from slmdesk.core.processes import start_detached; "
        "print(start_detached([sys.executable, '-c', \"import sys, time; print('hello', flush=True); "
        f'time.sleep(300)"], Path({str(log)!r})))'
    )
    pid = int(subprocess.run(python(starter), capture_output=True, check=True, text=True).stdout)
    try:
        while "hello" not in log.read_text():
            time.sleep(0.02)
        assert process_alive(pid)
        if sys.platform != "win32":
            assert os.getsid(pid) != os.getsid(0)
    finally:
        psutil.Process(pid).kill()
    wait_until_dead(pid)


def test_detached_process_that_ended_is_no_zombie(tmp_path: Path) -> None:
    pid = start_detached(python("pass"), tmp_path / "log")
    wait_until_dead(pid)


def test_process_alive_tells_a_reused_id_apart() -> None:
    born = process_create_time()
    assert process_alive(os.getpid())
    assert process_alive(os.getpid(), born)
    assert not process_alive(os.getpid(), born - 3600)
    assert not process_alive(0)
    assert not process_alive(-1)


def test_self_command_runs_this_program_whatever_lies_in_the_folder(tmp_path: Path) -> None:
    command = self_command("engine")
    assert command[0] == sys.executable
    assert command[-3:] == ["-m", "slmdesk", "engine"]
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    check = [*command[:-3], "-c", "import json; print(json.__name__)"]
    result = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "json"


async def test_cancelled_wait_leaves_the_child_to_its_owner() -> None:
    child = await start_child(python("import time; time.sleep(300)"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(child.wait(), 0.1)
    assert process_alive(child.pid)
    await child.terminate_tree(grace_s=1.0)
    assert not process_alive(child.pid)
