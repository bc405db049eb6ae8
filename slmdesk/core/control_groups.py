"""What Linux's control groups (containers, services, slices) let this process use.

A limit may be set at any level between this process's own group and the top of what is mounted here, so all of them
are asked and the smallest counts. Version 2 has one tree, version 1 one for each controller; a machine may have both.
Sources: the kernel's cgroup-v2.rst, cgroup-v1/memory.rst and scheduler/sched-bwc.rst, and proc(5) for the two files
that say where a process's groups are.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["memory_limit", "processors_limit"]

_NO_LIMIT = 1 << 60  # version 1 says "no limit" with the largest number of pages it can hold


def processors_limit(root: Path = Path("/")) -> float:
    """How many processors' time this process's groups may use, 1.5 for instance; 0.0 where there is no limit.

    `root` is where the machine's files begin. Files that cannot be read set no limit.
    """
    limits = [limit for folder, version in _folders(root, "cpu") if (limit := _processors(folder, version))]
    return min(limits, default=0.0)


def memory_limit(root: Path = Path("/")) -> tuple[int, int]:
    """The group that has least memory left: its limit and what it uses, in bytes, less what its files only cache.

    (0, 0) where there is no limit.
    """
    found = [pair for folder, version in _folders(root, "memory") if (pair := _memory(folder, version))]
    return min(found, key=lambda pair: pair[0] - pair[1], default=(0, 0))


def _processors(folder: Path, version: int) -> float:
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text("ascii")
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
        return 0.0 if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def _memory(folder: Path, version: int) -> tuple[int, int] | None:
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    try:
        limit = (folder / names[0]).read_text("ascii").strip()
        if limit == "max" or int(limit) >= _NO_LIMIT:
            return None
        used = int((folder / names[1]).read_text("ascii"))
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
        stat = dict(line.split(" ", 1) for line in lines if " " in line)
        # Version 1 counts what is below a group, as its limit does, under names of their own.
        cached = sum(
            int(stat.get(f"total_{name}", stat.get(name, "0"))) for name in ("inactive_file", "active_file")
        )
        return int(limit), max(0, used - cached)
    except (OSError, ValueError):
        return None


def _folders(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """This process's own group and those above it, up to what is mounted, with the version of their tree."""
    mounts = list(_mounts(root, controller))
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        for mounted, mount_root, mount_version in mounts:
            if mount_version == version:
                yield from ((folder, version) for folder in _upwards(mounted, mount_root, path))


def _upwards(mounted: Path, mount_root: str, path: str) -> Iterator[Path]:
    try:
        below = PurePosixPath(path).relative_to(mount_root)
    except ValueError:
        below = PurePosixPath()  # a container sees its own group as the top, and its path as from outside
    if ".." in below.parts:
        below = PurePosixPath()
    folder = mounted / below
    yield folder
    while folder != mounted:
        folder = folder.parent
        yield folder


def _mounts(root: Path, controller: str) -> Iterator[tuple[Path, str, int]]:
    """Where the trees with this controller are: folder, the group that is its top, version."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = 2 if kind[0] == "cgroup2" else 1 if kind[0] == "cgroup" else 0
        if version == 2 or (version == 1 and controller in kind[2].split(",")):
            yield root / _plain(fields[4]).lstrip("/"), _plain(fields[3]), version


def _plain(text: str) -> str:
    """A path out of mountinfo, where blanks and backslashes are octal."""
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
