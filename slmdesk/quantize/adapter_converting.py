"""PEFT's LoRA adapter → GGUF adapter, by llama.cpp's convert_lora_to_gguf.py of the toolchain."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.adapter_file import read_adapter
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.convert import Converted, check_space, run_converter
from slmdesk.quantize.finite import check_finite
from slmdesk.quantize.hf_folder import architecture_of, read_config
from slmdesk.quantize.peft_folder import PeftFolder, examine_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from slmdesk.quantize.convert import Converter, Heard

SCRIPT = "convert_lora_to_gguf.py"
_ALPHA = b"adapter.lora.alpha"


def check_base(base: Path, supported: Collection[str]) -> None:
    """The folder of the model that an adapter belongs to; only its config.json is needed.

    Raises `SlmDeskError`: `architecture_unsupported`, and as `hf_folder.read_config`.
    """
    architecture = architecture_of(read_config(base))
    if architecture not in supported:
        raise SlmDeskError(
            "architecture_unsupported",
            f"The model's architecture, {architecture[:80] or 'which its config.json does not name'}, is not one that "
            "llama.cpp's converter knows.",
            "Choose the folder of the model that the adapter was trained on.",
        )


async def convert_adapter(
    converter: Converter,
    folder: Path,
    base: Path,
    target: Path,
    heard: Heard,
    *,
    out_type: str = "f16",
    log: Callable[[str], None] | None = None,
) -> Converted:
    """Write `target`. `base`: a folder with the model's config.json; `out_type` "f32", "f16", "bf16" or "q8_0".

    Raises `SlmDeskError`: as `examine_adapter`, `check_base`, `Toolchains.ensure` and `convert.decode`.
    """
    folder, base, target = await asyncio.to_thread(
        lambda: (folder.absolute(), base.absolute(), target.absolute())
    )
    adapter = await asyncio.to_thread(examine_adapter, folder)
    await asyncio.to_thread(check_base, base, await converter.supported())
    await asyncio.to_thread(check_space, target, adapter.converted_bytes(out_type))
    toolchain = await converter.toolchain(heard, log)
    weights = folder / "adapter_model.safetensors"
    await asyncio.to_thread(check_finite, {weights: adapter.header}, lambda _: None, lambda: False)
    before = await asyncio.to_thread(_stamp, weights)
    partial = target.with_name(target.name + ".partial")
    options = ["--base", str(base), "--outtype", out_type, "--outfile", str(partial), str(folder)]

    def complete() -> None:
        """The last before it gets its name: nothing was changed meanwhile, and alpha is what the training meant."""
        if _stamp(weights) != before:
            raise SlmDeskError(
                "source_changed",
                f"{folder.name} was changed while it was being converted.",
                "Start again when nothing writes to it any more.",
            )
        _set_alpha(partial, adapter)
        read_adapter(partial)

    size = await run_converter(
        toolchain,
        [str(toolchain.source / SCRIPT), *options],
        partial,
        target,
        len(adapter.header.tensors) // 2,
        heard,
        log,
        unchanged=complete,
    )
    return Converted(target, size, out_type, ())


def _set_alpha(path: Path, adapter: PeftFolder) -> None:
    """The script writes lora_alpha as it stands, also where the scale is alpha / √rank (rsLoRA); then it is mended."""
    header = read_header(path)
    if header.metadata.get("adapter.lora.alpha") == adapter.alpha:
        return
    with path.open("r+b") as file:
        at = (
            file.read(header.data_offset).index(_ALPHA) + len(_ALPHA) + 4
        )  # behind the key stands the value's type
        file.seek(at)
        file.write(struct.pack("<f", adapter.alpha))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SlmDeskError(
            "source_missing", f"{path} is not there any more.", "Check that its disk is connected."
        ) from error
    return status.st_size, status.st_mtime_ns
