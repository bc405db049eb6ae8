"""What each system installs: making it, signing it where there are certificates, and trying it out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from release import clean_debian as debian
from release import deb, nsis, smoke
from release.project import (
    BUILD,
    BUNDLE,
    DIST,
    LINUX,
    MACOS,
    PACKAGING,
    PROGRAM,
    TITLE,
    VERSION,
    WINDOWS,
    say,
    system_name,
    warn,
)

ICONS = BUILD / "made" / "icons"


def make(*, quick: bool = False) -> list[Path]:
    """This system's installers, in dist/."""
    DIST.mkdir(parents=True, exist_ok=True)
    if LINUX:
        return [deb.make_deb(ICONS, quick=quick), deb.make_archive(quick=quick)]
    if WINDOWS:
        for program in (DIST / PROGRAM).glob("*.exe"):
            _sign_windows(program)
        made = nsis.make_installer(ICONS / f"{PROGRAM}.ico", quick=quick)
        _sign_windows(made)
        return [made]
    return [_disk_image()]


def try_out(*, clean_debian: Path | None = None) -> None:
    """Install, test, remove, as a person would; raises SystemExit where something is wrong."""
    if LINUX:
        package = next(DIST.glob(f"{PROGRAM}_*.deb"))
        debian.try_out(package, clean_debian)
        _try_archive()
    elif WINDOWS:
        _try_windows()
    elif MACOS:
        _try_disk_image()


def _try_archive() -> None:
    archive = next(DIST.glob(f"{PROGRAM}-{VERSION}-linux-*.tar.xz"))
    with tempfile.TemporaryDirectory(prefix="slmdesk-portable-") as folder:
        subprocess.run(["tar", "-xf", str(archive), "-C", folder], check=True)
        smoke.smoke_test(next(Path(folder).iterdir()), "portable")


def _try_windows() -> None:
    setup = next(DIST.glob(f"{PROGRAM}-{VERSION}-windows-*-setup.exe"))
    with tempfile.TemporaryDirectory(prefix="slmdesk-install-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / TITLE
        # NSIS wants /D last and without quotes, also around blanks.
        for _ in ("install", "update"):
            subprocess.run(f'"{setup}" /S /D={folder}', check=True)
        smoke.smoke_test(folder, "installed")
        subprocess.run([str(folder / "uninstall.exe"), "/S", f"_?={folder}"], check=True)
        left = [path.name for path in folder.iterdir() if path.name != "uninstall.exe"]
        if left:
            raise SystemExit(f"the uninstaller left {left}")


def _sign_windows(file: Path) -> None:
    """With the certificate named by SIGN_CERTIFICATE (a .pfx) and SIGN_PASSWORD."""
    certificate = os.environ.get("SIGN_CERTIFICATE", "")
    if not certificate:
        warn(f"{file.name} is not signed: SIGN_CERTIFICATE is not set")
        return
    command = ["signtool", "sign", "/fd", "sha256", "/tr", "http://timestamp.digicert.com", "/td", "sha256"]
    command += ["/f", certificate, "/p", os.environ.get("SIGN_PASSWORD", ""), str(file)]
    subprocess.run(command, check=True)


def _disk_image() -> Path:
    identity = os.environ.get("SIGN_IDENTITY", "")
    if not identity:
        warn("the bundle is signed for this machine alone: SIGN_IDENTITY is not set")
    scripts = PACKAGING / "macos"
    subprocess.run([str(scripts / "sign.sh"), str(BUNDLE), identity or "-"], check=True)
    target = DIST / f"{PROGRAM}-{VERSION}-{system_name()}.dmg"
    subprocess.run([str(scripts / "disk_image.sh"), str(BUNDLE), str(target)], check=True)
    if identity and os.environ.get("NOTARY_KEY"):
        subprocess.run([str(scripts / "notarize.sh"), str(target)], check=True)
    else:
        warn("the disk image is not notarized: SIGN_IDENTITY and NOTARY_KEY are not set")
    return target


def _try_disk_image() -> None:
    image = next(DIST.glob(f"{PROGRAM}-{VERSION}-macos-*.dmg"))
    with tempfile.TemporaryDirectory(prefix="slmdesk-install-") as folder:
        mounted, installed = Path(folder) / "image", Path(folder) / BUNDLE.name
        subprocess.run(
            ["hdiutil", "attach", "-quiet", "-nobrowse", "-mountpoint", str(mounted), str(image)], check=True
        )
        try:
            shutil.copytree(mounted / BUNDLE.name, installed, symlinks=True)
        finally:
            subprocess.run(["hdiutil", "detach", "-quiet", str(mounted)], check=True)
        smoke.smoke_test(installed / "Contents" / "MacOS", "installed")
    say("the disk image works")
