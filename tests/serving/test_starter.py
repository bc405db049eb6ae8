"""Other programs and the starter: listed, named by its id, and asked with what its publisher recommends."""

from __future__ import annotations

from pathlib import Path

from slmdesk.library.shipped import STARTER

from .conftest import serve

QUESTION = [
    {"role": "system", "content": "You are a helpful assistant. Answer questions with facts."},
    {"role": "user", "content": "What is the capital of France?"},
]


def test_a_client_finds_and_asks_it(starter: Path, home: Path) -> None:
    with serve(home) as running:
        listed = {entry["id"]: entry for entry in running.ask("GET", "/v1/models").json["data"]}
        assert set(listed) == {"slmdesk/desk-guide", STARTER}
        assert (listed[STARTER]["owned_by"], listed[STARTER]["quant"]) == ("HuggingFaceTB", "Q4_1")
        assert listed[STARTER]["size_bytes"] == starter.stat().st_size
        for model in (STARTER, f"{STARTER}:Q4_1"):
            # No temperature: the recommended one, with which the likeliest words win every time.
            answer = running.chat(model=model, messages=QUESTION, temperature="absent")
            assert answer.status == 200
            assert "Paris" in answer.json["choices"][0]["message"]["content"]
        streamed = running.chat(model=STARTER, messages=QUESTION, stream=True).chunks
        text = "".join(
            chunk["choices"][0]["delta"].get("content", "") for chunk in streamed if chunk["choices"]
        )
        assert "Paris" in text
        # Another model beside it, both loaded: each answers for itself.
        both = running.chat()
        assert "Q4_K_M" in both.json["choices"][0]["message"]["content"]
        assert len(running.status(STARTER)["names"]) >= 1
