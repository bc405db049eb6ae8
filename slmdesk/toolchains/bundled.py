"""Source packages that came with the program: already cut down to what is kept, with the hash of every file.

An installed program carries them in `resources/toolchains/sources/<package>-<version>/`, so that making a toolchain
there fetches only packages. A checkout has none, and they are fetched.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slmdesk.core.files import atomic_write, writing_error

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.toolchains.recipe import SourcePackage

FOLDER = "sources"
LIST = "source.json"
_FORMAT = 1


def folder_of(recipes: Path, package: str, version: str) -> Path:
    """Where the source of a package lies beside the recipes, if it came with the program."""
    return recipes / FOLDER / f"{package}-{version}"


def is_there(recipes: Path, source: SourcePackage) -> bool:
    """Whether this very release of the source came with the program, cut down as the recipe says. A glance: its files
    are checked when they are taken."""
    return _listed(folder_of(recipes, source.package, source.version), source) is not None


def take(recipes: Path, source: SourcePackage, into: Path) -> dict[str, str] | None:
    """Copy the files below `into`; their names and hashes. None when they did not come with the program, or one of
    them is not what it was: then the source must be fetched. Blocks. Raises as `writing_error`."""
    folder = folder_of(recipes, source.package, source.version)
    files = _listed(folder, source)
    if files is None:
        return None
    for place, digest in files.items():
        try:
            content = (folder / place).read_bytes()
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            shutil.rmtree(into, ignore_errors=True)
            return None
        target = into / place
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise writing_error(into, error) from error
    return files


def write_list(folder: Path, source: SourcePackage, files: dict[str, str]) -> None:
    """Say what `folder` holds, once its files are there. Raises `SlmDeskError` as `atomic_write` does."""
    atomic_write(folder / LIST, json.dumps({**_facts(source), "files": files}, indent=1) + "\n")


def _facts(source: SourcePackage) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "package": source.package,
        "version": source.version,
        "sha256": source.sha256,
        "keep": list(source.keep),
        "strip": source.strip,
    }


def _listed(folder: Path, source: SourcePackage) -> dict[str, str] | None:
    try:
        told = json.loads((folder / LIST).read_text(encoding="utf-8"))
        files = {str(place): str(digest) for place, digest in told.pop("files").items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    inside = all(
        not PurePosixPath(place).is_absolute() and ".." not in PurePosixPath(place).parts for place in files
    )
    return files if files and inside and told == _facts(source) else None
