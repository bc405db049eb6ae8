"""Cores and threads: on this machine, in a real control group, and from the files of other machines."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slmdesk.core import control_groups, cores
from slmdesk.core.cores import Cores

linux = pytest.mark.skipif(sys.platform != "linux", reason="control groups and affinity as Linux has them")


def files(root: Path, table: dict[str, str]) -> Path:
    for name, text in table.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def topology(siblings: dict[int, str]) -> dict[str, str]:
    return {
        f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list": text
        for number, text in siblings.items()
    }


def test_this_machine() -> None:
    found = cores.look()
    assert 1 <= found.model_threads <= found.fast <= found.physical <= found.logical <= (os.cpu_count() or 1)
    assert found.model_threads == cores.model_threads() <= cores.worker_threads()
    assert found.physical <= psutil.cpu_count(logical=False)
    assert found.why


def asked(code: str) -> dict[str, object]:
    """What a process of its own finds: affinity and groups belong to a process."""
    program = (
        f"import json, os, sys\n{code}\nfrom slmdesk.core import control_groups, cores\n"
        "found = cores.look()\n"
        "print(json.dumps({'model': found.model_threads, 'workers': found.worker_threads, 'why': found.why,"
        " 'limit': found.limit, 'memory': control_groups.memory_limit()[0]}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@linux
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor cannot be narrowed")
def test_a_process_bound_to_one_processor() -> None:
    found = asked("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")
    assert (found["model"], found["workers"]) == (1, 1)
    assert "this process may use 1 of" in str(found["why"])


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A real control group with the cpu controller, below this process's own."""
    own = [folder for folder, _ in control_groups._folders(Path("/"), "cpu") if folder.is_dir()]
    name = f"slmdesk-test-{os.getpid()}"
    for parent in own:
        group = parent / name
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "cpu.max").exists() or (group / "cpu.cfs_quota_us").exists():
            yield group
            group.rmdir()
            return
        group.rmdir()
    pytest.skip("no control group may be made here")


@linux
@pytest.mark.parametrize(("share", "workers"), [(1.5, 2), (0.25, 1)])
def test_a_real_group_with_a_quota(real_group: Path, share: float, workers: int) -> None:
    quota = int(share * 100_000)
    if (real_group / "cpu.max").exists():
        (real_group / "cpu.max").write_text(f"{quota} 100000")
    else:
        (real_group / "cpu.cfs_quota_us").write_text(str(quota))
    procs = str(real_group / "cgroup.procs")
    found = asked(f"open({procs!r}, 'w').write(str(os.getpid()))")
    assert found["limit"] == share
    # With 1.5 processors' time a second thread of a model would hold the first one back at every meeting.
    assert found["model"] == 1
    assert found["workers"] == min(workers, os.cpu_count() or 1)
    if cores.look().fast > 1:
        assert found["why"] == f"a container's limit allows the time of {share} processors"


MOUNTS_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
MOUNTS_1 = """\
32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""


@pytest.mark.parametrize(
    ("table", "limit"),
    [
        ({"sys/fs/cgroup/a.slice/b.service/cpu.max": "250000 100000"}, 2.5),
        (
            {
                "sys/fs/cgroup/a.slice/b.service/cpu.max": "max 100000",
                "sys/fs/cgroup/a.slice/cpu.max": "50000 100000",
            },
            0.5,
        ),
        ({"sys/fs/cgroup/a.slice/b.service/cpu.max": "max 100000"}, 0.0),
        ({"sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),  # the top of a container with a namespace
        ({"sys/fs/cgroup/a.slice/b.service/cpu.max": "nonsense"}, 0.0),
        ({"sys/fs/cgroup/other/cpu.max": "100000 100000"}, 0.0),
        ({}, 0.0),
    ],
)
def test_version_2(tmp_path: Path, table: dict[str, str], limit: float) -> None:
    own = {"proc/self/cgroup": "0::/a.slice/b.service", "proc/self/mountinfo": MOUNTS_2}
    assert control_groups.processors_limit(files(tmp_path, own | table)) == limit


@pytest.mark.parametrize(
    ("root", "path", "folder"),
    [
        ("/", "/a/b", "a/b"),
        ("/", "/a/b", "a"),
        ("/docker/1234", "/docker/1234", ""),  # a container without a namespace of its own
        ("/docker/1234", "/docker/1234/inner", "inner"),
        ("/", "/../../elsewhere", ""),
    ],
)
def test_version_1(tmp_path: Path, root: str, path: str, folder: str) -> None:
    table = {
        "proc/self/cgroup": f"8:pids:{path}\n4:memory:{path}\n1:cpu,cpuacct:{path}\n0::/",
        "proc/self/mountinfo": MOUNTS_1.format(root=root),
        f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_quota_us": "150000",
        f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_period_us": "50000",
        f"sys/fs/cgroup/memory/{folder}/memory.limit_in_bytes": "1000000000",
        f"sys/fs/cgroup/memory/{folder}/memory.usage_in_bytes": "700000000",
        f"sys/fs/cgroup/memory/{folder}/memory.stat": "inactive_file 1\ntotal_inactive_file 200000000",
    }
    files(tmp_path, table)
    assert control_groups.processors_limit(tmp_path) == 3.0
    assert control_groups.memory_limit(tmp_path) == (1_000_000_000, 500_000_000)


def test_memory_of_the_tightest_group(tmp_path: Path) -> None:
    def group(folder: str, limit: str, used: int) -> dict[str, str]:
        return {
            f"sys/fs/cgroup/{folder}memory.max": limit,
            f"sys/fs/cgroup/{folder}memory.current": str(used),
            f"sys/fs/cgroup/{folder}memory.stat": "anon 5\ninactive_file 100\nactive_file 50",
        }

    own = {"proc/self/cgroup": "0::/a/b", "proc/self/mountinfo": MOUNTS_2}
    files(tmp_path, own | group("a/b/", "max", 400) | group("a/", "5000", 4000) | group("", "6000", 4500))
    assert control_groups.memory_limit(tmp_path) == (5000, 3850)


def test_no_limit_of_version_1(tmp_path: Path) -> None:
    table = {
        "proc/self/cgroup": "4:memory:/\n1:cpu,cpuacct:/",
        "proc/self/mountinfo": MOUNTS_1.format(root="/"),
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "700000000",
        "sys/fs/cgroup/memory/memory.stat": "",
    }
    files(tmp_path, table)
    assert control_groups.processors_limit(tmp_path) == 0.0
    assert control_groups.memory_limit(tmp_path) == (0, 0)


# A processor of Intel's with two fast cores of two threads each (0-3) and four efficiency cores (4-7).
HYBRID = topology({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3", 4: "4", 5: "5", 6: "6", 7: "7"}) | {
    "sys/devices/cpu_core/cpus": "0-3",
    "sys/devices/cpu_atom/cpus": "4-7",
}


@pytest.mark.parametrize(
    ("allowed", "expected", "threads", "why"),
    [
        (set(range(8)), Cores(6, 8, 2, 0.0, 6), 2, "4 efficiency cores are left out"),
        ({0, 1}, Cores(1, 2, 1, 0.0, 6), 1, "this process may use 1 of 6 cores"),
        ({0, 2}, Cores(2, 2, 2, 0.0, 6), 2, "this process may use 2 of 6 cores"),
        ({4, 5, 6}, Cores(3, 3, 3, 0.0, 6), 3, "this process may use 3 of 6 cores"),
    ],
)
def test_a_hybrid_processor(
    tmp_path: Path, allowed: set[int], expected: Cores, threads: int, why: str
) -> None:
    found = cores._linux(files(tmp_path, HYBRID), allowed, 6)
    assert found == expected
    assert (found.model_threads, found.worker_threads, found.why) == (threads, len(allowed), why)


def test_capacities_of_arm(tmp_path: Path) -> None:
    capacity = {0: 286, 1: 286, 2: 286, 3: 286, 4: 871, 5: 871, 6: 871, 7: 1024}
    table = topology({number: str(number) for number in capacity}) | {
        f"sys/devices/system/cpu/cpu{number}/cpu_capacity": str(value) for number, value in capacity.items()
    }
    assert cores._linux(files(tmp_path, table), set(capacity), 8) == Cores(8, 8, 4, 0.0, 8)


def test_alike_cores_with_two_threads_each(tmp_path: Path) -> None:
    table = topology({0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"})
    found = cores._linux(files(tmp_path, table), set(range(8)), 4)
    assert found == Cores(4, 8, 4, 0.0, 4)
    assert (found.model_threads, found.worker_threads) == (4, 8)
    assert found.why == "one for each physical core"


def test_a_limit_above_the_cores_says_nothing(tmp_path: Path) -> None:
    table = {
        "proc/self/cgroup": "0::/",
        "proc/self/mountinfo": MOUNTS_2,
        "sys/fs/cgroup/cpu.max": "800000 100000",
    }
    found = cores._linux(files(tmp_path, HYBRID | table), set(range(8)), 6)
    assert (found.limit, found.model_threads, found.why) == (8.0, 2, "4 efficiency cores are left out")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_a_mac_tells_its_performance_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sysctl"
    program.write_text('#!/bin/sh\n[ "$*" = "-n hw.perflevel0.physicalcpu" ] && echo 4\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = cores._macos(10, 10)
    assert (found.model_threads, found.worker_threads) == (4, 10)
    assert found.why == "6 efficiency cores are left out"


def windows_core(efficiency: int, mask: int, group: int = 0) -> bytes:
    body = struct.pack("<BB20xH", 1, efficiency, 1) + struct.pack("<QH6x", mask, group)
    return struct.pack("<II", 0, 8 + len(body)) + body


def test_windows_tells_kinds_of_cores() -> None:
    data = b"".join(
        [
            windows_core(1, 0b11),
            windows_core(1, 0b1100),
            struct.pack("<II", 2, 40) + bytes(32),  # a cache
            *(windows_core(0, 1 << number) for number in (4, 5, 6, 7)),
        ]
    )
    assert cores._windows(data, set(range(8))) == Cores(6, 8, 2, 0.0, 6)
    assert cores._windows(data, {4, 5}) == Cores(2, 2, 2, 0.0, 6)


def test_windows_with_several_groups() -> None:
    data = b"".join(windows_core(0, 1 << number, group) for group in (0, 1) for number in range(64))
    assert cores._windows(data, set(range(64))) == Cores(128, 128, 128, 0.0, 128)
