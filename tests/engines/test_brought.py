"""What another program brings along with a model: a template of its own, and adapters that change it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from slmdesk.inference.answers import Stop
from slmdesk.inference.loading import ScaledAdapter
from tests.asking import asking

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
