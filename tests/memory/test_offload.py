"""How a model is shared between a GPU and the processor: the sums, the choice of layers, and what a person is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.inference.loading import Loading
from slmdesk.memory.fit import fit
from slmdesk.memory.offload import DeviceRoom, LayerWeights, split
from slmdesk.memory.weights import weights_bytes

MB, GB = 10**6, 10**9
ROOMY = DeviceRoom("GPU0", 100 * GB, 100 * GB)
LOAD = Loading(context_length=2048, parallel=1, threads=2)


@pytest.fixture(scope="module")
def starter(smollm2: Path) -> tuple[Architecture, LayerWeights]:
    header = read_header(smollm2)
    architecture = Architecture.from_gguf(header)
    return architecture, LayerWeights.of(header, architecture)


def test_every_byte_of_the_file_is_somewhere(
    starter: tuple[Architecture, LayerWeights], smollm2: Path
) -> None:
    architecture, weights = starter
    embedding = weights.looked_up
    assert len(weights.layers) == 30
    assert min(weights.layers) > 2 * MB
    # The embedding serves as output too, so a GPU gets a copy of it.
    assert weights.output > embedding > 25 * MB
    header = read_header(smollm2)
    in_file = sum(tensor.nbytes for tensor in header.tensors)
    assert weights.looked_up + sum(weights.layers) + weights.output - embedding == in_file
    about = LayerWeights.about(architecture, weights_bytes(header))
    assert about.looked_up == pytest.approx(embedding, rel=0.2)
    assert sum(about.layers) == pytest.approx(sum(weights.layers), rel=0.2)


def test_with_room_for_all_the_gpu_takes_all(starter: tuple[Architecture, LayerWeights]) -> None:
    architecture, weights = starter
    whole = split(architecture, weights, ROOMY, LOAD)
    assert whole is not None
    assert (whole.layers, whole.of, whole.whole) == (31, 31, True)
    # llama.cpp's own log says of this load: 96.57 + 47.19 + 13.99 MB on the device, 30.08 + 4.50 + 0.99 beside it.
    assert whole.device.weights_bytes == pytest.approx(96.57 * MB, rel=0.002)
    assert whole.device.kv_bytes == pytest.approx(47.19 * MB, rel=0.002)
    assert whole.device.total_bytes == pytest.approx(157.75 * MB, rel=0.05)
    assert whole.processor.weights_bytes == pytest.approx(30.08 * MB, rel=0.002)
    assert whole.processor.kv_bytes == 0
    assert whole.processor.compute_bytes == pytest.approx(5.49 * MB, rel=0.05)


def test_half_of_it(starter: tuple[Architecture, LayerWeights]) -> None:
    architecture, weights = starter
    half = split(architecture, weights, ROOMY, replace(LOAD, gpu_layers=16))
    assert half is not None
    assert half.layers == 16
    # Again as llama.cpp's log has it: 63.33 + 23.59 + 16.56 MB on the device, 23.59 MB of cache beside it.
    assert half.device.total_bytes == pytest.approx(103.48 * MB, rel=0.05)
    assert [
        half.has(name) for name in ("token_embd.weight", "blk.14.ffn_up.weight", "blk.15.ffn_up.weight")
    ] == [
        False,
        False,
        True,
    ]
    assert half.has("output_norm.weight")
    assert half.device.kv_bytes == half.processor.kv_bytes == pytest.approx(23.59 * MB, rel=0.002)


def test_as_many_layers_as_fit_and_not_one_more(starter: tuple[Architecture, LayerWeights]) -> None:
    architecture, weights = starter
    tried = []
    for free in range(260 * MB, 500 * MB, 8 * MB):
        room = DeviceRoom("GPU0", free, GB)
        found = split(architecture, weights, room, LOAD)
        layers = found.layers if found is not None else 0
        if found is not None:
            assert found.device.total_bytes <= room.usable_bytes
        if layers < 31:
            more = split(architecture, weights, ROOMY, replace(LOAD, gpu_layers=layers + 1))
            assert more is not None
            assert more.device.total_bytes > room.usable_bytes
        tried.append(layers)
    assert tried == sorted(tried)
    assert tried[0] == 0
    assert tried[-1] == 31
    assert len(set(tried)) > 10


def test_a_longer_context_leaves_room_for_fewer_layers(starter: tuple[Architecture, LayerWeights]) -> None:
    architecture, weights = starter
    room = DeviceRoom("GPU0", 450 * MB, GB)
    short = split(architecture, weights, room, LOAD)
    long = split(architecture, weights, room, replace(LOAD, context_length=8192))
    exact = split(architecture, weights, room, replace(LOAD, context_length=8192, cache_type="q8_0"))
    assert short is not None
    assert long is not None
    assert exact is not None
    assert long.layers < exact.layers < short.layers == 31


def test_nothing_is_taken_where_nothing_is_asked_for(starter: tuple[Architecture, LayerWeights]) -> None:
    assert split(*starter, ROOMY, replace(LOAD, gpu_layers=0)) is None
    assert split(*starter, DeviceRoom("GPU0", 100 * MB, GB), LOAD) is None


def test_a_model_too_large_for_the_machine_runs_with_a_gpu() -> None:
    """7 GB of weights, 4 GB of free memory: too big for the processor alone, not with 6 GB on the GPU beside it."""
    architecture = Architecture.from_config(
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
        }
    )
    wishes = Loading(context_length=4096, parallel=1)
    alone = fit(architecture, 7 * GB, wishes, available=4 * GB)
    assert alone.verdict == "too_big"
    room = DeviceRoom("GPU0", 6 * GB, 8 * GB)
    beside = fit(architecture, 7 * GB, wishes, available=4 * GB, room=room)
    assert beside.split is not None
    assert 10 < beside.split.layers < 33
    assert beside.verdict in {"fits", "tight"}
    assert beside.memory_bytes == beside.split.processor.total_bytes < 4 * GB
    told = beside.to_json()
    assert told["gpu"]["gpu_layers"] == beside.split.layers
    assert told["gpu"]["device_bytes"] + told["gpu"]["processor_bytes"] == told["total_bytes"]
    assert beside.max_context >= 4096
    none = fit(architecture, 7 * GB, replace(wishes, gpu_layers=0), available=4 * GB, room=room)
    assert (none.split, none.verdict) == (None, "too_big")


def test_a_gpu_that_shares_the_memory_adds_none(starter: tuple[Architecture, LayerWeights]) -> None:
    architecture, weights = starter
    shared = split(
        architecture, weights, DeviceRoom("Apple", 20 * GB, 20 * GB, shared=True), LOAD, available=2 * GB
    )
    assert shared is not None
    assert shared.memory_bytes == shared.device.total_bytes + shared.processor.total_bytes
    found = fit(
        architecture,
        8 * GB,
        Loading(context_length=2048, parallel=1),
        available=4 * GB,
        room=DeviceRoom("Apple", 20 * GB, 20 * GB, shared=True),
    )
    assert found.verdict == "too_big"
    assert found.memory_bytes == found.forecast.total_bytes > 8 * GB
