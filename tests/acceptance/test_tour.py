"""The tour on a hub of its own: search, download and chat by clicks, and all the rest of the program."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.library.shipped import STARTER
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import QuantizeSpec
from tests.hub import LoopbackHub

ROOT = Path(__file__).parents[2]
REPO = "slmdesk/desk-guide-gguf"
QUANTS = ("Q8_0", "Q4_K_M")


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_tour_downloads_a_quant_from_a_hub_and_chats_with_it(
    starter: Path, paths: Paths, tmp_path: Path
) -> None:
    assert starter.is_file()
    files = {}
    for quant in QUANTS:
        name = f"desk-guide-{quant}.gguf"
        await run_child(QuantizeSpec(str(paths.builtin_model), str(tmp_path), name, quant))
        files[name] = tmp_path / name
    out = tmp_path / "out"
    with LoopbackHub() as hub:
        hub.add(REPO, dict(files), likes=2)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "slmdesk", "tour", "--out", str(out), "--hub", hub.url],
            cwd=ROOT,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert hub.total_served >= min(file.stat().st_size for file in files.values())
    told = json.loads((out / "tour.json").read_text("utf-8"))
    assert told["passed"]
    (step,) = [step for step in told["steps"] if step["name"].startswith("Three clicks")]
    model, answer = step["saw"][-2:]
    assert any(quant in model for quant in QUANTS)
    assert "Q4" in answer
    (step,) = [step for step in told["steps"] if step["name"].startswith("A general question")]
    model, answer = step["saw"]
    assert model.startswith(STARTER)
    assert "Paris" in answer
    pictures = {path.name for path in out.glob("*.png")}
    assert any("downloaded-model-answers" in name for name in pictures)
