"""The parts of a build that runs on any processor: one library for each generation of them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import set_up_again
from slmdesk.inference.steps import holds

if TYPE_CHECKING:
    from slmdesk.inference.steps import Step


def load_variants(binding: Any, step: Step = "all") -> None:
    """Where the library is built for any processor, load the part that fits this one. Once, after the log is set.

    From the step without a GPU on, nothing but a processor's part is loaded; at the last step it is the plainest one.

    Such a build (packaging/release/portable_cpu.py) has one `ggml-cpu-…` for each generation of processors; ggml looks
    for them only beside the executable, so it is told where they are. Without them there is no backend at all.
    """
    folder = Path(binding._lib._name).parent  # noqa: SLF001
    if not any(folder.glob("*ggml-cpu-*")):
        return
    ggml = library(folder, "ggml")
    load, count = ggml.ggml_backend_load_all_from_path, ggml.ggml_backend_dev_count
    load.argtypes, load.restype = [ctypes.c_char_p], None
    count.argtypes, count.restype = [], ctypes.c_size_t
    if holds(step, "no_gpu"):
        ggml.ggml_backend_load.argtypes, ggml.ggml_backend_load.restype = [ctypes.c_char_p], ctypes.c_void_p
        part = processor_part(folder, plainest=holds(step, "plain_cpu"))
        ggml.ggml_backend_load(os.fsencode(part) if part else b"")
    else:
        load(os.fsencode(folder))
    if not count():
        raise SlmDeskError(
            "engine_missing", "No part of llama.cpp that came along fits this processor.", set_up_again()
        )


def processor_part(folder: Path, *, plainest: bool) -> Path | None:
    """The processor's part with the most features that this processor has, or with the fewest; None without any.

    Each part scores itself: 0 where it cannot run here, more for each feature it uses (`ggml_backend_score`).
    """
    scores: dict[Path, int] = {}
    for file in sorted(folder.glob("*ggml-cpu-*")):
        try:
            score = ctypes.CDLL(str(file)).ggml_backend_score
        except (OSError, AttributeError):
            continue
        score.argtypes, score.restype = [], ctypes.c_int
        if found := int(score()):
            scores[file] = found
    return (min if plainest else max)(scores, key=lambda file: scores[file], default=None)


def library(folder: Path, name: str) -> ctypes.CDLL:
    """One of ggml's libraries. Raises `OSError` where it is not there."""
    # The first name is the one by which llama.cpp's library asks for it: a copy of another name is another library.
    for file in (f"lib{name}.so.0", f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll", f"lib{name}.dll"):
        if (folder / file).is_file():
            return ctypes.CDLL(str(folder / file))
    raise OSError(f"{name} is not beside llama.cpp's library")
