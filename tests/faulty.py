"""An engine that fails as hardware does: a library preloaded into it raises SIGSEGV where faulty.c says."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

AFTER = 6  # graphs that are computed as they should be: the prompt and a few tokens


@functools.cache
def _library() -> Path:
    """Compiled once a run; what builds llama.cpp builds it."""
    library = Path(tempfile.mkdtemp(prefix="slmdesk-faulty-")) / "faulty.so"
    source = Path(__file__).with_name("faulty.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def faulty_environment(fault: str) -> dict[str, str]:
    """Variables with which engines fail: "repack", "flash", "load" or "always". Linux."""
    return {"LD_PRELOAD": str(_library()), "FAULT": fault, "FAULT_AFTER": str(AFTER)}
