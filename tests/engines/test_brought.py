"""What another program brings along with a model: a template of its own, and adapters that change it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import Delta, Stop, TokenLogprobs
from slmdesk.inference.engines import Engine
from slmdesk.inference.loading import ScaledAdapter
from tests.asking import asking
from tests.quantize.adapters import as_f32, merged, write_adapter

from .conftest import StartEngine
from .test_go_template import CHATML_TURN

Answer = Callable[..., Awaitable[tuple[str, Stop]]]
QUESTION = "What is the capital of France?"
WIDTH, RANK = 576, 8  # of SmolLM2-135M's hidden states


def lora(path: Path, strength: float, architecture: str = "llama") -> Path:
    """An adapter for SmolLM2-135M's first attention; of no strength it changes nothing."""
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for block in range(8):
        down = rng.standard_normal((RANK, WIDTH), np.float32)
        up = rng.standard_normal((WIDTH, RANK), np.float32) * np.float32(strength)
        writer.add_tensor(f"blk.{block}.attn_q.weight.lora_a", down)
        writer.add_tensor(f"blk.{block}.attn_q.weight.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.asyncio(loop_scope="module")
async def test_an_adapter_changes_what_a_model_says(
    start: StartEngine, answer: Answer, smollm2: Path, tmp_path: Path
) -> None:
    texts = []
    for name, strength in (("none", None), ("weak", 0.0), ("strong", 3.0)):
        adapters = (
            () if strength is None else (ScaledAdapter(str(lora(tmp_path / f"{name}.gguf", strength))),)
        )
        engine = await start(smollm2, adapters=adapters, context_length=512)
        assert list(engine.facts.notes) == []
        texts.append((await answer(engine, QUESTION, max_tokens=12))[0])
    assert texts[0] == texts[1]
    assert texts[2] != texts[0]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_adapter_that_does_not_go_with_the_model_is_named_and_the_model_answers(
    start: StartEngine, answer: Answer, smollm2: Path, tmp_path: Path
) -> None:
    other = lora(tmp_path / "other.gguf", 1.0, architecture="qwen2")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(lora(tmp_path / "whole.gguf", 1.0).read_bytes()[:-1000])
    missing, model = tmp_path / "missing.gguf", smollm2
    paths = (other, cut, missing, model)
    engine = await start(
        smollm2, adapters=tuple(ScaledAdapter(str(path)) for path in paths), context_length=512
    )
    notes = list(engine.facts.notes)
    assert [path.name in note for path, note in zip(paths, notes, strict=True)] == [True] * 4
    plain = await start(smollm2, context_length=512)
    assert await said(answer, engine) == await said(answer, plain)


async def scores(engine: Engine) -> list[float]:
    """The log probabilities of a fixed text's tokens."""
    found: list[float] = []
    end: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

    def take(piece: Delta | Stop) -> None:
        if isinstance(piece, Stop):
            end.set_result(piece)
        elif isinstance(piece, TokenLogprobs) and piece.chosen.logprob is not None:
            found.append(piece.chosen.logprob)

    text = "Q4_K_M keeps most of the quality at a third of the size."
    ask = asking("scores", prompt=text, logprobs=1, prompt_logprobs=True, prompt_only=True)
    await engine.submit(ask, take)
    await end
    return found


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scale", [1.0, 0.35, -0.5])
async def test_an_adapter_is_the_same_as_its_product_added_to_the_weights(
    start: StartEngine, desk_guide: Path, tmp_path: Path, scale: float
) -> None:
    names = [f"blk.{block}.{name}.weight" for block in range(2) for name in ("attn_v", "ffn_up", "ffn_down")]
    adapter = write_adapter(tmp_path / "lora.gguf", desk_guide, names, strength=0.15)
    base = as_f32(desk_guide, tmp_path / "base.gguf")
    whole = await start(merged(desk_guide, tmp_path / "merged.gguf", adapter, scale), context_length=256)
    beside = await start(base, adapters=(ScaledAdapter(str(adapter), scale),), context_length=256)
    plain = await start(base, context_length=256)
    expected, without = await scores(whole), await scores(plain)
    assert max(abs(one - other) for one, other in zip(expected, without, strict=True)) > 0.2
    assert await scores(beside) == pytest.approx(expected, abs=0.02)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_adapter_that_is_needed_and_does_not_go_with_the_model_ends_the_load(
    start: StartEngine, desk_guide: Path, smollm2: Path, tmp_path: Path
) -> None:
    other = write_adapter(tmp_path / "other.gguf", smollm2, ["blk.0.attn_q.weight"])
    with pytest.raises(SlmDeskError, match=r"other\.gguf") as refused:
        await start(desk_guide, adapters=(ScaledAdapter(str(other), needed=True),), context_length=256)
    assert refused.value.code == "adapter_unsuitable"


async def said(answer: Answer, engine: Any, question: str = QUESTION) -> str:
    return (await answer(engine, question, max_tokens=8))[0]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_template_that_says_the_same_leaves_the_files_own(
    start: StartEngine, desk_guide: Path
) -> None:
    """Desk Guide's own is ChatML; its template options still count."""
    engine = await start(desk_guide, template=CHATML_TURN)
    plain = await start(desk_guide)
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]
    assert await engine.count(asking(messages=messages)) == await plain.count(asking(messages=messages))
    assert list(engine.facts.notes) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_template_that_says_something_else_counts(start: StartEngine, desk_guide: Path) -> None:
    """A person's own, as in a Modelfile."""
    template = "{{ if .System }}{{ .System }}\n{{ end }}Q: {{ .Prompt }}\nA: {{ .Response }}\n"
    engine = await start(desk_guide, template=template)
    counted = await engine.count(asking(messages=[{"role": "user", "content": "Hello there"}]))
    assert counted == await engine.count(asking(prompt="Q: Hello there\nA: "))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_model_without_a_template_gets_the_one_that_was_brought(
    start: StartEngine, gemma: Path
) -> None:
    template = "<start_of_turn>user\n{{ .Prompt }}<end_of_turn>\n<start_of_turn>model\n{{ .Response }}"
    engine = await start(gemma, template=template, context_length=512)
    assert (engine.facts.has_chat_template, engine.facts.chat_form) == (True, "")
    prompt = "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n"
    asked = [{"role": "user", "content": "Hello"}]
    assert await engine.count(asking(messages=asked)) == await engine.count(asking(prompt=prompt))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("template", ["{{ .Prompt }}{{ printf }}", "{{ .System }}{{ if .Prompt }}{{ end }}"])
async def test_a_template_that_cannot_be_used_is_told(
    start: StartEngine, desk_guide: Path, answer: Answer, template: str
) -> None:
    """One with a function that is not there; one that leaves out every question."""
    engine = await start(desk_guide, template=template)
    (note,) = engine.facts.notes
    assert "its file's own template" in note
    assert await said(answer, engine, "What is Q4_K_M?") == await said(
        answer, await start(desk_guide), "What is Q4_K_M?"
    )
