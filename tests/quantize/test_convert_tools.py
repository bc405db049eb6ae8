"""Converting by itself: folders, projectors and PEFT adapters; what is refused, and (slow) conversions for real."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths, resources_folder
from slmdesk.formats import safetensors
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.convert import Converter, architectures
from slmdesk.quantize.file_tools.tool_requests import (
    AdapterMergeRequest,
    AdapterRequest,
    ConvertRequest,
    ToolRequest,
)
from slmdesk.quantize.hf_projector import examine_projector, has_projector
from slmdesk.quantize.peft_folder import WEIGHTS, examine_adapter
from tests.quantize.adapters import logits, unpacked
from tests.quantize.random_models import made_by_transformers
from tests.quantize.tool_bench import ToolBench, tool_bench

SHIPPED = resources_folder() / "toolchains"
PROJECTORS = frozenset((SHIPPED / "convert-projectors.txt").read_text("utf-8").split())
DESK_GUIDE = resources_folder() / "desk-guide"
RANK, ALPHA = 4, 6.0


def write_weights(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    names = {"float32": "F32", "float16": "F16"}
    header, data = {}, b""
    for name, values in tensors.items():
        end = len(data) + values.nbytes
        kind = names[str(values.dtype)]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [len(data), end]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def weights_of(path: Path) -> dict[str, NDArray[Any]]:
    kinds = {"F32": "<f4", "F16": "<f2"}
    header = safetensors.read_header(path)
    data = path.read_bytes()[header.data_offset :]
    return {
        t.name: np.frombuffer(data[t.start : t.end], kinds[t.type]).reshape(t.shape) for t in header.tensors
    }


def peft(folder: Path, **config: Any) -> Path:
    """An adapter for some weights of Desk Guide, as PEFT writes it."""
    folder.mkdir(parents=True)
    told = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "base_model_name_or_path": "someone/guide"}
    (folder / "adapter_config.json").write_text(json.dumps({**told, **config}), "utf-8")
    random = np.random.default_rng(3)
    factors = {}
    for name, (rows, columns) in changed().items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        for which, shape in (("A", (RANK, columns)), ("B", (rows, RANK))):
            values = random.standard_normal(shape, dtype=np.float32) * np.float32(0.05)
            factors[f"{stem}.lora_{which}.weight"] = values
    write_weights(folder / WEIGHTS, factors)
    return folder


def changed() -> dict[str, tuple[int, int]]:
    shapes = {t.name: t.shape for t in safetensors.read_header(DESK_GUIDE / "model.safetensors").tensors}
    ends = ("q_proj.weight", "k_proj.weight", "o_proj.weight", "down_proj.weight")
    return {name: (shape[0], shape[1]) for name, shape in shapes.items() if name.endswith(ends)}


async def refused(tools: ToolBench, request: ToolRequest) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        await tools.tools.start(request)
    assert await tools.store.list() == []
    assert caught.value.hint
    return caught.value


def test_an_adapters_folder_is_read(tmp_path: Path) -> None:
    found = examine_adapter(peft(tmp_path / "plain"))
    assert (found.base, found.rank, found.alpha) == ("someone/guide", RANK, ALPHA)
    stable = examine_adapter(peft(tmp_path / "stable", use_rslora=True))
    assert stable.alpha == ALPHA * RANK**0.5  # so that alpha / rank is alpha / √rank


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "only LoRA"),
        ({"use_dora": True}, "DoRA"),
        ({"alpha_pattern": {"q_proj": 8}}, "several values of alpha"),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 8}}, "several ranks"),
        ({"modules_to_save": ["embed_tokens"]}, "embed_tokens"),
    ],
)
def test_what_the_gguf_form_cannot_hold_is_refused(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(SlmDeskError) as caught:
        examine_adapter(peft(tmp_path / "a", **config))
    assert caught.value.code == "adapter_unsuitable"
    assert words in caught.value.message


def test_a_damaged_or_pickled_adapter_is_refused(tmp_path: Path) -> None:
    folder = peft(tmp_path / "a", r=0)
    with pytest.raises(SlmDeskError, match="r is no number"):
        examine_adapter(folder)
    pickled = peft(tmp_path / "b")
    (pickled / WEIGHTS).rename(pickled / "adapter_model.bin")
    with pytest.raises(SlmDeskError, match="pickled"):
        examine_adapter(pickled)
    (pickled / "adapter_model.bin").unlink()
    with pytest.raises(SlmDeskError, match="There is no"):
        examine_adapter(pickled)
    with pytest.raises(SlmDeskError, match="is not there"):
        examine_adapter(tmp_path / "nowhere")


async def test_an_adapters_model_is_looked_for(tools: ToolBench, tmp_path: Path) -> None:
    """Where the adapter says, in the library by its name, or where a person says."""
    folder = peft(tmp_path / "tuned")
    needed = await refused(tools, AdapterRequest(str(folder)))
    assert needed.code == "adapter_base_needed"
    assert "someone/guide" in needed.message
    plan = await tools.tools.plan(AdapterRequest(str(folder), base=str(DESK_GUIDE)))
    assert plan.files[0].path == tools.paths.models / "local" / "tuned" / "tuned-lora-F16.gguf"
    named = peft(tmp_path / "named", base_model_name_or_path=str(DESK_GUIDE))
    assert (await tools.tools.plan(AdapterRequest(str(named)))).facts["rank"] == RANK
    there = tools.paths.models / "someone" / "guide"
    there.mkdir(parents=True)
    for name in ("config.json", "tokenizer.model", "model.safetensors"):
        (there / name).write_bytes((DESK_GUIDE / name).read_bytes())
    tools.library.forget_listing()
    assert (await tools.tools.plan(AdapterRequest(str(folder)))).facts["base"] == "someone/guide"
    assert (await refused(tools, AdapterRequest(str(folder), type="q2_k"))).code == "type_unknown"


def test_a_projector_is_made_of_models_that_see(tmp_path: Path) -> None:
    seeing = {"architectures": ["Idefics3ForConditionalGeneration"], "vision_config": {}}
    assert has_projector(seeing, PROJECTORS)
    inner = {"architectures": ["Other"], "vision_config": {"architectures": ["InternVisionModel"]}}
    assert has_projector(inner, PROJECTORS)
    assert not has_projector({"architectures": ["LlamaForCausalLM"]}, PROJECTORS)
    with pytest.raises(SlmDeskError) as caught:
        examine_projector(DESK_GUIDE, PROJECTORS)
    assert caught.value.code == "projector_missing"
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["New"], "vision_config": {}}), "utf-8"
    )
    with pytest.raises(SlmDeskError) as caught:
        examine_projector(tmp_path, PROJECTORS)
    assert caught.value.code == "architecture_unsupported"


async def test_what_rounds_something_away_is_said(tools: ToolBench, tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    for file in DESK_GUIDE.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "tokenizer.model").write_bytes((DESK_GUIDE / "tokenizer.model").read_bytes())
    wide = {n: v.astype(np.float32) for n, v in weights_of(DESK_GUIDE / "model.safetensors").items()}
    write_weights(folder / "model.safetensors", wide)
    full = await tools.tools.plan(ConvertRequest(str(folder)))
    assert (full.facts["type"], full.warnings) == ("f32", ())
    small = await tools.tools.plan(ConvertRequest(str(folder), "q8_0"))
    assert "rounded away" in small.warnings[0]
    assert small.bytes < full.bytes / 3
    assert (await refused(tools, ConvertRequest(str(folder), "q2_k"))).code == "type_unknown"
    assert (await refused(tools, ConvertRequest(str(folder), projector=True))).code == "projector_missing"


@pytest.fixture
def converting(paths: Paths, converter: Converter, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToolBench]:
    """With the real toolchain."""
    bench = tool_bench(paths, monkeypatch)
    bench.converter = converter
    yield bench
    bench.database.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_folder_becomes_a_file_of_each_type(converting: ToolBench, desk_guide: Path) -> None:
    for kind, most in (("f32", "F32"), ("f16", "F16"), ("bf16", "BF16"), ("q8_0", "Q8_0")):
        request = ConvertRequest(str(DESK_GUIDE), kind)
        plan = await converting.tools.plan(request)
        job = await converting.done(request)
        assert job.result is not None
        path = Path(job.result["path"])
        assert path.name == f"desk-guide-{most}.gguf"
        header = read_header(path)
        assert header.quant == most
        assert len(header.tensors) == len(read_header(desk_guide).tensors)
        assert path.stat().st_size == pytest.approx(plan.bytes, rel=0.01)
    source = (await converting.converter.toolchain(lambda *_: None, None)).source  # type: ignore[union-attr]
    assert architectures(source / "conversion" / "__init__.py", "MMPROJ_MODEL_MAP") == PROJECTORS
    listed = {m.id: m for m in await converting.library.models()}["local/desk-guide"]
    assert {file.quant for file in listed.files} == {"F32", "F16", "BF16", "Q8_0"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_model_that_sees_becomes_a_model_and_a_projector(
    converting: ToolBench, converter: Converter, tmp_path: Path
) -> None:
    folder = await made_by_transformers(converter, "idefics3", tmp_path / "seeing")
    assert await converting.tools.has_projector(folder)
    assert not await converting.tools.has_projector(DESK_GUIDE)
    model = await converting.done(ConvertRequest(str(folder), "f32"))
    projector = await converting.done(ConvertRequest(str(folder), "f16", projector=True))
    assert model.result is not None
    assert projector.result is not None
    path = Path(projector.result["path"])
    assert path.name == "mmproj-seeing-F16.gguf"
    header = read_header(path)
    assert (header.kind, header.architecture) == ("mmproj", "clip")
    assert header.metadata["clip.vision.block_count"] == 2
    assert {t.name.split(".")[0] for t in header.tensors} == {"mm", "v"}
    assert header.metadata["clip.vision.projection_dim"] == 256
    assert path.stat().st_size == pytest.approx(projector.result["forecast_bytes"], rel=0.2)
    text = read_header(Path(model.result["path"]))
    assert not any(t.name.startswith(("v.", "mm.")) for t in text.tensors)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stable", [False, True])
async def test_a_peft_adapter_merged_is_the_model_that_was_trained(
    converting: ToolBench, tmp_path: Path, stable: bool
) -> None:
    """W + scale·B·A in the publisher's own layout, converted, is what the converted adapter makes of the converted
    model: rows of queries and keys change their places on the way."""
    full, trained = tmp_path / "full", tmp_path / "trained"
    for folder in (full, trained):
        folder.mkdir()
        for file in (*DESK_GUIDE.glob("*.json"), DESK_GUIDE / "tokenizer.model"):
            (folder / file.name).write_bytes(file.read_bytes())
    adapter = peft(tmp_path / "tuned", **({"use_rslora": True} if stable else {}))
    factors = weights_of(adapter / WEIGHTS)
    weights = {n: v.astype(np.float32) for n, v in weights_of(DESK_GUIDE / "model.safetensors").items()}
    write_weights(full / "model.safetensors", weights)
    scale = np.float32(ALPHA / (RANK**0.5 if stable else RANK))
    for name in changed():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        weights[name] = weights[name] + scale * (
            factors[f"{stem}.lora_B.weight"] @ factors[f"{stem}.lora_A.weight"]
        )
    write_weights(trained / "model.safetensors", weights)

    made = {}
    for folder in (full, trained):
        job = await converting.done(ConvertRequest(str(folder), "f32"))
        assert job.result is not None
        made[folder.name] = Path(job.result["path"])
    job = await converting.done(AdapterRequest(str(adapter), base=str(full), type="f32"))
    assert job.result is not None
    assert (job.result["weights"], job.result["ranks"]) == (len(changed()), [RANK])
    lora = Path(job.result["path"])
    merged = await converting.done(AdapterMergeRequest(str(made["full"]), ((str(lora), 1.0),), "F32"))
    assert merged.result is not None
    path = Path(merged.result["path"])
    ours, theirs = unpacked(path), unpacked(made["trained"])
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6)
    beside = logits(made["full"], tmp_path / "beside.npy", (lora, 1.0))
    inside = logits(path, tmp_path / "inside.npy")
    assert float(np.abs(inside - beside).max()) < 1e-4 * float(np.abs(beside).max())


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_folder_that_lacks_a_tensor_becomes_no_file(converting: ToolBench, tmp_path: Path) -> None:
    lacking, name = tmp_path / "lacking", "model.layers.1.mlp.up_proj.weight"
    lacking.mkdir()
    for file in (*DESK_GUIDE.glob("*.json"), DESK_GUIDE / "tokenizer.model"):
        (lacking / file.name).write_bytes(file.read_bytes())
    weights = weights_of(DESK_GUIDE / "model.safetensors")
    write_weights(lacking / "model.safetensors", {n: v for n, v in weights.items() if n != name})
    out = tmp_path / "out"
    job = await converting.work(await converting.tools.start(ConvertRequest(str(lacking), output=str(out))))
    assert job.error is not None
    assert job.error.code == "source_incomplete"
    assert "blk.1.ffn_up.weight" in job.error.message
    assert list(out.iterdir()) == []
