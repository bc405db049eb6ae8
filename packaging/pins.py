"""Write the versions of the last resolution into `[tool.uv] constraint-dependencies` of pyproject.toml.

uv's own lock file records the hosts that packages came from and is therefore not kept. Run after `uv lock --upgrade`:

    uv lock --upgrade && python packaging/pins.py
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = re.compile(r"constraint-dependencies = \[.*?\]", re.DOTALL)


def main() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    versions: dict[str, set[str]] = defaultdict(set)
    for package in lock["package"]:
        if "registry" in package["source"]:
            versions[package["name"]].add(package["version"])
    # A package in two versions (one a Python version, say) is bounded where it is asked for.
    pins = sorted(f"{name}=={min(found)}" for name, found in versions.items() if len(found) == 1)
    project = ROOT / "pyproject.toml"
    lines = "".join(f'    "{pin}",\n' for pin in pins)
    text = PINS.sub(
        lambda _: f"constraint-dependencies = [\n{lines}]", project.read_text(encoding="utf-8"), count=1
    )
    project.write_text(text, encoding="utf-8")
    print(f"{len(pins)} versions pinned")


if __name__ == "__main__":
    main()
