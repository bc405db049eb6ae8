"""Folders are converted by llama.cpp’s own converter, and what comes out answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_kinds import RunningJob
from slmdesk.core.jobs.job_store import JobStore
from slmdesk.core.paths import Paths
from slmdesk.core.space import Space
from slmdesk.formats import gguf, safetensors
from slmdesk.quantize.convert import Converter, architectures
from slmdesk.quantize.host import run_child
from slmdesk.quantize.job import QuantizeKind
from slmdesk.quantize.protocol import CheckSpec, ForecastSpec, QuantizeSpec
from slmdesk.quantize.request import Request
from slmdesk.schema import MIGRATIONS
from tests.quantize.bpe_tokenizer import write_tokenizer
from tests.quantize.random_models import made_by_transformers
from tests.quantize.weights_file import write_weights

SHIPPED = Paths.resolve({}).resources / "toolchains"
KNOWN = frozenset((SHIPPED / "convert-architectures.txt").read_text(encoding="utf-8").split())
DESK_GUIDE = Paths.resolve({}).resources / "desk-guide"


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_the_built_in_model_is_converted(
    converter: Converter, tmp_path: Path, desk_guide: Path
) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in DESK_GUIDE.iterdir()}
    told: list[float] = []
    done = await converter.convert(
        DESK_GUIDE,
        tmp_path / "guide.gguf",
        lambda a, b, _: told.append(a / b),
        out_type="f16",
        name="Desk Guide",
    )
    made, ours = gguf.read_header(done.path), gguf.read_header(desk_guide)
    assert [(t.name, t.shape, t.type.name) for t in made.tensors] == [
        (t.name, t.shape, t.type.name) for t in ours.tensors
    ]
    assert made.chat_template == ours.chat_template
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert {file.name: file.stat().st_mtime_ns for file in DESK_GUIDE.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["guide.gguf"]
    source = converter._toolchains.get("convert").source
    assert architectures(source / "conversion" / "__init__.py") == KNOWN


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_folder_that_lacks_a_tensor_is_told_when_its_file_is_loaded(
    converter: Converter, tmp_path: Path, paths: Paths
) -> None:
    """The converter writes what it finds; a quant of it would be blamed on the disk."""
    lacking, name = tmp_path / "lacking", "model.layers.1.mlp.up_proj.weight"
    lacking.mkdir()
    for file in DESK_GUIDE.glob("*.json"):
        (lacking / file.name).write_bytes(file.read_bytes())
    (lacking / "tokenizer.model").write_bytes((DESK_GUIDE / "tokenizer.model").read_bytes())
    header = safetensors.read_header(DESK_GUIDE / "model.safetensors")
    data = (DESK_GUIDE / "model.safetensors").read_bytes()[header.data_offset :]
    kept = {t.name: (t.type, data[t.start : t.end], list(t.shape)) for t in header.tensors if t.name != name}
    assert len(kept) == len(header.tensors) - 1
    write_weights(lacking / "model.safetensors", kept)

    database = Database(paths.database, MIGRATIONS)
    try:
        store, space = JobStore(database), Space(database)
        request = Request(str(lacking), ("Q8_0",), measure=False)
        job = await store.create(
            "quantize",
            {
                "source": str(lacking),
                "output": str(tmp_path / "out"),
                "name": "lacking",
                "request": request.to_json(),
            },
        )
        kind = QuantizeKind(paths, database, store, space, converter)
        with pytest.raises(SlmDeskError) as caught:
            await kind.run(RunningJob(store, job))
    finally:
        database.close()
    assert caught.value.code == "source_incomplete"
    assert "blk.1.ffn_up.weight" in caught.value.message
    assert "whole folder" in caught.value.hint
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "phi3", "bitnet", "bitnet-older"])
async def test_small_random_models_are_converted_quantized_and_answer(
    converter: Converter, tmp_path: Path, kind: str
) -> None:
    folder = await made_by_transformers(converter, kind, tmp_path / kind)
    # llama.cpp looks for a Phi-3's own tokens in models of such a name.
    done = await converter.convert(
        folder, tmp_path / f"{kind}.gguf", lambda *_: None, name="Small and random"
    )
    header = gguf.read_header(done.path)
    gguf.check(header)
    assert header.architecture == kind.partition("-")[0]
    types = {tensor.name: tensor.type.name for tensor in header.tensors}
    await run_child(CheckSpec([str(done.path)], types))

    for target in ("Q8_0", "Q4_K_M"):
        looked = await run_child(ForecastSpec(str(done.path), [target]))
        forecast = looked["quants"][0]
        assert forecast["fallbacks"] == []  # every row is a multiple of 256
        made = await run_child(QuantizeSpec(str(done.path), str(tmp_path), f"{target}.gguf", target))
        assert made["files"] == [f"{target}.gguf"]
        quant = tmp_path / f"{target}.gguf"
        assert abs(quant.stat().st_size - forecast["bytes"]) <= 0.005 * forecast["bytes"]
        assert quant.stat().st_size < done.bytes / 1.8
        checked = await run_child(CheckSpec([str(quant)], forecast["types"]))
        assert len(checked["tokens"]) == 8
        wanted = {"Q8_0": "Q8_0", "Q4_K_M": "Q4_K"}[target]
        assert forecast["types"]["blk.0.ffn_up.weight"] == wanted


@pytest.fixture(scope="module")
def bpe(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of SmolLM2, which the converter knows."""
    return write_tokenizer(smollm2, tmp_path_factory.mktemp("bpe"))


ARCHITECTURES = {
    "gpt_neox": "gptneox",
    "cohere2": "cohere2",
    "gpt2": "gpt2",
    "qwen2": "qwen2",
    "ernie4_5": "ernie4_5",
    "falcon": "falcon",
    "bloom": "bloom",
    "phi": "phi2",
    "nemotron": "nemotron",
    "exaone4": "exaone4",
    "seed_oss": "seed_oss",
    "arcee": "arcee",
    "smollm3": "smollm3",
    "starcoder2": "starcoder2",
    "stablelm": "stablelm",
    "olmo": "olmo",
    "olmo2": "olmo2",
    "olmoe": "olmoe",
    "granite": "granite",
    "granitemoe": "granitemoe",
    "cohere": "command-r",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "mistral": "llama",
    "mixtral": "llama",
}
WITH_PIECES = {
    "mistral",
    "mixtral",
    "gemma",
    "gemma2",
    "nemotron",
    "ernie4_5",
}  # SentencePiece is all they take


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pieces", [True, False], ids=["sentencepiece", "bpe"])
async def test_each_usual_architecture_is_converted_and_answers(
    converter: Converter, tmp_path: Path, bpe: Path, pieces: bool
) -> None:
    kinds = [kind for kind in ARCHITECTURES if (kind in WITH_PIECES) == pieces]
    tokenizer = DESK_GUIDE / "tokenizer.model" if pieces else bpe
    await made_by_transformers(converter, ",".join(kinds), tmp_path, tokenizer)
    failed = {}
    for kind in kinds:
        try:
            done = await converter.convert(
                tmp_path / kind, tmp_path / f"{kind}.gguf", lambda *_: None, name="Small and random"
            )
            header = gguf.read_header(done.path)
            gguf.check(header)
            types = {tensor.name: tensor.type.name for tensor in header.tensors}
            checked = await run_child(CheckSpec([str(done.path)], types))
        except SlmDeskError as error:
            failed[kind] = f"{error} {error.details[-400:]}"
            continue
        if (header.architecture, len(checked["tokens"])) != (ARCHITECTURES[kind], 8):
            failed[kind] = f"{header.architecture}, {checked}"
    assert not failed


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_bitnet_that_llama_cpp_would_compute_wrongly_is_refused(
    converter: Converter, tmp_path: Path
) -> None:
    folder = await made_by_transformers(converter, "bitnet-relu2", tmp_path / "made")
    with pytest.raises(SlmDeskError) as caught:
        await converter.convert(folder, tmp_path / "x.gguf", lambda *_: None)
    assert caught.value.code == "architecture_unsupported"
    assert "relu2" in caught.value.message


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_conversion_that_is_stopped_leaves_nothing(converter: Converter, tmp_path: Path) -> None:
    heard = asyncio.Event()
    task = asyncio.create_task(
        converter.convert(
            DESK_GUIDE, tmp_path / "guide.gguf", lambda a, *_: heard.set() if a > 0.15 else None
        )
    )
    await heard.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []
