"""`bitnet_names.py CONVERTER [arguments…]`: llama.cpp's converter, for a BitNet as transformers saves it.

The converter knows the two inner norms by the names of the first published models; transformers calls them otherwise.
"""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    script = Path(sys.argv[1])
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.parent)
    sys.path.insert(1, str(script.parent / "gguf-py"))
    gguf = import_module("gguf")
    known = gguf.TensorNameMap.block_mappings_cfg
    known[gguf.MODEL_TENSOR.ATTN_SUB_NORM] += ("model.layers.{bid}.self_attn.attn_sub_norm",)
    known[gguf.MODEL_TENSOR.FFN_SUB_NORM] += ("model.layers.{bid}.mlp.ffn_sub_norm",)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
