"""What goes beside the files that are published: their SHA-256, and a bill of materials."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from release import starter
from release.project import PROGRAM, ROOT, VERSION, say, sha256, stop, system_name

if TYPE_CHECKING:
    from pathlib import Path

_PUBLISHED = (".deb", ".tar.xz", ".exe", ".dmg", ".json")


def write(folder: Path, python: Path) -> tuple[Path, Path]:
    """Write the CycloneDX list of what the build's environment holds, and SHA256SUMS of every file to publish."""
    bill = folder / f"{PROGRAM}-{VERSION}-{system_name()}.cdx.json"
    command = [str(python), "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    command += [
        "--mc-type",
        "application",
        "--output-reproducible",
        "--of",
        "JSON",
        "-o",
        str(bill),
        str(python),
    ]
    subprocess.run(command, check=True)
    _keep_what_is_inside(bill)
    sums = folder / f"SHA256SUMS-{system_name()}.txt"
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.endswith(_PUBLISHED))
    if len(files) < 2:
        stop(f"there is nothing to publish in {folder}")
    sums.write_text(
        "".join(f"{sha256(file)}  {file.name}\n" for file in files), encoding="utf-8", newline="\n"
    )
    say(f"{len(files)} files in {sums.name}")
    return bill, sums


def _keep_what_is_inside(bill: Path) -> None:
    """Take off what the environment holds only to build: everything the program does not depend on."""
    data = json.loads(bill.read_text(encoding="utf-8"))
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in data.get("dependencies", [])}
    waiting = [data["metadata"]["component"]["bom-ref"]]
    inside: set[str] = set()
    while waiting:
        reference = waiting.pop()
        if reference not in inside:
            inside.add(reference)
            waiting.extend(needs.get(reference, []))
    data["components"] = [
        one for one in data["components"] if one["bom-ref"] in inside or one["name"] == "uv"
    ]
    kept = {one["bom-ref"] for one in data["components"]} | inside
    if starter.files():
        data["components"].append(starter.component())
    data["dependencies"] = [entry for entry in data["dependencies"] if entry["ref"] in kept]
    bill.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
