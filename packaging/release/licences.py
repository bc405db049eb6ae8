"""One page with the licence of everything inside the program: resources/licences.html, which About opens."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from release.project import BUILD, PACKAGING, ROOT, TITLE, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib import metadata

_LICENCE_FILE = re.compile(r"(^|/)(licen[cs]es?/.*|(licen[cs]e|copying|notice|authors)[^/]*)$", re.IGNORECASE)
_TOLD_ELSEWHERE = {"slmdesk", "PySide6_Essentials", "shiboken6"}  # the page's head, and terms/qt.txt
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "pre{white-space:pre-wrap;font-size:13px;padding:1rem;border:1px solid #8886;border-radius:6px}"
    "summary{cursor:pointer;padding:.25rem 0}"
)


@dataclass(frozen=True, slots=True)
class Part:
    """Something inside the program and the texts it must be passed on with."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def of_distribution(distribution: metadata.Distribution) -> Part:
    """A Python package: what its metadata says and the licence files it carries."""
    about = distribution.metadata
    classifiers = [
        text.rsplit(" :: ", 1)[-1]
        for text in about.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    named = about.get("License-Expression") or ", ".join(classifiers) or about.get("License") or ""
    texts = []
    for file in distribution.files or []:
        if _LICENCE_FILE.search(str(file)) and file.suffix not in {".py", ".pyc", ".json"}:
            path = Path(str(distribution.locate_file(file)))
            if path.is_file():
                texts.append(path.read_text(encoding="utf-8", errors="replace"))
    return Part(
        about["Name"], distribution.version, named.splitlines()[0] if named else "", _each_once(texts)
    )


def of_python() -> Part:
    """Python itself."""
    standard = Path(sysconfig.get_paths()["stdlib"])
    found = [
        standard / "LICENSE.txt",
        Path(sys.base_prefix) / "LICENSE.txt",
        Path(sys.base_prefix) / "LICENSE",
    ]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in found if path.is_file()]
    return Part("Python", sys.version.split()[0], "PSF-2.0", tuple(texts[:1]))


def of_system(libraries: Iterable[Path]) -> list[Part]:
    """Libraries that come from the system the program is built on; Debian keeps their terms beside each package."""
    if not shutil.which("dpkg-query"):
        return []
    packages: dict[str, str] = {}
    for library in libraries:
        for path in dict.fromkeys((library, library.resolve(), Path("/usr") / str(library).lstrip("/"))):
            asked = subprocess.run(["dpkg-query", "-S", str(path)], capture_output=True, text=True)
            if asked.returncode == 0 and ": " in asked.stdout:
                package = asked.stdout.split(":", 1)[0].split(",")[0]
                packages[package] = library.name
                break
    parts = []
    for package in sorted(packages):
        terms = Path("/usr/share/doc") / package / "copyright"
        shown = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True
        )
        text = terms.read_text(encoding="utf-8", errors="replace") if terms.is_file() else ""
        parts.append(Part(package, shown.stdout.strip(), "see its text", (text,) if text else ()))
    return parts


def of_files(folder: Path = PACKAGING / "release" / "terms") -> list[Part]:
    """Parts that no package's metadata tells of. First line: name, version and licence between bars."""
    parts = []
    for file in sorted(folder.glob("*.txt")):
        heading, _, text = file.read_text(encoding="utf-8").partition("\n")
        name, version, licence = (field.strip() for field in heading.split("|"))
        parts.append(Part(name, version, licence, (text.strip() + "\n",)))
    return parts


def of_converter(sources: Path) -> list[Part]:
    """llama.cpp's converter and the library it reads and writes GGUF with, where they go along as source."""
    parts = []
    for folder in sorted(folder for folder in sources.glob("*-*") if folder.is_dir()):
        files = sorted(file for file in folder.rglob("*") if _LICENCE_FILE.search(file.name))
        texts = _each_once(file.read_text(encoding="utf-8", errors="replace") for file in files)
        package, _, version = folder.name.rpartition("-")
        parts.append(Part("llama.cpp's converter and gguf-py", f"of {package} {version}", "MIT", texts))
    return parts


def page(parts: Iterable[Part]) -> str:
    """The page: plain HTML that any browser shows, with every text folded below its name."""
    rows = []
    for part in parts:
        heading = f"<b>{html.escape(part.name)}</b> {html.escape(part.version)} · {html.escape(part.licence)}"
        texts = "".join(f"<pre>{html.escape(text.strip())}</pre>" for text in part.texts)
        rows.append(
            f"<details><summary>{heading}</summary>{texts}</details>" if texts else f"<p>{heading}</p>"
        )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{TITLE}: licences</title>'
        f"<style>{_STYLE}</style>\n<h1>{TITLE} {VERSION}</h1>\n"
        f"<p>{TITLE} is under the Apache License 2.0. It is made with the parts below; each is under its own terms. "
        "Qt and PySide are used under the LGPL: their libraries lie beside the program as files of their own and may "
        "be replaced.</p>\n" + "\n".join(rows) + "\n</html>\n"
    )


def write(
    path: Path,
    distributions: Iterable[metadata.Distribution],
    system: Iterable[Path],
    *,
    models: Iterable[Part] = (),
) -> list[str]:
    """Write the page; the names of parts whose terms were not found. `models`: those that were not made here."""
    own = Part(TITLE, VERSION, "Apache-2.0", ((ROOT / "LICENSE").read_text(encoding="utf-8"),))
    packages = [of_distribution(one) for one in distributions if one.metadata["Name"] not in _TOLD_ELSEWHERE]
    parts = [
        own,
        *models,
        *of_files(),
        *of_converter(BUILD / "sources"),
        of_python(),
        *packages,
        *of_system(system),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(parts), encoding="utf-8", newline="\n")
    return [part.name for part in parts if not part.texts]


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))
