"""The built-in model answers questions it never saw; the whole measure is `packaging/desk_guide/evaluate.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EVALUATE = Path(__file__).resolve().parents[2] / "packaging" / "desk_guide" / "evaluate.py"


def test_it_says_what_q4_k_m_is_and_what_it_does_not_know() -> None:
    code = (
        "from guide_corpus import GGUF_FILE, Question\n"
        "from evaluate import Guide, Probe\n"
        "guide = Guide(GGUF_FILE)\n"
        "nobody = Question('', (), (), '', ())\n"
        "for text in ('What is Q4_K_M?', 'Who painted the Mona Lisa?', 'Who are you?'):\n"
        "    print(guide.answer(Probe(text, nobody)))\n"
    )
    quant, elsewhere, itself = _run("-c", code).stdout.splitlines()
    assert "4-bit" in quant
    assert "I only know" in elsewhere
    assert "Desk Guide" in itself


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sample_of_each_measure_is_above_its_bar() -> None:
    done = _run(str(EVALUATE), "--sample", "120", check=False)
    assert done.returncode == 0, done.stdout


def _run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    # In a process of its own: native code that ends must not take the tests with it.
    return subprocess.run(
        [sys.executable, *arguments],
        check=check,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(EVALUATE.parent), "PYTHONIOENCODING": "utf-8"},
    )
