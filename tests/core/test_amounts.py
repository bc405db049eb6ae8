"""Amounts in words: one way to say each, for the window, the terminal and errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slmdesk.core import amounts

SOURCE = Path(amounts.__file__).parents[1]
# Bytes or parameters put in words by hand: "{x / 1e9:.1f} GB", "{x / 2**30:.0f} GiB", a table of units.
BY_HAND = re.compile(r"/ ?(?:1e9|1e6|10\*\*9|10\*\*6|2\*\*30|1024\*\*3):\.\d|GiB\b|\(\"GB\", ")


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (-5, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (12_345, "12 kB"),
        (4_700_000, "4.7 MB"),
        (450_000_000, "450 MB"),
        (999_600_000, "1.0 GB"),
        (137_438_953_472, "137.4 GB"),
    ],
)
def test_bytes(count: int, said: str) -> None:
    assert amounts.size(count) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""),
        (4_700_000, "4.7 M"),
        (135_000_000, "135 M"),
        (596_049_920, "596 M"),
        (999_700_000, "1.0 B"),
        (8_030_261_312, "8.0 B"),
    ],
)
def test_parameters_below_a_billion_are_millions(count: int, said: str) -> None:
    assert amounts.parameters(count) == said


@pytest.mark.parametrize(
    ("seconds", "about", "exactly"),
    [
        (0.2, "1 s", "0 s"),
        (59.4, "59 s", "59 s"),
        (125, "2 min", "2 min 5 s"),
        (7_800, "2 h 10 min", "130 min"),
        (86_400, "24 h", "1440 min"),
    ],
)
def test_durations(seconds: float, about: str, exactly: str) -> None:
    assert (amounts.duration(seconds), amounts.took(seconds)) == (about, exactly)


def test_nothing_puts_amounts_in_words_by_hand() -> None:
    # A chart's axis and a table of figures for other programs have one unit for all of their numbers.
    apart = {"amounts.py", "export.py", "forecasts.py"}
    found = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        if path.name not in apart
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if BY_HAND.search(line)
    ]
    assert found == []
