"""Run as a process of its own: `adapter_logits.py MODEL OUTPUT [ADAPTER=SCALE]…` writes the logits of a fixed row of
tokens, shape (tokens, vocabulary), computed by llama.cpp with its own loading of adapters."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np

TOKENS = [1, 300, 45, 612, 77, 1033, 2048, 501, 9, 1500, 88, 731, 2222, 340, 18, 950]


def main(model_path: str, output: str, adapters: list[str]) -> None:
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(model_path.encode(), llama.llama_model_default_params())
    assert model
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 64
    parameters.n_threads = parameters.n_threads_batch = 2
    parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.type_k = parameters.type_v = 0  # F32: rounding of the cache would hide what is compared
    context = llama.llama_init_from_model(model, parameters)
    assert context
    loaded, scales = [], []
    for text in adapters:
        path, _, scale = text.rpartition("=")
        adapter = llama.llama_adapter_lora_init(model, path.encode())
        assert adapter, path
        loaded.append(adapter)
        scales.append(float(scale))
    if loaded:
        array = (llama.llama_adapter_lora_p_ctypes * len(loaded))(*loaded)
        values = (ctypes.c_float * len(scales))(*scales)
        assert llama.llama_set_adapters_lora(context, array, len(loaded), values) == 0
    batch = llama.llama_batch_init(len(TOKENS), 0, 1)
    for position, token in enumerate(TOKENS):
        batch.token[position] = token
        batch.pos[position] = position
        batch.n_seq_id[position] = 1
        batch.seq_id[position][0] = 0
        batch.logits[position] = True
    batch.n_tokens = len(TOKENS)
    assert llama.llama_decode(context, batch) == 0
    count = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    rows = [
        np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (count,)).copy()
        for i in range(len(TOKENS))
    ]
    np.save(output, np.stack(rows))


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), sys.argv[2], sys.argv[3:])
