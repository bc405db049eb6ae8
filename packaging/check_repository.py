"""Checks that no linter makes: module sizes, file names, undeclared imports, the settings table, unwanted files.

Prints one line a finding and exits with 1 when there is any.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MOST_LINES = 500
BAD_NAMES = {"utils.py", "helpers.py", "misc.py", "common.py"}
TABLE = re.compile(r"<!-- settings -->\n(.*?)<!-- /settings -->", re.DOTALL)
SETTINGS_DOCUMENT = ROOT / "CONTRIBUTING.md"
# Lock files and pip's files record the hosts that packages came from.
UNWANTED = re.compile(r"(^|/)(uv\.lock|poetry\.lock|package-lock\.json|pip\.conf)$")


def tracked_files() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listing.stdout.split("\n")[:-1]


def module_findings(files: list[str]) -> list[str]:
    findings = []
    for name in files:
        path = ROOT / name
        if not (name.startswith("slmdesk/") and name.endswith(".py") and path.exists()):
            continue
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            findings.append(f"{name}: {lines} lines, at most {MOST_LINES}: split it by subject")
        if path.name in BAD_NAMES:
            findings.append(f"{name}: a name that says nothing")
    return findings


def import_findings(files: list[str]) -> list[str]:
    """What the program imports and nothing but another package's needs brings along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {_plain(re.split(r"[\s<>=!~;\[]", text, maxsplit=1)[0]) for text in project["dependencies"]}
    brought_by = packages_distributions()
    known = sys.stdlib_module_names | {
        "slmdesk",
        "shibokensupport",
    }  # the last: unpacked by shiboken6 at run time
    findings = []
    for name in files:
        if not (name.startswith("slmdesk/") and name.endswith(".py") and (ROOT / name).exists()):
            continue
        findings += [
            f"{name}: imports {module}, which pyproject.toml does not declare"
            for module in sorted(_imported((ROOT / name).read_text(encoding="utf-8")) - known)
            if not declared & {_plain(package) for package in brought_by.get(module, ())}
        ]
    return findings


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _imported(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def settings_findings() -> list[str]:
    from slmdesk.core.settings import settings_table_markdown

    text = SETTINGS_DOCUMENT.read_text(encoding="utf-8")
    found = TABLE.search(text)
    wanted = settings_table_markdown().strip()
    if found is None:
        return [f"{SETTINGS_DOCUMENT.name}: the settings table's markers are missing"]
    if found[1].strip() == wanted:
        return []
    if "--fix" in sys.argv:
        fixed = text[: found.start(1)] + wanted + "\n" + text[found.end(1) :]
        SETTINGS_DOCUMENT.write_text(fixed, encoding="utf-8")
        return []
    return [f"{SETTINGS_DOCUMENT.name}: the settings table is stale; run this script with --fix"]


def main() -> int:
    files = tracked_files()
    findings = module_findings(files) + import_findings(files) + settings_findings()
    findings += [f"{name}: must not be committed" for name in files if UNWANTED.search(name)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
