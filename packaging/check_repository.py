"""Checks that no linter makes: module sizes, file names, the settings table, what must not be committed.

Prints one line a finding and exits with 1 when there is any.
"""

from __future__ import annotations

import re
import subprocess
import sys
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
    findings = module_findings(files) + settings_findings()
    findings += [f"{name}: must not be committed" for name in files if UNWANTED.search(name)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
