"""What the architecture promises of names: a class has its own, and the traces tell of functions that are there."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "slmdesk"
ELSEWHERE: tuple[str, ...] = ()  # rooms whose classes are not looked at
TRACES = ("a search", "a download", "a quantization", "a chat turn")  # each of their steps names something
_SECTION = re.compile(r"^### The trace of (.+)\n((?:(?!^#).*\n)+)", re.MULTILINE)
_STEP = re.compile(r"^\d+\. .*\n(?:   .*\n)*", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_CLASS = re.compile(r"[A-Z][a-z]+(?:[A-Z]\w*)?")
_FILES = (".json", ".gguf", ".toml", ".md")


@cache
def modules() -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in sorted(PROGRAM.rglob("*.py"))
    }


@cache
def classes() -> dict[str, list[tuple[Path, ast.ClassDef]]]:
    found = defaultdict(list)
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append((path, node))
    return found


def names_in(body: list[ast.stmt]) -> set[str]:
    """What a module or a class defines."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def is_there(name: str) -> bool:
    """Whether `module.function`, `Class.method`, `Class` or `folder/module.py` is of this program."""
    if name.endswith(".py"):
        return any((root / name).is_file() for root in (ROOT, PROGRAM)) or any(PROGRAM.rglob(name))
    first, _, rest = name.partition(".")
    if not rest:
        return first in classes()
    if first in classes():
        return any(rest in names_in(node.body) for _, node in classes()[first])
    return any(path.stem == first and rest in names_in(tree.body) for path, tree in modules().items())


def named(text: str) -> list[str]:
    """The names of code in a text: those in backticks that look like one."""
    found = [code.removesuffix("()") for code in _CODE.findall(text)]
    return [
        code
        for code in found
        if code.endswith(".py")
        or (_DOTTED.fullmatch(code) and not code.endswith(_FILES))
        or _CLASS.fullmatch(code)
    ]


def traces() -> dict[str, str]:
    return dict(_SECTION.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


def test_a_class_has_its_name_once() -> None:
    twice = {
        name: [f"{path.relative_to(ROOT)}:{node.lineno}" for path, node in places]
        for name, found in classes().items()
        if len(
            places := [
                (path, node) for path, node in found if path.relative_to(PROGRAM).parts[0] not in ELSEWHERE
            ]
        )
        > 1
    }
    assert twice == {}


@pytest.mark.parametrize("trace", sorted(traces()))
def test_a_trace_names_what_is_there(trace: str) -> None:
    assert [name for name in named(traces()[trace]) if not is_there(name)] == []


@pytest.mark.parametrize("trace", TRACES)
def test_each_step_of_a_trace_can_be_followed(trace: str) -> None:
    steps = _STEP.findall(traces()[trace])
    assert len(steps) >= 4
    assert [step for step in steps if not named(step)] == []
