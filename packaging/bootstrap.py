#!/usr/bin/env python3
"""Set up SLM Desk from its source and start it, or run its tests. Needs nothing but Python.

    python3 packaging/bootstrap.py run [arguments of slmdesk…]
    python3 packaging/bootstrap.py test [arguments of pytest…]

What it does, and says on stderr while doing it: find or install uv in a private folder of this checkout
(`.tools/`), check for a C++ compiler and Qt's system libraries, then hand over to `uv run`, which makes the
environment in `.venv/`. Nothing is installed into the system's Python. On Debian and Ubuntu, run as root,
missing system packages are installed with apt; everywhere else the exact command is printed.

Only the standard library, and syntax that Python 3.8 still reads: this file must be able to say what is
missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
ENVIRONMENT = ROOT / ".venv"
WINDOWS = sys.platform == "win32"
MACOS = sys.platform == "darwin"
LINUX = sys.platform.startswith("linux")
OLDEST_PYTHON = (3, 11)

# Shared object that Qt loads -> Debian package that brings it.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
# Program that a test starts -> Debian package that brings it. Without it that test is skipped and says why.
TEST_PROGRAMS = {"dbus-run-session": "dbus", "gnome-keyring-daemon": "gnome-keyring", "git": "git"}
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
FONT_PACKAGES = ("fonts-inter", "fonts-dejavu-core")


def say(text: str) -> None:
    """Progress goes to stderr: stdout belongs to the program that is started."""
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def stop(text: str) -> None:
    say(text)
    raise SystemExit(1)


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in ("run", "test"):
        print("usage: python3 packaging/bootstrap.py run|test [arguments…]", file=sys.stderr)
        return 2
    what, arguments = sys.argv[1], sys.argv[2:]
    check_system(for_tests=what == "test", window=what == "test" or not arguments or arguments[0] == "tour")
    uv = find_uv()
    environment = dict(os.environ)
    environment.pop("VIRTUAL_ENV", None)
    environment.pop("PYTHONHOME", None)
    options = ["--quiet", "--project", str(ROOT)]
    if sys.version_info >= OLDEST_PYTHON:
        # A Python that is there beats one that must be fetched.
        options += ["--python", sys.executable]
    if what == "run":
        options += ["--no-default-groups", "--group", "starter"]
    make_environment([str(uv), "sync", *options], environment)
    command = [str(uv), "run", *options]
    if what == "run":
        command += ["slmdesk", *arguments]
    else:
        os.chdir(str(ROOT))
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
        # The slow ones kill programs a hundred times or fetch a toolchain: an hour, asked for with `test -m slow`.
        arguments = arguments or ["-m", "not slow"]
        command += ["pytest", *spread(arguments), *arguments]
    return hand_over(command, environment)


def spread(arguments: list) -> list:
    """Options that run the tests side by side: many of them wait for processes. Named tests run in one process."""
    if any(
        argument.startswith("-n") or not argument.startswith("-")
        for argument in arguments
        if " " not in argument
    ):
        return []
    return ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile"]


def hand_over(command: list, environment: dict) -> int:
    """Become the command where the system can (signals then reach it directly), else wait for it."""
    if not WINDOWS:
        os.execve(command[0], command, environment)
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the child has received it too and decides


def find_uv() -> Path:
    """uv from PATH, or from the private folder, installed there on first use through a venv of its own."""
    found = shutil.which("uv")
    if found:
        return Path(found)
    private = TOOLS / "uv"
    program = private / ("Scripts/uv.exe" if WINDOWS else "bin/uv")
    if program.exists():
        return program
    say(f"installing uv into {private} (about 25 MB, once)")
    if private.exists():
        shutil.rmtree(str(private))
    made = subprocess.run([sys.executable, "-m", "venv", str(private)], capture_output=True, text=True)
    if made.returncode != 0:
        shutil.rmtree(str(private), ignore_errors=True)
        stop(f"this Python cannot make a virtual environment:\n{made.stdout}{made.stderr}")
    python = private / ("Scripts/python.exe" if WINDOWS else "bin/python")
    got = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"]
    )
    if got.returncode != 0 or not program.exists():
        shutil.rmtree(str(private), ignore_errors=True)
        stop("uv could not be installed with pip. Check the network, or install uv yourself, and try again.")
    return program


def make_environment(sync: list, environment: dict) -> None:
    """Before the first run, from what uv has kept where that is enough; what is missing `uv run` fetches."""
    pattern = "Lib/site-packages/llama_cpp" if WINDOWS else "lib/python3*/site-packages/llama_cpp"
    if any(ENVIRONMENT.glob(pattern)):
        return
    say(f"making the environment in {ENVIRONMENT}")
    say("what uv has not kept from before is fetched (about 150 MB), and llama.cpp is compiled once:")
    say("that takes 5 to 6 minutes on two cores, less on more")
    # Asked over the network, some registries make uv forget the llama.cpp it compiled before.
    subprocess.run([*sync, "--offline"], env=environment, capture_output=True)


def check_system(for_tests: bool, window: bool) -> None:
    """What must come from the system: a compiler, a working venv, Qt's libraries, a font."""
    if LINUX:
        check_linux(for_tests, window)
    elif MACOS:
        if subprocess.run(["xcode-select", "-p"], capture_output=True).returncode != 0:
            stop("a C++ compiler is needed. Run: xcode-select --install")
    elif WINDOWS and not windows_compiler():
        stop(
            "a C++ compiler is needed. Run:\n  winget install Microsoft.VisualStudio.2022.BuildTools "
            '--override "--wait --passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"'
        )


def windows_compiler() -> bool:
    if shutil.which("cl"):
        return True
    base = os.environ.get("PROGRAMFILES(X86)", r"C:\Program Files (x86)")
    locator = Path(base) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe"
    if not locator.exists():
        return False
    tools = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    answer = subprocess.run(
        [str(locator), "-products", "*", "-requires", tools, "-property", "installationPath"],
        capture_output=True,
        text=True,
    )
    return bool(answer.stdout.strip())


def check_linux(for_tests: bool, window: bool) -> None:
    needed, wanted = [], []
    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        needed.append("build-essential")
    if not shutil.which("uv") and not venv_works():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        needed.append("python3-venv" if sys.executable.startswith("/usr/bin") else f"python{version}-venv")
    libraries = [package for library, package in QT_LIBRARIES.items() if not loads(library)]
    (needed if window else wanted).extend(libraries)
    if window and not any_font():
        needed.extend(FONT_PACKAGES)
    if for_tests:
        wanted.extend(package for program, package in TEST_PROGRAMS.items() if not shutil.which(program))
    if not needed and not wanted:
        return
    apt = shutil.which("apt-get")
    if apt and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("installing with apt: " + " ".join(needed + wanted))
        quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        subprocess.run([apt, "update", "-qq"], env=quiet, stdout=sys.stderr)
        install = [apt, "install", "-y", "-qq", "--no-install-recommends"]
        done = subprocess.run([*install, *needed, *wanted], env=quiet, stdout=sys.stderr)
        if done.returncode != 0 and needed:
            done = subprocess.run([*install, *needed], env=quiet, stdout=sys.stderr)
            if done.returncode != 0:
                stop("apt could not install what is missing; see its message above")
        return
    if needed:
        stop(f"the system lacks what SLM Desk needs. Run:\n  {install_command(needed)}")
    say(f"optional, for the window and all tests: {install_command(wanted)}")


def install_command(packages: list) -> str:
    """The command for this system; on systems other than Debian's the packages' usual names."""
    if shutil.which("apt-get"):
        return "sudo apt-get install " + " ".join(packages)
    if shutil.which("dnf"):
        return (
            "sudo dnf install gcc-c++ mesa-libEGL mesa-libGL libxkbcommon-x11 xcb-util-cursor xcb-util-wm "
            "xcb-util-image xcb-util-keysyms xcb-util-renderutil dejavu-sans-fonts"
        )
    if shutil.which("pacman"):
        return (
            "sudo pacman -S --needed base-devel libglvnd libxkbcommon-x11 xcb-util-cursor xcb-util-wm "
            "xcb-util-image xcb-util-keysyms xcb-util-renderutil ttf-dejavu"
        )
    if shutil.which("zypper"):
        return (
            "sudo zypper install gcc-c++ libEGL1 libGL1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 "
            "libxcb-image0 libxcb-keysyms1 libxcb-render-util0 dejavu-fonts"
        )
    return "your package manager, for: " + " ".join(packages)


def venv_works() -> bool:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def any_font() -> bool:
    for folder in FONT_FOLDERS:
        path = Path(folder).expanduser()
        if path.is_dir() and (any(path.rglob("*.ttf")) or any(path.rglob("*.otf"))):
            return True
    return False


if __name__ == "__main__":
    raise SystemExit(main())
