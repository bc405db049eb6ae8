"""The release's llama.cpp on processors of other years, emulated by qemu: it answers, or says what is missing.

Wants what `packaging/build.py --portable-cpu` has made in dist/, and `qemu-x86_64` (Debian: qemu-user). The frozen
program starts itself anew and would leave the emulation, so its library runs in this Python's engine.
"""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
import sys
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.host import start_engine
from tests.asking import asking, spec_of

LIBRARY = Path(__file__).parents[2] / "dist" / "slmdesk" / "_internal" / "llama_cpp" / "lib"
EMULATOR = shutil.which("qemu-x86_64")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (LIBRARY / "libggml-cpu-sse42.so").is_file(), reason="no portable build in dist/"),
    pytest.mark.skipif(EMULATOR is None or platform.machine() != "x86_64", reason="needs qemu-x86_64"),
]


async def answer_on(processor: str, desk_guide: Path) -> tuple[set[str], str]:
    """The parts of ggml that were loaded, and the beginning of an answer."""
    command = [str(EMULATOR), "-cpu", processor, sys.executable, "-P", "-m", "slmdesk", "engine"]
    engine = await start_engine(spec_of(desk_guide, "guide", threads=1), command=command)
    try:
        maps = await asyncio.to_thread(Path(f"/proc/{engine.pid}/maps").read_text)
        request = asking("1", prompt="Q4_K_M is", max_tokens=4, sampling={"temperature": 0.0})
        pieces = [piece async for piece in engine.ask(request) if isinstance(piece, str)]
    finally:
        await engine.stop()
    return set(re.findall(r"ggml-cpu-(\w+)", maps)), "".join(pieces)


@pytest.mark.parametrize(
    ("processor", "part"),
    [
        ("Nehalem", "sse42"),
        ("SandyBridge", "sandybridge"),
        ("IvyBridge", "ivybridge"),
        ("Haswell", "haswell"),
    ],
)
async def test_each_generation_has_its_part(
    processor: str, part: str, desk_guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(LIBRARY))
    parts, text = await answer_on(processor, desk_guide)
    assert parts == {part}
    assert text.strip()


async def test_a_processor_too_old_is_told_so(desk_guide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(LIBRARY))
    with pytest.raises(SlmDeskError) as caught:
        await answer_on("Conroe", desk_guide)
    assert "lacks an instruction" in caught.value.message
