"""The .deb in a Debian that holds nothing but its base system: installed, used, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from release import smoke
from release.project import BUILD, PROGRAM, say, stop, warn

SUITE = "bookworm"
_MOUNTS = ("proc", "sys", "dev")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def make(folder: Path) -> Path:
    """A clean Debian in `folder`, made with debootstrap (as root; fetches about 60 MB)."""
    if not (folder / "usr" / "bin" / "dpkg").exists():
        say(f"making a clean Debian in {folder}")
        mirror = os.environ.get("DEBIAN_MIRROR", "")  # without one debootstrap has its own
        command = [
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            SUITE,
            str(folder),
            *([mirror] if mirror else []),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def try_out(package: Path, folder: Path | None = None) -> None:
    """Install, test and remove the package there. `folder` is a clean Debian that is there already."""
    if os.geteuid() != 0 or not (folder or shutil.which("debootstrap")):
        warn("the .deb is not tried out: that wants root and debootstrap")
        return
    root = folder or make(BUILD / "clean-debian")
    with _Mounted(root):
        shutil.copy(package, root / "tmp" / package.name)
        before = _listing(root)
        _inside(root, "apt-get", "update", "-qq")
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends")
        _inside(root, *install, f"/tmp/{package.name}")
        try:
            if _inside(root, "sh", "-c", "command -v python3 || true").strip():
                warn("this Debian has a Python of its own")
            with tempfile.TemporaryDirectory(dir=root / "root", ignore_cleanup_errors=True) as home:
                smoke.Smoke(Path(PROGRAM), Path("/root", Path(home).name), inside=root).run(Path("/tmp/tour"))
        finally:
            _inside(root, "apt-get", "purge", "-y", "-qq", PROGRAM)
        (root / "tmp" / package.name).unlink()
        left = {path for path in _listing(root) - before if PROGRAM in path}
        if left:
            stop(f"the package left behind: {sorted(left)}")
    say(f"{package.name} was installed, worked and was removed")


class _Mounted:
    """The kernel's folders inside the other root, for as long as it is used."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        for name in _MOUNTS:
            target = self._root / name
            if not os.path.ismount(target):
                subprocess.run(["mount", "--rbind", f"/{name}", str(target)], check=True)
                subprocess.run(["mount", "--make-rslave", str(target)], check=True)

    def __exit__(self, *_: object) -> None:
        for name in reversed(_MOUNTS):
            subprocess.run(["umount", "-R", "-l", str(self._root / name)], check=False)


def _inside(root: Path, *command: str) -> str:
    told = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["chroot", str(root), *command], env=told, capture_output=True, text=True)
    if done.returncode != 0:
        stop(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _listing(root: Path) -> set[str]:
    """Files of the parts of the system that packages install to."""
    return {str(path) for place in ("usr", "etc", "opt") for path in (root / place).rglob("*")}
