"""What a model's file recommends counts where a request says nothing."""

from __future__ import annotations

from pathlib import Path

from slmdesk.formats.gguf import read_header
from slmdesk.formats.recommended import recommended_sampling
from slmdesk.serving.defaults import Defaults
from tests.asking import asking

METADATA = {
    "general.sampling.temp": 0.6,
    "general.sampling.top_k": 20,
    "general.sampling.top_p": "high",
    "general.sampling.min_p": True,
    "general.name": "Example",
}


def test_only_numbers_are_taken_from_the_file() -> None:
    assert recommended_sampling(METADATA) == {"temperature": 0.6, "top_k": 20}


def test_a_family_whose_files_say_nothing_is_known_by_its_publishers_page(smollm2: Path) -> None:
    metadata = read_header(smollm2).metadata
    assert recommended_sampling(metadata) == {"temperature": 0.2, "top_p": 0.9}
    own = {**metadata, "general.sampling.temp": 0.4}
    assert recommended_sampling(own) == {"temperature": 0.4, "top_p": 0.9}


def test_a_request_comes_before_the_file_and_the_file_before_the_default() -> None:
    ask = asking(sampling={"temperature": 0.1, "top_k": None})
    sampling = Defaults(recommended=recommended_sampling(METADATA)).fill(ask).sampling
    assert (sampling.temperature, sampling.top_k) == (0.1, 20)
    assert sampling.top_p is None, "what nobody names is the engine's default"
