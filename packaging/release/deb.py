"""The Debian package and the portable archive of the frozen program."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

from release import bundle_links
from release.project import (
    BUILD,
    DESCRIPTION,
    DIST,
    FOLDER,
    IDENTIFIER,
    PACKAGING,
    PROGRAM,
    SUMMARY,
    TITLE,
    VERSION,
    build_time,
    debian_architecture,
    system_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINUX = PACKAGING / "linux"
MAINTAINER = "The SLM Desk developers <packages@slmdesk.invalid>"

# What Qt takes from the system and the program does not carry. `bundle_links` finds what a new version of Qt adds.
DEPENDS = (
    "libc6 (>= {glibc})",
    "libegl1",
    "libgl1",
    "libx11-6",
    "libx11-xcb1",
    "libxcb1",
    "fontconfig",
)
RECOMMENDS = (
    "fonts-dejavu-core | fonts-noto-core",
    "gnome-keyring | kwalletmanager",
    "xdg-desktop-portal",
    "mesa-vulkan-drivers | vulkan-icd",
)


def make_deb(icons: Path, *, quick: bool = False) -> Path:
    """Build the .deb from `dist/slmdesk`; its path. Needs dpkg-deb."""
    root = BUILD / "package" / "deb"
    shutil.rmtree(root, ignore_errors=True)
    lay_out(root, icons)
    control = root / "DEBIAN"
    control.mkdir()
    _write(control / "control", control_text(root))
    _write(control / "md5sums", "".join(_sums(root)))
    target = DIST / f"{PROGRAM}_{debian_version()}_{debian_architecture()}.deb"
    _same_times(root)
    compression = ["-Zzstd", "-z1"] if quick else ["-Zxz", "-z6"]
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", *compression, "--build", str(root), str(target)],
        env=dict(os.environ, SOURCE_DATE_EPOCH=str(build_time())),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return target


def debian_version(version: str = VERSION) -> str:
    """1.0rc1 comes before 1.0, which Debian's order only sees with a tilde."""
    for mark in (".dev", "a", "b", "rc"):
        head, found, tail = version.partition(mark)
        if found and head and head[-1].isdigit():
            return f"{head}~{mark.strip('.')}{tail}"
    return version


def lay_out(root: Path, icons: Path, program: Path = FOLDER) -> None:
    """Everything the package installs, below `root`."""
    share = root / "usr" / "share"
    shutil.copytree(program, root / "usr" / "lib" / PROGRAM, symlinks=True)
    commands = root / "usr" / "bin"
    commands.mkdir(parents=True)
    (commands / PROGRAM).symlink_to(f"../lib/{PROGRAM}/{PROGRAM}")
    _copy(LINUX / "slmdesk.desktop", share / "applications" / "slmdesk.desktop")
    _copy(LINUX / "slmdesk-mime.xml", share / "mime" / "packages" / "slmdesk.xml")
    _write(share / "metainfo" / f"{IDENTIFIER}.metainfo.xml", metainfo())
    for picture in icons.glob(f"{PROGRAM}-*.png"):
        size = picture.stem.rsplit("-", 1)[-1]
        _copy(picture, share / "icons" / "hicolor" / f"{size}x{size}" / "apps" / f"{PROGRAM}.png")
    vector = PACKAGING / "icons" / f"{PROGRAM}.svg"
    _copy(vector, share / "icons" / "hicolor" / "scalable" / "apps" / f"{PROGRAM}.svg")
    documents = share / "doc" / PROGRAM
    _copy(LINUX / "copyright.in", documents / "copyright")
    changes = (PACKAGING.parent / "CHANGELOG.md").read_bytes()
    (documents / "changelog.gz").write_bytes(gzip.compress(changes, 9, mtime=0))
    for path in root.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(0o755 if runs else 0o644)


def metainfo() -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime(build_time()))
    text = (LINUX / "metainfo.xml").read_text(encoding="utf-8")
    return text.replace("@IDENTIFIER@", IDENTIFIER).replace("@VERSION@", VERSION).replace("@DATE@", date)


def control_text(root: Path) -> str:
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink())
    glibc = bundle_links.newest_glibc(root / "usr" / "lib" / PROGRAM)
    fields = {
        "Package": PROGRAM,
        "Version": debian_version(),
        "Architecture": debian_architecture(),
        "Maintainer": MAINTAINER,
        "Installed-Size": str(-(-size // 1024)),
        "Depends": ", ".join(DEPENDS).format(glibc=glibc),
        "Recommends": ", ".join(RECOMMENDS),
        "Section": "science",
        "Priority": "optional",
        "Description": f"{SUMMARY}\n {TITLE}. {DESCRIPTION}",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def make_archive(*, quick: bool = False) -> Path:
    """The portable archive: unpack anywhere and start `slmdesk` inside."""
    name = f"{PROGRAM}-{VERSION}-{system_name()}"
    target = DIST / f"{name}.tar.xz"
    compress = ["xz", "--threads=0", "-1" if quick else "-6", "--stdout"]
    with target.open("wb") as packed, subprocess.Popen(compress, stdin=subprocess.PIPE, stdout=packed) as xz:
        assert xz.stdin is not None
        with tarfile.open(fileobj=xz.stdin, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(FOLDER.rglob("*")):
                archive.add(path, f"{name}/{path.relative_to(FOLDER)}", recursive=False, filter=_anonymous)
            for extra, place in (
                (LINUX / "README.portable", "README"),
                (PACKAGING.parent / "LICENSE", "LICENSE"),
            ):
                archive.add(extra, f"{name}/{place}", filter=_anonymous)
    if xz.returncode != 0:
        raise SystemExit("xz failed")
    return target


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = build_time()
    return entry


def _sums(root: Path) -> Iterator[str]:
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink() and "DEBIAN" not in file.parts:
            digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
            yield f"{digest}  {file.relative_to(root)}\n"


def _same_times(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, (build_time(), build_time()), follow_symlinks=False)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")
