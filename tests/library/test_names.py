"""What names tell."""

from pathlib import PurePosixPath

import pytest

from slmdesk.library.names import model_of, quant_in, split_part


@pytest.mark.parametrize(
    ("stem", "quant"),
    [
        ("Qwen3-0.6B-Q4_K_M", "Q4_K_M"),
        ("qwen2.5-1.5b-instruct-q4_k_m", "Q4_K_M"),
        ("model.Q8_0", "Q8_0"),
        ("gemma-3-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("Llama-3.2-1B-IQ4_XS", "IQ4_XS"),
        ("bitnet-TQ2_0", "TQ2_0"),
        ("gpt-oss-20b-mxfp4", "MXFP4"),
        ("phi-fp16", "F16"),
        ("phi-bf16", "BF16"),
        ("Q4_0-of-my-life-F32", "F32"),
        ("FAQ4_0", ""),
        ("model", ""),
    ],
)
def test_quants(stem: str, quant: str) -> None:
    assert quant_in(stem) == quant


def test_parts() -> None:
    assert split_part("big-Q4_K_M-00002-of-00010") == ("big-Q4_K_M", 2, 10)
    assert split_part("big-2-of-10") is None
    assert split_part("big") is None


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("Qwen/Qwen3/x.gguf", ("Qwen", "Qwen3")),
        ("Qwen/Qwen3/deep/er/x.gguf", ("Qwen", "Qwen3")),
        ("folder/x.gguf", ("local", "folder")),
        ("my-model-Q4_K_M.gguf", ("local", "my-model")),
        ("my-model-Q4_K_M-00001-of-00002.gguf", ("local", "my-model")),
        ("Q4_K_M.gguf", ("local", "Q4_K_M")),
    ],
)
def test_models(path: str, model: tuple[str, str]) -> None:
    assert model_of(PurePosixPath(path).parts) == model
