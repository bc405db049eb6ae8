"""Small models with random weights as publishers keep them, made by the converter's own toolchain."""

from __future__ import annotations

from pathlib import Path

from slmdesk.core.paths import resources_folder
from slmdesk.quantize.convert import Converter

MAKE = Path(__file__).with_name("make_models.py")
DESK_GUIDE = resources_folder() / "desk-guide"


async def made_by_transformers(
    converter: Converter, kind: str, folder: Path, tokenizer: Path = DESK_GUIDE / "tokenizer.model"
) -> Path:
    """A small random model, as transformers saves it."""
    toolchain = await converter._toolchains.ensure("convert")
    child = await toolchain.start(MAKE, [kind, str(tokenizer), str(folder)])
    await child.stdout.read()
    assert await child.wait() == 0, "\n".join(child.stderr_tail)
    await child.terminate_tree()
    return folder
