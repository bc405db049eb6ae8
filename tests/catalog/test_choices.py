"""Grouping the files of repositories as publishers really lay them out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slmdesk.catalog.choices import Choice, find, group, judged
from slmdesk.hub.repo import RepoFile
from slmdesk.memory.fit import Fit
from slmdesk.memory.forecast import Forecast, verdict

SMALL = ("config.json", "tokenizer.json", "tokenizer_config.json", "README.md", ".gitattributes")
MB = 1_000_000


def files(*names: str, **sizes: int) -> list[RepoFile]:
    return [
        RepoFile(name, 1000 if name in SMALL else sizes.get("each", 100 * MB), f"{n:064x}")
        for n, name in enumerate(names)
    ]


def ids(choices: list[Choice]) -> list[str]:
    return [choice.id for choice in choices]


def test_a_quant_with_all_its_parts_is_one_choice() -> None:
    choices = group(
        [
            *files(
                "README.md", "Big-Q8_0/Big-Q8_0-00001-of-00003.gguf", "Big-Q8_0/Big-Q8_0-00002-of-00003.gguf"
            ),
            *files(
                "Big-Q8_0/Big-Q8_0-00003-of-00003.gguf", "Big-Q4_K_M.gguf", "Q6_K/model-00001-of-00002.gguf"
            ),
            *files("mmproj-F16.gguf", "Big.imatrix", "imatrix_unsloth.gguf"),
        ],
        200_000_000,
    )
    assert ids(choices) == ["Q8_0", "Q4_K_M", "Q6_K", "mmproj-F16"]
    whole, small, torn, projector = choices
    assert (len(whole.files), whole.size_bytes, whole.missing_parts) == (3, 300 * MB, 0)
    assert whole.bits_per_weight == pytest.approx(12.0)
    assert torn.missing_parts == 1
    assert not torn.runs
    assert (projector.kind, projector.runs, projector.bits_per_weight) == ("projector", False, 0.0)
    assert small.imatrix  # there is a matrix in the repository
    assert not whole.imatrix  # which this one has no use for


def test_safetensors_come_with_their_tokenizer_and_once() -> None:
    choices = group(
        files(
            *SMALL,
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
            "model.safetensors.index.json",
            "LICENSE",
            "original/consolidated.00.pth",
        ),
    )
    assert [(c.kind, c.id) for c in choices] == [("safetensors", "safetensors"), ("pickle", "original")]
    assert {f.path for f in choices[0].files} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model-00001-of-00002.safetensors",
        "LICENSE",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }
    assert group(files("config.json", "model.safetensors"), mlx=True)[0].kind == "mlx"


def test_onnx_folders_and_variants() -> None:
    genai = group(
        files(
            "README.md",
            "cpu-int4/genai_config.json",
            "cpu-int4/model.onnx",
            "cpu-int4/model.onnx.data",
            "cpu-int4/tokenizer.json",
            "gpu/fp16/model.onnx",
            "gpu/fp16/genai_config.json",
        ),
    )
    assert {c.id: (len(c.files), c.quant) for c in genai} == {
        "cpu-int4": (4, "int4"),
        "gpu/fp16": (2, "fp16"),
    }
    js = group(
        files(
            "config.json",
            "tokenizer.json",
            "onnx/model.onnx",
            "onnx/model.onnx_data",
            "onnx/model_q4.onnx",
            "onnx/model_q4f16.onnx",
        ),
    )
    assert {c.id: [f.path for f in c.files] for c in js} == {
        "onnx": ["config.json", "onnx/model.onnx", "onnx/model.onnx_data", "tokenizer.json"],
        "onnx-q4": ["config.json", "onnx/model_q4.onnx", "tokenizer.json"],
        "onnx-q4f16": ["config.json", "onnx/model_q4f16.onnx", "tokenizer.json"],
    }


def test_several_models_in_one_repository_keep_apart() -> None:
    choices = group(files("a-1B-Q4_K_M.gguf", "b-7B-Q4_K_M.gguf", "b-7B-Q8_0.gguf", "unnamed.gguf"))
    assert sorted(ids(choices)) == ["Q8_0", "a-1B-Q4_K_M", "b-7B-Q4_K_M", "unnamed"]


def test_pickles_and_flags_are_told() -> None:
    listed = files("config.json", "pytorch_model.bin", "model.safetensors", "training_args.bin")
    choices = group([replace(f, level="unsafe") if f.path == "pytorch_model.bin" else f for f in listed])
    assert [(c.kind, c.level) for c in choices] == [("safetensors", ""), ("pickle", "unsafe")]
    assert {f.path for f in choices[1].files} == {"config.json", "pytorch_model.bin"}


def machine(free: int, choices: list[Choice], parameters: int) -> list[Choice]:
    def fit(choice: Choice) -> Fit:
        total = choice.weights_bytes + 100 * MB
        expected = Forecast(total, choice.weights_bytes, 0, 0, 100 * MB, context=4096, cells=4096)
        return Fit(expected, total, free, verdict(total, free), max_context=4096)

    return judged(choices, fit, parameters=parameters)


def quants(**sizes: int) -> list[Choice]:
    return group([RepoFile(f"m-{name}.gguf", size * MB) for name, size in sizes.items()])


def test_the_best_choice_depends_on_size_and_memory() -> None:
    large = quants(F16=14_000, Q8_0=7500, Q5_K_M=5100, Q4_K_M=4400, Q3_K_M=3500, Q2_K=2800)

    def best(free: int, choices: list[Choice], parameters: int) -> tuple[str, str]:
        return next((one.id, one.reason) for one in machine(free * MB, choices, parameters) if one.best)

    assert best(32_000, large, 7_000_000_000)[0] == "Q4_K_M"
    name, reason = best(4300, large, 7_000_000_000)
    assert (name, "best one that fits" in reason) == ("Q3_K_M", True)
    name, reason = best(3000, large, 7_000_000_000)
    assert (name, "just fits" in reason) == ("Q2_K", True)
    assert best(8000, quants(Q8_0=640, Q4_K_M=400), 600_000_000)[0] == "Q8_0"
    none = machine(2000 * MB, large, 7_000_000_000)
    assert not any(one.best for one in none)
    assert [one.id for one in none if "more memory than is free" in one.reason] == ["Q2_K"]
    assert {one.verdict for one in none} == {"too_big"}


def test_flagged_and_torn_files_are_never_the_best() -> None:
    choices = group(
        [
            RepoFile("m-Q4_K_M.gguf", 100 * MB, "", "unsafe"),
            RepoFile("m-Q5_K_M-00001-of-00002.gguf", 50 * MB),
            RepoFile("m-Q8_0.gguf", 200 * MB),
        ]
    )
    assert [one.id for one in machine(8000 * MB, choices, 3_000_000_000) if one.best] == ["Q8_0"]


def test_finding_what_a_person_means() -> None:
    choices = group(files("m-Q4_K_M.gguf", "m-Q8_0.gguf", "model.safetensors", "mmproj-Q8_0.gguf"))
    meant = [find(choices, text) for text in ("q4_k_m", "m-Q8_0.gguf", "q8_0")]
    assert [choice.id if choice else "" for choice in meant] == ["Q4_K_M", "Q8_0", "Q8_0"]
    assert find(choices, "safe") is not None
    assert find(choices, "Q5") is None
