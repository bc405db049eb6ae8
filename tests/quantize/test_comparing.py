"""Two models' answers to one prompt, side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.child.comparing import _decoded, first_difference
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import CompareSpec, QuantizeSpec

pytestmark = pytest.mark.timeout(300)


def test_the_first_token_that_differs() -> None:
    assert first_difference([[1, 2, 3], [1, 2, 3]]) is None
    assert first_difference([[1, 2, 3], [1, 5, 3]]) == 1
    assert first_difference([[1, 2], [1, 2, 3]]) == 2
    assert first_difference([[], [7]]) == 0
    assert first_difference([[], []]) is None


def test_a_character_over_two_tokens_is_whole_in_the_second() -> None:
    text, rest = _decoded("é".encode()[:1])
    assert (text, rest) == ("", "é".encode()[:1])
    assert _decoded(rest + "é".encode()[1:]) == ("é", b"")


async def test_answers_of_a_quant_and_its_source(tmp_path: Path, desk_guide: Path) -> None:
    """A quant that is nearly the source says the same; one that is ruined does not."""
    for quant in ("Q8_0", "TQ2_0"):
        await run_child(QuantizeSpec(str(desk_guide), str(tmp_path), f"{quant}.gguf", quant))
    paths = [str(desk_guide), str(tmp_path / "Q8_0.gguf"), str(tmp_path / "TQ2_0.gguf")]
    heard: list[dict[str, object]] = []
    found = await run_child(
        CompareSpec(paths, "What is quantization?", most_tokens=24), on_progress=heard.append
    )
    source, fine, ruined = found["answers"]
    assert [answer["path"] for answer in found["answers"]] == paths
    assert source["text"] == "".join(source["pieces"])
    assert len(source["tokens"]) == len(source["pieces"]) > 3
    assert "<|" not in source["text"]
    assert fine["tokens"][:3] == source["tokens"][:3]
    assert ruined["tokens"] != source["tokens"]
    at = found["differs_at"]
    assert at is not None
    assert len({tuple(answer["tokens"][:at]) for answer in found["answers"]}) == 1
    assert heard
    again = await run_child(CompareSpec([paths[0]] * 2, "What is quantization?", most_tokens=24))
    assert again["differs_at"] is None
    assert again["answers"][0]["tokens"] == source["tokens"]


async def test_prompts_that_cannot_be_answered(desk_guide: Path) -> None:
    for prompt, code in (("  ", "prompt_empty"), ("word " * 20000, "context_exceeded")):
        with pytest.raises(SlmDeskError) as caught:
            await run_child(CompareSpec([str(desk_guide)], prompt))
        assert caught.value.code == code
