"""Adapters merged into models: what the merged model computes is what llama.cpp computes with the adapter beside it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header
from slmdesk.library import sidecar
from slmdesk.quantize.adapter_types import AUTO, KEPT
from slmdesk.quantize.file_tools.tool_requests import AdapterMergeRequest, SplitRequest
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import QuantizeSpec
from tests.quantize.adapters import as_f32, logits, unpacked, write_adapter
from tests.quantize.tool_bench import ToolBench

pytestmark = pytest.mark.timeout(300)
CHANGED = [
    *(f"blk.{n}.{part}.weight" for n in range(3) for part in ("attn_q", "attn_v", "ffn_down")),
    "output.weight",
]


@pytest.fixture(scope="module")
def full(desk_guide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Desk Guide in F32: no rounding of weights or of inputs hides what is compared."""
    return as_f32(desk_guide, tmp_path_factory.mktemp("full") / "guide-F32.gguf")


@pytest.fixture(scope="module")
def adapter(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "tuned-lora.gguf", full, CHANGED)


async def merged(tools: ToolBench, model: Path, out: Path, *adapters: tuple[Path, float], kind: str) -> Path:
    request = AdapterMergeRequest(str(model), tuple((str(a), s) for a, s in adapters), kind, str(out))
    plan = await tools.tools.plan(request)
    job = await tools.done(request)
    assert job.result is not None
    assert plan.bytes == job.result["size_bytes"] == out.stat().st_size
    return out


@pytest.mark.slow
async def test_the_merged_model_computes_what_the_adapter_beside_it_does(
    tools: ToolBench, full: Path, adapter: Path, tmp_path: Path
) -> None:
    second = write_adapter(
        tmp_path / "other.gguf", full, ["blk.1.ffn_up.weight", CHANGED[0]], rank=2, alpha=0.0, seed=9
    )
    plain = logits(full, tmp_path / "plain.npy")
    for pairs in ([(adapter, 1.0)], [(adapter, -0.5)], [(adapter, 1.0), (second, 2.0)]):
        beside = logits(full, tmp_path / "beside.npy", *pairs)
        out = await merged(tools, full, tmp_path / f"m{len(pairs)}{pairs[0][1]}.gguf", *pairs, kind="F32")
        inside = logits(out, tmp_path / "inside.npy")
        scale = float(np.abs(plain).max())
        assert float(np.abs(beside - plain).max()) > 0.05 * scale  # the adapter does something
        assert float(np.abs(inside - beside).max()) < 1e-4 * scale


async def test_the_weights_are_the_sum(tools: ToolBench, full: Path, adapter: Path, tmp_path: Path) -> None:
    """W + alpha / rank · B·A, worked out in numpy; everything else byte for byte as it was."""
    out = await merged(tools, full, tmp_path / "m.gguf", (adapter, 2.0), kind="F32")
    before, after, factors = unpacked(full), unpacked(out), unpacked(adapter)
    assert list(before) == list(after)
    for name, values in before.items():
        if name in CHANGED:
            delta = 2.0 * 6.0 / 4 * factors[f"{name}.lora_b"] @ factors[f"{name}.lora_a"]
            np.testing.assert_allclose(after[name], values + delta, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(after[name], values)


@pytest.mark.slow
async def test_adapted_embeddings_have_their_factors_the_other_way_round(
    tools: ToolBench, full: Path, tmp_path: Path
) -> None:
    own = write_adapter(tmp_path / "embd.gguf", full, ["token_embd.weight"], strength=0.3)
    out = await merged(tools, full, tmp_path / "m.gguf", (own, 1.0), kind="F32")
    factors = unpacked(own)
    delta = 6.0 / 4 * factors["token_embd.weight.lora_a"] @ factors["token_embd.weight.lora_b"].T
    np.testing.assert_allclose(
        unpacked(out)["token_embd.weight"], unpacked(full)["token_embd.weight"] + delta, rtol=1e-5, atol=1e-6
    )
    beside, inside = logits(full, tmp_path / "b.npy", (own, 1.0)), logits(out, tmp_path / "i.npy")
    assert float(np.abs(inside - beside).max()) < 1e-4 * float(np.abs(beside).max())


@pytest.mark.slow
async def test_into_a_quantized_model_and_what_that_costs(
    tools: ToolBench, desk_guide: Path, adapter: Path, tmp_path: Path
) -> None:
    await run_child(QuantizeSpec(str(desk_guide), str(tmp_path), "q.gguf", "Q4_K_M"))
    base = tmp_path / "q.gguf"
    types = {t.name: t.type.name for t in read_header(base).tensors}
    beside = logits(base, tmp_path / "b.npy", (adapter, 1.0))

    half = await merged(tools, base, tmp_path / "half.gguf", (adapter, 1.0), kind=AUTO)
    found = {t.name: t.type.name for t in read_header(half).tensors}
    assert {found[name] for name in CHANGED} == {"F16"}
    assert {name: kind for name, kind in found.items() if name not in CHANGED} == {
        name: kind for name, kind in types.items() if name not in CHANGED
    }
    assert read_header(half).metadata["general.file_type"] == 1
    apart = float(np.abs(logits(half, tmp_path / "i.npy") - beside).max()) / float(np.abs(beside).max())
    assert apart < 0.05  # a quantized weight is multiplied with rounded inputs, an F16 one with finer ones

    request = AdapterMergeRequest(str(base), ((str(adapter), 1.0),), KEPT, str(tmp_path / "kept.gguf"))
    plan = await tools.tools.plan(request)
    assert any("rounded to Q4_K_M again" in warning for warning in plan.warnings)
    job = await tools.done(request)
    assert job.result is not None
    kept = tmp_path / "kept.gguf"
    assert {t.name: t.type.name for t in read_header(kept).tensors} == types
    # What the result tells of the cost is what the files say.
    exact, rounded, factors = unpacked(base), unpacked(kept), unpacked(adapter)
    deltas = {n: 6.0 / 4 * factors[f"{n}.lora_b"] @ factors[f"{n}.lora_a"] for n in CHANGED}
    apart_all = np.concatenate([(rounded[n] - exact[n] - deltas[n]).ravel() for n in CHANGED])
    moved = np.concatenate([delta.ravel() for delta in deltas.values()])
    assert job.result["rounding_rms"] == pytest.approx(float(np.sqrt(np.mean(apart_all**2))), rel=1e-3)
    assert job.result["delta_rms"] == pytest.approx(float(np.sqrt(np.mean(moved**2))), rel=1e-3)
    assert "of what the adapter moved them" in job.result["note"]


async def test_a_model_in_parts_is_merged_into_one_file(
    tools: ToolBench, desk_guide: Path, adapter: Path, tmp_path: Path
) -> None:
    parts = await tools.done(SplitRequest(str(desk_guide), max_tensors=15, output=str(tmp_path / "parts")))
    assert parts.result is not None
    one = await merged(tools, desk_guide, tmp_path / "one.gguf", (adapter, 1.0), kind=AUTO)
    first = Path(parts.result["path"])
    two = await merged(tools, first, tmp_path / "two.gguf", (adapter, 1.0), kind=AUTO)
    assert one.read_bytes() == two.read_bytes()


async def test_in_the_library_it_is_a_model_of_its_own(tools: ToolBench, adapter: Path) -> None:
    job = await tools.done(AdapterMergeRequest("slmdesk/desk-guide", ((str(adapter), 1.0),)))
    assert job.result is not None
    path = Path(job.result["path"])
    assert path.name == "desk-guide-tuned-lora-F16.gguf"
    listed = {file.path: file for model in await tools.library.models() for file in model.files}
    assert listed[path].problem is None
    noted = sidecar.read(path.parent)[path.name]
    assert (noted.state, noted.source) == ("verified", "adapter merge")
    assert noted.extra["made"]["changed"] == len(CHANGED)


async def test_what_does_not_belong_together_is_refused(
    tools: ToolBench, full: Path, smollm2: Path, adapter: Path, tmp_path: Path
) -> None:
    async def refused(model: Path, *adapters: Path, kind: str = AUTO) -> SlmDeskError:
        with pytest.raises(SlmDeskError) as caught:
            await tools.tools.start(
                AdapterMergeRequest(str(model), tuple((str(a), 1.0) for a in adapters), kind)
            )
        assert await tools.store.list() == []
        assert caught.value.hint
        return caught.value

    assert (await refused(full)).code == "adapter_missing"
    assert (await refused(full, full)).code == "adapter_unsuitable"
    assert (await refused(full, adapter, kind="Q9")).code == "type_unknown"
    assert (await refused(smollm2, adapter)).code == "adapter_mismatch"
    assert (await refused(adapter, adapter)).code == "source_unsuitable"
    other = write_adapter(tmp_path / "gemma.gguf", full, CHANGED[:1], architecture="gemma3")
    assert "gemma3" in (await refused(full, other)).message
    vector = write_adapter(tmp_path / "v.gguf", full, CHANGED[:1], kind="control_vector")
    assert (await refused(full, vector)).code == "adapter_unsuitable"
    half = tmp_path / "half.gguf"
    reader = gguf.GGUFReader(adapter)
    writer = gguf.GGUFWriter(half, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_tensor(reader.tensors[0].name, np.array(reader.tensors[0].data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert (await refused(full, half)).code == "adapter_unsuitable"
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(adapter.read_bytes()[:-5000])
    assert (await refused(full, cut)).code == "gguf_truncated"
