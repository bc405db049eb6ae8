"""The tools that need no server."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.core.errors import SlmDeskError
from slmdesk.tools.builtin.calculator import calculate
from slmdesk.tools.builtin.clock import current_time
from slmdesk.tools.builtin.picked_files import read_picked
from slmdesk.tools.builtin.source import BuiltIn
from slmdesk.tools.tool import ToolOutcome, read_arguments


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(17 * 23 + 4) / 3", "131.666666666667"),
        ("0.1 + 0.2", "0.3"),
        ("2^10", "1024"),
        ("2**100", "1267650600228229401496703205376"),
        ("7 × 6 − 2 =", "40"),
        ("sqrt(2)^2", "2"),
        ("factorial(20) // 10**9", "2432902008"),
        ("-7 % 3", "2"),
        ("round(2.5678, 2)", "2.57"),
        ("PI", "3.14159265358979"),
        ("max(3, 1, 2) + gcd(12, 18)", "9"),
    ],
)
def test_the_calculator(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1/0",
        "9**9**9**9",
        "9**9999999",
        "factorial(10**9)",
        "factorial(2.5)",
        "factorial(1400) * factorial(1400)",
        "10.0**400",
        "sqrt(-1)",
        "(-8)**0.5",
        "(" * 300 + "1" + ")" * 300,
        "-" * 900 + "1",
        "1+" * 499 + "1",
        "x" * 5000,
        "1,000 + 1",
        "'a' * 10**9",
        "[0] * 10**9",
        "__import__('os').system('true')",
        "(1).__class__",
        "lambda: 1",
        "open('/etc/passwd')",
        "True + 1",
        "1 if 1 else 2",
        "sin()",
        "log(0)",
        "1j * 1j",
    ],
)
def test_what_is_no_arithmetic_is_refused_with_words(expression: str) -> None:
    with pytest.raises(SlmDeskError) as refused:
        calculate(expression)
    assert refused.value.code == "expression_invalid"
    assert refused.value.message.endswith(".")


@given(st.text(alphabet="0123456789+-*/%^(). efactorilsqnpmx,", max_size=60))
def test_nothing_that_looks_like_arithmetic_escapes(expression: str) -> None:
    with suppress(SlmDeskError):
        assert calculate(expression)


def test_the_time() -> None:
    assert (
        current_time("UTC", 1_700_000_000) == "Tuesday, 2023-11-14 22:13:20 UTC (2023-11-14T22:13:20+00:00)"
    )
    assert "2023-11-15T07:13:20+09:00" in current_time("Asia/Tokyo", 1_700_000_000)
    assert current_time().startswith(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
    for nonsense in ("Mars/Olympus", "../../etc/passwd", "x" * 10_000, "\x00"):
        with pytest.raises(SlmDeskError, match="not known"):
            current_time(nonsense)


def test_only_what_was_picked_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    notes, other, secret = tmp_path / "notes.txt", tmp_path / "a" / "notes.txt", tmp_path / "secret.txt"
    notes.write_text("\n".join(f"line {number}" for number in range(1, 1001)))
    other.write_bytes("héllo\r\nwörld".encode("utf-16"))
    secret.write_text("do not read")
    files = (str(notes), str(other))
    first = read_picked(files, f"{tmp_path.name}/notes.txt")
    assert "lines 1 to 400 of 1000" in first
    assert first.endswith("(More from line 401 on.)")
    assert read_picked(files, f"{tmp_path.name}/notes.txt", 999).endswith("line 999\nline 1000")
    assert read_picked(files, "a/notes.txt").endswith("héllo\nwörld")
    for name in (str(secret), "secret.txt", "../secret.txt", "notes.txt/../secret.txt", "", "/etc/passwd"):
        with pytest.raises(SlmDeskError, match="not among the files"):
            read_picked(files, name)
    notes.write_bytes(b"\x7fELF\x00\x00\x01")
    with pytest.raises(SlmDeskError, match="no text"):
        read_picked((str(notes),), "notes.txt")
    notes.unlink()
    with pytest.raises(SlmDeskError, match="not there any more"):
        read_picked((str(notes),), "notes.txt")


async def test_as_a_source(tmp_path: Path) -> None:
    assert [tool.name for tool in await BuiltIn().tools()] == ["calculator", "current_time"]
    file = tmp_path / "poem.md"
    file.write_text("Whose woods these are")
    source = BuiltIn((str(file),))
    reading = (await source.tools())[-1]
    assert reading.parameters["properties"]["name"]["enum"] == ["poem.md"]
    assert "Whose woods" in (await source.call("read_file", {"name": "poem.md", "first_line": None}, 5)).text
    assert await source.call("calculator", {"expression": 6}, 5) == ToolOutcome("6")
    refused = await source.call("calculator", {"expression": ["1"]}, 5)
    assert refused.failed
    assert "must be text" in refused.text
    with pytest.raises(SlmDeskError, match="no built-in tool"):
        await source.call("rm", {}, 5)


def test_what_a_model_writes_as_arguments() -> None:
    assert read_arguments("") == {}
    assert read_arguments('{"a": [1]}') == {"a": [1]}
    for wrong in ("[1]", "{", '"x"', "null", "[" * 100_000, json.dumps({"x": "y" * 10_000_000})):
        with pytest.raises(SlmDeskError) as refused:
            read_arguments(wrong)
        assert refused.value.code == "tool_arguments_invalid"
