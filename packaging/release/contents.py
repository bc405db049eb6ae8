"""What goes into the frozen program, and what stays out. Used by pyinstaller.spec, inside the build's environment."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from release import converter, gpu_part, starter
from release.project import LINUX, MACOS, ROOT, WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Imported by nothing that runs here; PyInstaller would follow them from optional imports of libraries.
EXCLUDED_MODULES = list(
    (
        "IPython PIL PyQt5 PyQt6 PySide2 _pytest black docutils ensurepip fastapi idlelib importlinter "
        "lib2to3 matplotlib mypy pandas pip pkg_resources pydoc_data pytest qtpy rich ruff scipy setuptools "
        "shellingham sphinx tensorflow test tkinter torch transformers turtledemo typer uv uvicorn wheel "
        "xllamacpp huggingface_hub.cli llama_cpp.server llama_cpp.mtmd_cpp llama_cpp.llava_cpp numpy.f2py "
        "llama_cpp.llama_grammar "
        "numpy.tests PySide6.QtDesigner PySide6.QtHelp PySide6.QtQml PySide6.QtQuick PySide6.QtQuickWidgets "
        "chardet PySide6.QtPrintSupport PySide6.QtConcurrent pyqtgraph.console pyqtgraph.dockarea "
        "pyqtgraph.examples pyqtgraph.flowchart pyqtgraph.jupyter pyqtgraph.opengl"
    ).split()
)

# Qt's plugins that a desktop program with widgets needs. Every other one, and the libraries that only it links
# to (QML, Quick, the virtual keyboard, PDF, screens without a desktop), is left out.
QT_PLUGINS = {
    "platforms": {"qxcb", "qwayland", "qoffscreen", "qwindows", "qcocoa"},
    # Not qgtk3: it would load the system's GTK into a process that has a GLib of ours.
    "platformthemes": {"qxdgdesktopportal"},
    "platforminputcontexts": {"composeplatforminputcontextplugin", "ibusplatforminputcontextplugin"},
    "imageformats": {"qgif", "qico", "qicns", "qjpeg", "qsvg", "qwebp"},
    "iconengines": {"qsvgicon"},
    "styles": {"qmodernwindowsstyle", "qmacstyle"},
    "tls": {"qopensslbackend", "qschannelbackend", "qsecuretransportbackend", "qcertonlybackend"},
    "wayland-shell-integration": {"xdg-shell"},
    "wayland-decoration-client": {"adwaita", "bradient"},
    "wayland-graphics-integration-client": {"qt-plugin-wayland-egl"},
    "xcbglintegrations": {"qxcb-egl-integration", "qxcb-glx-integration"},
}
_UNUSED_LIBRARY = re.compile(
    r"(Qt6?|Qt)(3D|Bluetooth|Charts|Concurrent|Designer|EglF[sS]|Help|Labs|Location|Lottie|Multimedia|Pdf"
    r"|PrintSupport|Qml|Quick|ShaderTools|Sql|UiTools|VirtualKeyboard|WaylandCompositor|WebEngine|Xml)"
    r"|libpyside6qml|opengl32sw|d3dcompiler",
)
# Qt's own words: everything that the window says is the program's.
_UNUSED_DATA = re.compile(
    r"(^|/)PySide6/(Qt/)?(translations|qml|metatypes|libexec)/|(^|/)tests?/|\.pyi$|\.pxd$|/include/"
)

# What PyInstaller would run at every start because some library inside might want it; each costs the start of every
# command and child process. Nothing here starts workers with multiprocessing (runtime_hook.py sees to its tracker),
# looks for source code or walks packages; and PySide6's own package tells Qt where its parts lie, when it is imported,
# while its hook would import Qt into processes without a window and name Qt's folder to other people's programs.
UNNEEDED_HOOKS = {"pyi_rth_multiprocessing", "pyi_rth_inspect", "pyi_rth_pkgutil", "pyi_rth_pyside6"}

# Parts of llama-cpp-python's library folder that chat and quantizing use.
_LLAMA_LIBRARY = re.compile(
    r"^(lib)?(llama|ggml|ggml-base|ggml-(cpu|metal|blas|cuda|vulkan)[\w.-]*)\.(so|dylib|dll)$"
)
SYSTEM = ("/lib", "/usr/lib")  # where the build machine keeps its own libraries
_METAL_SOURCE = re.compile(r"\.(metal|metallib)$")


def modules() -> list[str]:
    """Every module of the package: commands and places are imported by name when they are wanted."""
    package = ROOT / "slmdesk"
    names = []
    for file in sorted(package.rglob("*.py")):
        parts = ("slmdesk", *file.relative_to(package).with_suffix("").parts)
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def hidden_imports() -> list[str]:
    """What no import statement that PyInstaller can follow names."""
    others = [
        "llama_cpp.llama_cpp",
        "qtawesome",
        "qasync",
        "PySide6.QtOpenGL",  # pyqtgraph imports both by names that it puts together
        "PySide6.QtOpenGLWidgets",
        "hf_xet",
        "PySide6.QtSvg",
    ]
    keyrings = ["keyring.backends.fail", "keyring.backends.chainer", "keyring.backends.null"]
    if LINUX:
        keyrings += [
            "keyring.backends.SecretService",
            "keyring.backends.kwallet",
            "keyring.backends.libsecret",
        ]
    elif WINDOWS:
        keyrings += ["keyring.backends.Windows", "win32ctypes.core"]
    elif MACOS:
        keyrings += ["keyring.backends.macOS"]
    return [*modules(), *others, *keyrings]


def native_libraries() -> list[tuple[str, str]]:
    """llama.cpp's libraries, with every variant for a processor and every backend that the build made."""
    package = _package_folder("llama_cpp")
    folder = package / "lib"
    # A build with variants installs them as programs are: beside the packages, in bin/.
    variants = (package.parent / "bin").glob("*ggml-*")
    found = [
        (str(file), "llama_cpp/lib")
        for file in (*sorted(folder.iterdir()), *sorted(variants))
        if _LLAMA_LIBRARY.match(file.name) or _METAL_SOURCE.search(file.name)
    ]
    if not any("llama" in Path(source).name for source, _ in found):
        raise SystemExit(f"no llama.cpp in {folder}")
    return found


def uv_program() -> list[tuple[str, str]]:
    """uv, which makes the environments of converters: beside the program, so that it is found without Python."""
    try:
        import uv
    except ImportError:
        print(
            "warning: the package uv is not in the build's environment; converters will need uv on PATH",
            file=sys.stderr,
        )
        return []
    return [(uv.find_uv_bin(), ".")]


def data_files() -> list[tuple[str, str]]:
    """Resources, llama.cpp's converter, the one icon font, and what libraries read at run time."""
    resources = ROOT / "resources"
    found = [
        (str(file), str(PurePosixPath("resources", *file.relative_to(resources).parent.parts)))
        for file in sorted(resources.rglob("*"))
        if file.is_file()
        and "__pycache__" not in file.parts
        and not file.name.startswith(".")
        # The weights are in the GGUF; the folder it was made from is for those who train it.
        and file.suffix != ".safetensors"
        and starter.ABOUT not in file.parents
    ]
    found += starter.files()
    kept = converter.files()
    if not kept:
        print("warning: llama.cpp's converter is not in build/sources; it will be fetched", file=sys.stderr)
    found += kept
    found += gpu_part.files()
    fonts = _package_folder("qtawesome") / "fonts"
    for kind in ("ttf", "json"):
        found += [(str(file), "qtawesome/fonts") for file in fonts.glob(f"materialdesignicons6-*.{kind}")]
    return found


def distributions() -> list[metadata.Distribution]:
    """The package and everything it requires on this system, by name; each once."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [("slmdesk", "")]
    while waiting:
        name, extra = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system, and its marker could not tell
        for text in found[key].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting.append((requirement.name, ""))
    return [found[key] for key in sorted(found)]


def is_wanted(name: str) -> bool:
    """Whether a file that PyInstaller found belongs into the program; `name` is its place there."""
    place = name.replace("\\", "/")
    plugin = re.search(r"/plugins/([^/]+)/([^/]+)$", place)
    if plugin and "PySide6" in place:
        stem = re.sub(r"^lib|\.(so|dylib|dll)$", "", plugin[2])
        return stem in QT_PLUGINS.get(plugin[1], set())
    return not (_UNUSED_LIBRARY.search(place.rsplit("/", 1)[-1]) or _UNUSED_DATA.search(place))


def needed(entries: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Without the system's libraries that nothing links to once other files stay out (Linux)."""
    if not LINUX:
        return entries
    links: dict[str, set[str]] = {}
    for name, source, _ in entries:
        shown = subprocess.run(["objdump", "-p", source], capture_output=True, text=True).stdout
        links.setdefault(PurePosixPath(name).name, set()).update(re.findall(r"NEEDED\s+(\S+)", shown))
    waiting = [PurePosixPath(name).name for name, source, _ in entries if not source.startswith(SYSTEM)]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(links.get(name, ()))
    return [
        entry
        for entry in entries
        if not entry[1].startswith(SYSTEM) or PurePosixPath(entry[0]).name in reached
    ]


def sizes(entries: list[tuple[str, str, str]]) -> Iterator[tuple[int, str]]:
    """Size in bytes and place of files, largest first."""
    sizes = [(Path(source).stat().st_size, name) for name, source, _ in entries if Path(source).is_file()]
    return iter(sorted(sizes, reverse=True))


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {name} is not in the build's environment")
    return Path(next(iter(spec.submodule_search_locations)))
