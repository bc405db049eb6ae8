"""What a model's file recommends counts where a request says nothing."""

from __future__ import annotations

from slmdesk.engines.requests import read_sampling, recommended_sampling

METADATA = {
    "general.sampling.temp": 0.6,
    "general.sampling.top_k": 20,
    "general.sampling.top_p": "high",
    "general.sampling.min_p": True,
    "general.name": "Example",
}


def test_only_numbers_are_taken_from_the_file() -> None:
    assert recommended_sampling(METADATA) == {"temperature": 0.6, "top_k": 20}


def test_a_request_comes_before_the_file_and_the_file_before_the_default() -> None:
    sampling = read_sampling({"temperature": 0.1, "top_k": None}, recommended_sampling(METADATA))
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.1, 20, 0.95)
