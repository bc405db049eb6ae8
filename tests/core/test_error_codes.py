"""The list of error codes: each is one, each is used, and none from elsewhere gets in."""

from __future__ import annotations

import re
from pathlib import Path

from slmdesk.core import error_codes
from slmdesk.core.error_codes import ERROR_CODES, known_code
from slmdesk.core.errors import SlmDeskError

SOURCE = Path(error_codes.__file__).parents[1]


def test_every_code_is_one_word_for_programs_and_is_raised_somewhere() -> None:
    said = "".join(
        path.read_text("utf-8") for path in SOURCE.rglob("*.py") if path != Path(error_codes.__file__)
    )
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in ERROR_CODES)
    assert {code for code in ERROR_CODES if f'"{code}"' not in said} == set()


def test_groups_hold_only_known_codes() -> None:
    groups = {name: value for name, value in vars(error_codes).items() if isinstance(value, frozenset)}
    assert len(groups) > 5
    assert all(group <= ERROR_CODES for group in groups.values())


def test_a_code_of_another_version_is_told_and_not_believed() -> None:
    later = SlmDeskError.from_json({"code": "made_in_2031", "message": "It broke.", "details": "line 1"})
    assert (later.code, later.message, later.details) == (
        "unknown",
        "It broke.",
        "line 1\ncode: made_in_2031",
    )
    assert SlmDeskError.from_json(later.to_json()).details == later.details


def test_a_known_code_comes_back_as_it_was_sent() -> None:
    sent = SlmDeskError("disk_full", "The disk is full.", "Free some space.", details="os error 28")
    assert SlmDeskError.from_json(sent.to_json()).to_json() == sent.to_json()
    assert SlmDeskError.from_json({}).to_json()["code"] == known_code("unknown") == "unknown"
    assert "details" not in SlmDeskError.from_json({}).to_json()
