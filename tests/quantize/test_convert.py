"""What is checked before a folder is converted, and what the converter's failures mean; conversions for real (slow)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.formats import safetensors
from slmdesk.quantize.convert import architectures, decode
from slmdesk.quantize.finite import check_finite
from slmdesk.quantize.hf_folder import INDEX, architecture_of, examine, examine_description
from tests.quantize.weights_file import write_weights

SHIPPED = Paths.resolve({}).resources / "toolchains"
KNOWN = frozenset((SHIPPED / "convert-architectures.txt").read_text(encoding="utf-8").split())
DESK_GUIDE = Paths.resolve({}).resources / "desk-guide"
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def model(folder: Path, config: dict | None = None, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA if config is None else config))
    (folder / "tokenizer.json").write_text("{}")
    ones = np.ones(4, dtype="<f2").tobytes()
    write_weights(
        folder / "model.safetensors", {"a.weight": ("F16", ones, [2, 2]), "b.weight": ("F16", ones, [4])}
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def refused(folder: Path, *, insist: bool = False) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        examine(folder, KNOWN, insist=insist)
    assert caught.value.hint
    return caught.value


def test_the_built_in_models_folder_passes() -> None:
    found = examine(DESK_GUIDE, KNOWN)
    assert found.architecture == "LlamaForCausalLM"
    assert found.warnings == ()
    assert found.bytes == sum(header.data_bytes for header in found.headers.values()) > 1_000_000
    assert found.out_type in {"f16", "bf16", "f32"}
    check_finite(dict(zip(found.files, found.headers.values(), strict=True)), lambda _: None, lambda: False)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").code == "source_missing"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").code == "config_missing"
    folder = model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    assert refused(folder).code == "tokenizer_missing"
    (folder / "tokenizer.model").write_bytes(b"x")
    assert examine(folder, KNOWN).tensors == 2
    (folder / "model.safetensors").unlink()
    assert refused(folder).code == "weights_missing"
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert refused(folder).code == "pickle_refused"


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_damaged_description_is_said(tmp_path: Path, text: bytes) -> None:
    assert refused(model(tmp_path / "m", **{"config.json": text})).code == "config_damaged"


def test_architectures_that_the_converter_does_not_know(tmp_path: Path) -> None:
    error = refused(model(tmp_path / "m", {"architectures": ["NewThingForCausalLM"]}))
    assert error.code == "architecture_unsupported"
    assert "NewThingForCausalLM" in error.message
    assert "mystery" in refused(model(tmp_path / "n", {"model_type": "mystery"})).message
    for name in (
        "LlamaForCausalLM",
        "Qwen3ForCausalLM",
        "Gemma3ForCausalLM",
        "Phi3ForCausalLM",
        "BitNetForCausalLM",
    ):
        assert name in KNOWN
    outer = {"architectures": ["A"], "text_config": {"architectures": ["B"]}}
    assert architecture_of(outer) == "B"


def test_a_bitnet_is_checked_for_what_llama_cpp_computes() -> None:
    names = ["model.safetensors", "tokenizer.json"]

    def examined(name: str, **facts: object) -> tuple[str, ...]:
        return examine_description({"architectures": [name], **facts}, {}, names, KNOWN)

    def told(name: str, **facts: object) -> str:
        with pytest.raises(SlmDeskError) as caught:
            examined(name, **facts)
        assert caught.value.code == "architecture_unsupported"
        return caught.value.message

    assert examined("BitnetForCausalLM") == ()
    assert "relu2" in told("BitNetForCausalLM", tie_word_embeddings=True)
    assert "relu2" in told("BitnetForCausalLM", hidden_act="relu2")
    assert "output layer" in told("BitNetForCausalLM", hidden_act="silu")
    assert examined("BitNetForCausalLM", hidden_act="silu", tie_word_embeddings=True) == ()


def test_parts_must_be_those_of_the_index(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / INDEX).write_text(
        json.dumps({"weight_map": {"a.weight": "model.safetensors", "c.weight": "model-2.safetensors"}})
    )
    error = refused(folder)
    assert (error.code, "model-2.safetensors" in error.message) == ("source_parts_missing", True)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a.weight": "model.safetensors"}}))
    assert refused(folder).code == "safetensors_damaged"  # b.weight is not in the index
    (folder / INDEX).write_text(
        json.dumps({"weight_map": {"a.weight": "model.safetensors", "b.weight": "model.safetensors"}})
    )
    assert examine(folder, KNOWN).tensors == 2
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1])
    assert refused(folder).code == "safetensors_truncated"


def test_code_that_comes_with_a_model_is_refused_unless_insisted(tmp_path: Path) -> None:
    code = {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}}
    folder = model(tmp_path / "m", **{"tokenizer_config.json": json.dumps(code).encode()})
    assert refused(folder).code == "remote_code_refused"
    assert "not run" in examine(folder, KNOWN, insist=True).warnings[0]
    # Code for a model that llama.cpp has its own code for: said, and not needed.
    config = {**LLAMA, "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    assert "not needed" in examine(model(tmp_path / "n", config), KNOWN).warnings[0]
    with pytest.raises(SlmDeskError) as caught:
        examine_description(LLAMA, code, ["model.safetensors", "tokenizer.json"], KNOWN)
    assert caught.value.code == "remote_code_refused"


def test_packed_weights_without_a_word_how(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    write_weights(folder / "model.safetensors", {"a.weight": ("I32", bytes(64), [16])})
    assert refused(folder).code == "weights_type_unsupported"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("F32", np.array([1, np.nan], dtype="<f4").tobytes()),
        ("F16", np.array([1, np.inf], dtype="<f2").tobytes()),
        ("BF16", np.array([0x3F80, 0xFF80], dtype="<u2").tobytes()),
        ("F64", np.array([1, -np.inf], dtype="<f8").tobytes()),
        ("F8_E4M3", bytes([1, 0xFF])),
    ],
)
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, kind: str, values: bytes) -> None:
    path = tmp_path / "model.safetensors"
    good = bytes(len(values))
    write_weights(
        path,
        {
            "good.weight": (kind, good, [2]),
            "bad.weight": (kind, values, [2]),
            "x.masked_bias": (kind, values, [2]),
        },
    )
    with pytest.raises(SlmDeskError) as caught:
        check_finite({path: safetensors.read_header(path)}, lambda _: None, lambda: False)
    assert caught.value.code == "weights_not_finite"
    assert "bad.weight [2]" in caught.value.message
    assert caught.value.details == "bad.weight [2]"


def test_the_converters_failures_become_words() -> None:
    cases = {
        "ERROR:hf-to-gguf:Model NewForCausalLM is not supported": "architecture_unsupported",
        "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()": "tokenizer_unknown",
        "OSError: [Errno 28] No space left on device": "disk_full",
        "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried": "out_of_memory",
        "ModuleNotFoundError: No module named 'sentencepiece'": "toolchain_damaged",
        "ValueError: Can not map tensor 'model.lora_A.weight'": "tensor_unknown",
        "NotImplementedError: Quant method is not yet supported: 'hqq'": "weights_type_unsupported",
        "PermissionError: code from the model's folder is not run": "remote_code_refused",
        "KeyError: 'something'": "convert_failed",
    }
    assert {line: decode(1, ["Traceback", line]).code for line in cases} == cases
    assert decode(-9, []).code == "out_of_memory"


def test_a_failure_is_told_by_its_last_exception_not_by_a_fallbacks() -> None:
    """What the converter writes for a folder with tokenizer.json alone whose text splitter it does not know."""
    said = """INFO:hf-to-gguf:Loading model: m
Loading checkpoint shards:  45%|████▌     | 5/11 [00:03<00:04,  1.41it/s]
Traceback (most recent call last):
  File "conversion/base.py", line 2099, in _create_vocab_sentencepiece
    raise FileNotFoundError(f"File not found: {tokenizer_path}")
FileNotFoundError: File not found: /models/m/tokenizer.model

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "gguf/vocab.py", line 578, in __init__
    raise FileNotFoundError('Cannot find Llama BPE tokenizer')
FileNotFoundError: Cannot find Llama BPE tokenizer

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "conversion/base.py", line 1700, in get_vocab_base_pre
    raise X
{last}
Writing:  45%|████▌     | 5/11 [00:03<00:04,  1.41it/s]"""

    def told(last: str) -> SlmDeskError:
        return decode(1, said.replace("{last}", last).split("\n"))

    unknown = "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()"
    assert told(unknown).code == "tokenizer_unknown"
    assert (
        told("OSError: Can't load tokenizer for '/models/m'. If you were trying").code == "tokenizer_missing"
    )
    error = told("ValueError: Tokenizer class NoTokenizer does not exist or is not currently imported.")
    assert (error.code, "NoTokenizer" in error.message) == ("tokenizer_damaged", True)
    broken = "Exception: data did not match any variant of untagged enum ModelWrapper at line 7 column 3"
    assert told(broken).code == "tokenizer_damaged"
    error = told("KeyError: 'rotary_pct'")
    assert error.message == "The model could not be converted: KeyError: 'rotary_pct'."
    assert "%|" not in error.details


def test_a_bar_of_progress_is_no_reason() -> None:
    lines = ["INFO:hf-to-gguf:Set model parameters", "Writing:  10%|█  | 1.0G/9.9G [00:01<00:09, 1.0Gbyte/s]"]
    assert decode(3, lines).message == "The model could not be converted: the converter ended with 3."
    assert "shards" not in decode(3, [*lines, "Loading shards: 100%|██| 3/3 [00:01<00:00]"]).message


@pytest.mark.parametrize(
    ("packing", "name"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "AWQ"),
        ({"bits": 4, "group_size": 64}, "MLX"),
        ({"quant_method": "HQQ"}, "HQQ"),
    ],
)
def test_weights_packed_by_another_program_are_told_by_its_name(
    tmp_path: Path, packing: dict[str, object], name: str
) -> None:
    error = refused(model(tmp_path / "m", {**LLAMA, "quantization_config": packing}))
    assert error.code == "weights_type_unsupported"
    assert f"packed by {name}," in error.message
    inner = {**LLAMA, "text_config": {"quantization_config": packing}}
    assert refused(model(tmp_path / "n", inner)).message == error.message


def test_packings_that_the_converter_undoes_pass(tmp_path: Path) -> None:
    for method in ("fp8", "gptq", "compressed-tensors", "mxfp4", "bitnet"):
        examine(model(tmp_path / method, {**LLAMA, "quantization_config": {"quant_method": method}}), KNOWN)


def test_the_converters_words_for_a_packing_name_it() -> None:
    for line in (
        "NotImplementedError: Quant method is not yet supported: 'awq'",
        "NotImplementedError: Quant format 'awq' for method 'compressed-tensors' is not yet supported",
    ):
        assert decode(1, [line]).message.endswith("cannot read: awq.")


def test_an_adapter_is_told_as_one_with_its_model(tmp_path: Path) -> None:
    folder = tmp_path / "lora"
    folder.mkdir()
    write_weights(folder / "adapter_model.safetensors", {"a.lora_A.weight": ("F16", bytes(8), [2, 2])})
    assert refused(folder).code == "adapter_alone"
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "maker/base-1B"}')
    error = refused(folder)
    assert error.code == "adapter_alone"
    assert "maker/base-1B" in error.message
    assert "download" not in error.hint.lower()
    # With the base's config.json beside it, it is still none of its own; beside a whole model it is no matter.
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder / "tokenizer.json").write_text("{}")
    assert refused(folder).code == "adapter_alone"
    with pytest.raises(SlmDeskError) as caught:
        examine_description(LLAMA, {}, {"adapter_config.json", "adapter_model.safetensors"}, KNOWN)
    assert caught.value.code == "adapter_alone"
    whole = model(tmp_path / "whole")
    (whole / "adapter_config.json").write_text("{}")
    assert examine(whole, KNOWN).tensors == 2


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("model_index.json", "pictures"),
        ("model-Q4_K_M.gguf", "GGUF"),
        ("genai_config.json", "ONNX"),
        ("params.json", "its maker's own form"),
    ],
)
def test_a_folder_of_another_kind_is_told_as_that(tmp_path: Path, name: str, word: str) -> None:
    (tmp_path / name).write_text("{}")
    error = refused(tmp_path)
    assert error.code == "source_unsuitable"
    assert word in error.message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", b'{"tokenizer_class": 7}'),
        ("tokenizer_config.json", b'{"added_tokens_decoder": []}'),
        ("tokenizer_config.json", b'{"chat_template": 1'),
        ("tokenizer.json", b'{"model": {'),
    ],
)
def test_a_tokenizer_that_is_there_and_damaged_is_not_called_missing(
    tmp_path: Path, name: str, content: bytes
) -> None:
    folder = model(tmp_path / "m")
    (folder / name).write_bytes(content)
    error = refused(folder)
    assert error.code == "config_damaged"
    assert error.message.startswith(f"{name} cannot be read: ")
    assert name in error.hint


def test_the_list_of_architectures_is_read_without_running_it(tmp_path: Path) -> None:
    source = tmp_path / "__init__.py"
    source.write_text('raise SystemExit\nTEXT_MODEL_MAP: dict[str, str] = {"AForCausalLM": "a"}\n')
    assert architectures(source) == {"AForCausalLM"}
    source.write_text("nothing = 1\n")
    with pytest.raises(SlmDeskError) as caught:
        architectures(source)
    assert caught.value.code == "toolchain_damaged"
