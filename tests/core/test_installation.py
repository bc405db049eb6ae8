"""What a person is told to do when a part of the program is missing: in a checkout, and in an installed program."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import slmdesk
from slmdesk.core.installation import set_up_again, window_libraries
from slmdesk.engines.failures import decode

MISSING_DLL = 0xC0000135


def hint() -> str:
    return decode(MISSING_DLL, [], "/models/x.gguf", loading=False).hint


def test_a_checkout_is_set_up_by_its_script() -> None:
    assert "bootstrap.py" in set_up_again()
    assert (Path(slmdesk.__file__).parents[1] / "packaging" / "bootstrap.py").is_file()


def test_an_installed_program_is_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for words in (set_up_again(), window_libraries(), hint()):
        assert "bootstrap" not in words
        assert "Install SLM Desk again" in words


def test_nothing_else_names_the_script_of_a_checkout() -> None:
    package = Path(slmdesk.__file__).parent
    naming = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(r"bootstrap\.py", file.read_text("utf-8"))
    ]
    assert naming == ["core/installation.py"]
