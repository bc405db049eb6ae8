"""Fetching a released source package: found through the package index, checked by hash, cut down to what is needed."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import ssl
import tarfile
import tomllib
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.error import URLError

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.toolchains import uv as uv_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slmdesk.toolchains.recipe import SourcePackage
    from slmdesk.toolchains.uv import Network

_CHUNK = 256 * 1024
_PATIENCE_S = 60.0
# uv is asked to resolve this; told that the package needs nothing, it need not build it to find out.
_PROJECT = """
[project]
name = "slmdesk-source"
version = "0"
requires-python = ">=3.11"
dependencies = ["{package}=={version}"]

[tool.uv]
dependency-metadata = [{{ name = "{package}", version = "{version}", requires-dist = [] }}]
"""


@dataclass(frozen=True, slots=True)
class _Found:
    url: str
    sha256: str


async def fetch(
    source: SourcePackage,
    archive: Path,
    work: Path,
    *,
    uv: Path,
    env: Mapping[str, str],
    network: Network,
    on_bytes: Callable[[int], None],
) -> None:
    """Bring the package to `archive`, unless it is there already; `work` is a folder to use.

    Raises `SlmDeskError`: `index_unreachable`, `package_missing`, `package_hash_wrong`, `disk_full`, and others that
    `uv.decode` gives.
    """
    if await asyncio.to_thread(_is_there, archive, source.sha256):
        on_bytes(source.bytes)
        return
    found = await _find(source, work, uv, env)
    if (
        found.sha256 and found.sha256 != source.sha256
    ):  # folders with packages tell none; the download is checked
        raise _wrong_hash(source)
    stopped: list[bool] = []
    partial = archive.with_name(archive.name + ".part")
    try:
        await asyncio.to_thread(
            lambda: _download(
                found.url, source, partial, network=network, env=env, on_bytes=on_bytes, stopped=stopped
            )
        )
        await asyncio.to_thread(partial.replace, archive)
    finally:
        stopped.append(True)  # a cancelled task leaves its thread behind; this ends it


def unpack(source: SourcePackage, archive: Path, into: Path) -> dict[str, str]:
    """Write the kept files below `into`; their names and hashes. Blocks.

    Raises `SlmDeskError("package_damaged")` when the archive is not what it should be, or as `writing_error`.
    """
    written: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                name = member.name.partition("/")[2]  # without the folder all of it lies in
                if not member.isfile() or not _kept(name, source.keep):
                    continue
                place = _place(name, source.strip)
                content = packed.extractfile(member)
                if content is None:
                    continue
                target = into / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as out:
                    shutil.copyfileobj(content, out)
                written[place] = _sha256(target)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise SlmDeskError(
            "package_damaged", f"{archive.name} cannot be unpacked: {error}.", "Try again."
        ) from error
    except OSError as error:
        raise writing_error(into, error) from error
    missing = [entry for entry in source.keep if not any(_matches(name, entry, source) for name in written)]
    if missing:
        raise SlmDeskError(
            "package_damaged",
            f"{source.package} {source.version} holds no {missing[0]}.",
            "Install SLM Desk again.",
        )
    return written


async def _find(source: SourcePackage, work: Path, uv: Path, env: Mapping[str, str]) -> _Found:
    """Where the index keeps the source package."""
    await asyncio.to_thread(_write_project, source, work)
    await uv_program.run(uv, ["lock", "--no-python-downloads"], env, cwd=work)
    lock = tomllib.loads(await asyncio.to_thread((work / "uv.lock").read_text, encoding="utf-8"))
    for package in lock.get("package", ()):
        sdist = package.get("sdist")
        if package.get("name") == source.package and sdist:
            url = sdist.get("url") or (Path(package["source"].get("registry", "")) / sdist["path"]).as_uri()
            return _Found(str(url), str(sdist.get("hash", "")).removeprefix("sha256:"))
    raise SlmDeskError(
        "package_missing",
        f"The package index has no source of {source.package} {source.version}.",
        "Check the package index that pip or uv is set to.",
    )


def _write_project(source: SourcePackage, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    text = _PROJECT.format(package=source.package, version=source.version)
    (work / "pyproject.toml").write_text(text, encoding="utf-8")


def _is_there(archive: Path, sha256: str) -> bool:
    return archive.is_file() and _sha256(archive) == sha256


def _download(
    url: str,
    source: SourcePackage,
    target: Path,
    *,
    network: Network,
    env: Mapping[str, str],
    on_bytes: Callable[[int], None],
    stopped: list[bool],
) -> None:
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=env.get("SSL_CERT_FILE") or None)
        )
    ]
    if network.proxy:
        handlers.append(urllib.request.ProxyHandler(dict.fromkeys(("http", "https"), network.proxy)))
    opener = urllib.request.build_opener(*handlers)
    digest, done = hashlib.sha256(), 0
    try:
        with opener.open(url, timeout=_PATIENCE_S) as answer, target.open("wb") as out:
            while not stopped and (data := answer.read(_CHUNK)):
                digest.update(data)
                out.write(data)
                done += len(data)
                on_bytes(done)
    except (URLError, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise SlmDeskError(
            "index_unreachable",
            f"The source of {source.package} could not be fetched: {getattr(error, 'reason', error)}.",
            "Check the network connection and the proxy, and try again.",
        ) from error
    except OSError as error:
        raise writing_error(target, error) from error
    finally:
        if stopped:
            with suppress(OSError):
                target.unlink()
    if not stopped and digest.hexdigest() != source.sha256:
        raise _wrong_hash(source)


def _wrong_hash(source: SourcePackage) -> SlmDeskError:
    return SlmDeskError(
        "package_hash_wrong",
        f"The source of {source.package} {source.version} is not the one that was published: its hash differs.",
        "Try again; if it happens again, ask who runs your package index.",
    )


def _kept(name: str, keep: tuple[str, ...]) -> bool:
    return any(name == entry or (entry.endswith("/") and name.startswith(entry)) for entry in keep)


def _place(name: str, strip: str) -> str:
    """Where a kept file goes, as a name below the source folder. Raises ValueError when that is outside."""
    place = name.removeprefix(strip)
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or "\\" in place or ":" in place:
        raise ValueError(f"a file lies outside: {name}")
    return place


def _matches(written: str, entry: str, source: SourcePackage) -> bool:
    wanted = entry.removeprefix(source.strip)
    return written.startswith(wanted) if wanted.endswith("/") else written == wanted


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
