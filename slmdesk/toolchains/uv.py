"""uv, the program that makes Python environments: where it is, how it is asked, and what its failures mean.

People set a package index, a folder with packages or certificates for pip as often as for uv; uv does not read pip's
settings, so they are handed on.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import is_frozen, set_up_again
from slmdesk.core.processes import start_child
from slmdesk.core.proxies import system_proxies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slmdesk.core.error_codes import ErrorCode

_PROGRAM = "uv.exe" if sys.platform == "win32" else "uv"

# (pattern in what uv says, code, message, hint); the first that matches counts.
_SIGNS: tuple[tuple[str, ErrorCode, str, str], ...] = (
    (
        r"No space left on device|os error 28|os error 112|not enough space",
        "disk_full",
        "The disk is full.",
        "Free some space on the disk of the data folder, and try again; what was fetched is kept.",
    ),
    (
        r"certificate|UnknownIssuer|TLS",
        "certificate_invalid",
        "The package index could not be trusted: its certificate is not known here.",
        "In a company network, name its certificate file in the setting network.ca_file.",
    ),
    (
        r"hash mismatch|Hash mismatch",
        "package_hash_wrong",
        "A package is not the one that was asked for: its hash differs.",
        "Try again; if it happens again, ask who runs your package index.",
    ),
    (
        r"No solution found|was not found in the package registry|no version of|no wheels with a matching",
        "package_missing",
        "The package index does not offer a package that is needed.",
        "Check the package index that pip or uv is set to.",
    ),
    (
        r"No interpreter found|No Python (?:interpreter )?|python downloads are",
        "python_missing",
        "No Python was found that the toolchain can be made with.",
        "Install Python 3.12 and try again.",
    ),
    (
        r"error sending request|dns error|Failed to fetch|timed out|[Cc]onnection|network|Could not connect",
        "index_unreachable",
        "The package index cannot be reached.",
        "Check the network connection and the proxy; what was fetched is kept.",
    ),
    (
        r"Permission denied|os error 13|os error 5\b|Access is denied",
        "folder_unwritable",
        "A file of the toolchain cannot be written.",
        "Check the permissions of the data folder; a virus scanner may hold the file, then try again.",
    ),
)


@dataclass(frozen=True, slots=True)
class Network:
    """How this program reaches others; `proxy` without a login."""

    offline: bool = False
    proxy: str = ""
    ca_file: str = ""


def find_uv() -> Path:
    """uv beside a packaged program, from its package, from PATH, or from the source tree's private folder.

    Raises `SlmDeskError("uv_missing")`.
    """
    bundled = getattr(sys, "_MEIPASS", None)
    candidates = [Path(bundled) / _PROGRAM, Path(sys.executable).with_name(_PROGRAM)] if bundled else []
    with suppress(ImportError, FileNotFoundError):
        import uv

        candidates.append(Path(uv.find_uv_bin()))
    if on_path := shutil.which("uv"):
        candidates.append(Path(on_path))
    tools = Path(__file__).resolve().parents[2] / ".tools" / "uv"
    candidates.append(tools / ("Scripts" if sys.platform == "win32" else "bin") / _PROGRAM)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise SlmDeskError(
        "uv_missing",
        "uv, which makes the environments of converters, is not installed.",
        set_up_again() if is_frozen() else "Install it with: python -m pip install uv",
    )


def environment(
    network: Network, cache: Path | None, *, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What uv is told by its environment. Blocks: reads pip's settings.

    A person's own UV_ variables win. Addresses with a login are not handed on: uv finds those by its own means.
    Raises `SlmDeskError("proxy_invalid")`.
    """
    told = {
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
        "VIRTUAL_ENV": "",
        "CONDA_PREFIX": "",
        "PYTHONHOME": "",
        "PYTHONPATH": "",
        "UV_PROJECT_ENVIRONMENT": "",
    }
    if cache is not None:
        told["UV_CACHE_DIR"] = str(cache)
    if network.proxy:
        told |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), network.proxy)
    else:
        told |= _readable_proxies()
    if network.ca_file:
        told["SSL_CERT_FILE"] = str(Path(network.ca_file).expanduser())
    pip = _pip_settings()
    wanted = {
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(a for a in pip.get("extra-index-url", "").split() if a.startswith("http")),
        "SSL_CERT_FILE": pip.get("cert", ""),
    }
    older = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
    for name, value in wanted.items():
        taken = name in os.environ or name in told or older.get(name, "") in os.environ
        if value and not taken and not _has_login(value):
            told[name] = value
    return told | dict(extra or {})


def _readable_proxies() -> dict[str, str]:
    """The proxies of this environment as uv reads them too. Raises `SlmDeskError("proxy_invalid")`."""
    found = system_proxies()
    variables = {f"{scheme}_proxy": f"{scheme}://" for scheme in ("http", "https", "all")}
    return {
        name: proxy
        for name in os.environ
        if (proxy := found.get(variables.get(name.lower(), ""))) and proxy != os.environ[name].rstrip("/")
    }


def local_packages(env: Mapping[str, str]) -> list[Path]:
    """The folders with packages that uv will look into."""
    listed = env.get("UV_FIND_LINKS", "") or os.environ.get("UV_FIND_LINKS", "")
    folders = [Path(entry.removeprefix("file://")) for entry in listed.split(",") if entry]
    return [folder for folder in folders if folder.is_dir()]


async def run(
    uv: Path,
    arguments: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run uv to its end; what it wrote to stdout.

    Raises `SlmDeskError`: what `decode` gives, and what `start_child` raises. Ends uv when cancelled.
    """
    child = await start_child([str(uv), *arguments], env=env, cwd=cwd, on_stderr=on_line)
    try:
        said = await child.stdout.read()
        code = await child.wait()
    finally:
        await child.terminate_tree(1.0)
    if code != 0:
        raise decode(code, child.stderr_tail)
    return said.decode("utf-8", "replace")


def decode(code: int, lines: Sequence[str]) -> SlmDeskError:
    """What a failed uv means to a person."""
    text = "\n".join(lines)
    for pattern, name, message, hint in _SIGNS:
        if re.search(pattern, text):
            return SlmDeskError(name, message, hint, details=_shown(text))
    if code < 0 or code in {137, 0xC0000017}:
        return SlmDeskError(
            "toolchain_interrupted",
            "Making the toolchain was ended from outside.",
            "Try again; the system may have been out of memory.",
            details=_shown(text),
        )
    return SlmDeskError(
        "toolchain_failed",
        f"The toolchain could not be made (uv ended with {code}).",
        "See the details, and try again.",
        details=_shown(text),
    )


def _shown(text: str) -> str:
    return re.sub(r"(//)[^/@\s]+@", r"\1", text)[-4000:]


def _pip_settings() -> dict[str, str]:
    """pip's own settings, without pip: often there is none beside this program. Environment variables win."""
    found: dict[str, str] = {}
    for path in _pip_files():
        parser = configparser.RawConfigParser(strict=False)
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read(path, encoding="utf-8-sig")
            for section in ("global", "install"):
                if parser.has_section(section):
                    found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name in ("find-links", "index-url", "extra-index-url", "cert"):
        if value := os.environ.get("PIP_" + name.replace("-", "_").upper(), ""):
            found[name] = value
    return found


def _pip_files() -> list[Path]:
    """Where pip looks, the strongest last (pip's documentation, "Configuration")."""
    home, env = Path.home(), os.environ
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    if sys.platform == "win32":
        folders = [Path(env.get("PROGRAMDATA", "C:/ProgramData")) / "pip", home / "pip"]
        folders.append(Path(env.get("APPDATA", str(home))) / "pip")
    elif sys.platform == "darwin":
        support = Path("Library/Application Support/pip")
        folders = [Path("/") / support, home / ".pip", home / ".config/pip", home / support]
    else:
        shared = env.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        folders = [Path(entry) / "pip" for entry in reversed(shared.split(os.pathsep)) if entry]
        own = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
        folders += [Path("/etc"), home / ".pip", own]
    files = [folder / name for folder in [*folders, Path(sys.prefix)]]
    chosen = env.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    return [*files, Path(chosen)] if chosen else files


def _has_login(value: str) -> bool:
    return any("@" in urlsplit(part).netloc for part in re.split(r"[\s,]+", value))
