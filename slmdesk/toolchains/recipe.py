"""What a toolchain is made of: declared in the resources, one TOML file a toolchain."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.toolchains import bundled

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1  # of the folder that is made; another number makes existing ones outdated


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A released source package of which some files are kept. `keep`: files, and folders that end with a slash;
    `strip` is taken off their names; `import_path` is a folder that goes onto Python's path."""

    package: str
    version: str
    sha256: str
    bytes: int
    keep: tuple[str, ...]
    strip: str = ""
    import_path: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One toolchain. Sizes are in bytes and for this system; `digest` changes with anything that its folder holds.
    `guard`: the script that starts others in it. `bundled`: its source came with the program."""

    name: str
    title: str
    summary: str
    python: str
    requirements: Path
    imports: tuple[str, ...]
    systems: tuple[str, ...]
    torch_backend: str
    source: SourcePackage
    guard: Path
    packages_download: int
    packages_disk: int
    digest: str
    bundled: bool = False

    @property
    def recipes(self) -> Path:
        """The folder this recipe lies in."""
        return self.requirements.parent

    @property
    def folder_name(self) -> str:
        return f"{self.name}-{self.source.version}"

    @property
    def download_bytes(self) -> int:
        return self.packages_download + self.source_download

    @property
    def source_download(self) -> int:
        """Bytes of the source package that must be fetched."""
        return 0 if self.bundled else self.source.bytes

    @property
    def disk_bytes(self) -> int:
        return self.packages_disk

    @property
    def needed_bytes(self) -> int:
        """Free space that making it takes: the packages, the source package, and what is unpacked twice for a while."""
        return self.packages_disk + self.source_download + self.packages_download

    @property
    def torch_version(self) -> str:
        """ "" where the toolchain holds no torch."""
        for line in self.requirements.read_text(encoding="utf-8").splitlines():
            if line.startswith("torch=="):
                return line.removeprefix("torch==").split()[0]
        return ""

    def require_system(self) -> None:
        """Raises `SlmDeskError("toolchain_unsupported")` where its packages have no build for this system."""
        if system() not in self.systems:
            raise SlmDeskError(
                "toolchain_unsupported",
                f"The toolchain “{self.name}” cannot be made on {system()}: PyTorch has no build for it.",
                "Convert the model on another machine, or download its GGUF.",
            )


def system() -> str:
    """This system and processor: "linux-x86_64", "darwin-arm64", "win32-amd64"."""
    return f"{sys.platform}-{platform.machine().lower()}"


def load(folder: Path, name: str) -> Recipe:
    """The recipe of that name. Raises `SlmDeskError("toolchain_unknown")`, and `toolchain_recipe_invalid` where the
    program's own files are damaged."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.toml")))
        raise SlmDeskError(
            "toolchain_unknown", f"There is no toolchain “{name}”.", f"Known are: {known or 'none'}."
        )
    try:
        return _recipe(folder, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SlmDeskError(
            "toolchain_recipe_invalid",
            f"{path} cannot be read: {error}.",
            "Install SLM Desk again.",
        ) from error


def names(folder: Path) -> list[str]:
    """All recipes there are."""
    return sorted(file.stem for file in folder.glob("*.toml"))


def _recipe(folder: Path, data: dict[str, Any]) -> Recipe:
    source = data["source"]
    requirements = folder / data["requirements"]
    sizes = data["sizes"].get(sys.platform, data["sizes"]["linux"])
    backends = data.get("torch_backend", {})
    pins = re.findall(r"^[a-zA-Z][^\s;\\]*", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    made_of = json.dumps([FORMAT, pins, source["sha256"], source["keep"], source.get("strip", "")])
    package = SourcePackage(
        package=source["package"],
        version=source["version"],
        sha256=source["sha256"],
        bytes=int(source["bytes"]),
        keep=tuple(source["keep"]),
        strip=source.get("strip", ""),
        import_path=source.get("import_path", ""),
    )
    return Recipe(
        name=data["name"],
        title=data["title"],
        summary=data["summary"],
        python=data["python"],
        requirements=requirements,
        imports=tuple(data["imports"]),
        systems=tuple(data["systems"]),
        torch_backend=backends.get(system(), backends.get(sys.platform, "")),
        source=package,
        guard=folder / "guard.py",
        packages_download=int(sizes["download"]),
        packages_disk=int(sizes["disk"]),
        digest=hashlib.sha256(made_of.encode()).hexdigest()[:16],
        bundled=bundled.is_there(folder, package),
    )
