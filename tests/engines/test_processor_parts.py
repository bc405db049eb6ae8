"""Which processor part a build for any processor loads: the best one, or at the last safe step the plainest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slmdesk.llama.processor_parts import processor_part

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compiles stand-ins of parts")


def _part(folder: Path, name: str, score: int | None) -> Path:
    """A library that scores itself as ggml's parts do; None: one that does not."""
    source = folder / "part.c"
    source.write_text("" if score is None else f"int ggml_backend_score(void) {{ return {score}; }}\n")
    library = folder / f"libggml-cpu-{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def test_the_best_and_the_plainest_part(tmp_path: Path) -> None:
    plain, middle = _part(tmp_path, "x64", 1), _part(tmp_path, "haswell", 60)
    best = _part(tmp_path, "icelake", 700)
    _part(tmp_path, "sapphirerapids", 0)  # does not run here
    _part(tmp_path, "strange", None)
    (tmp_path / "libggml-cpu-broken.so").write_bytes(b"no library")
    assert processor_part(tmp_path, plainest=False) == best
    assert processor_part(tmp_path, plainest=True) == plain
    plain.unlink()
    assert processor_part(tmp_path, plainest=True) == middle


def test_a_build_without_parts(tmp_path: Path) -> None:
    assert processor_part(tmp_path, plainest=True) is None
