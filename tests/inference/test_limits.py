"""The table of what sampling and loading take, and the places that are made from it."""

from __future__ import annotations

import json

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.setting_table import find_setting
from slmdesk.engines.llama.sampling import Chain
from slmdesk.inference.asks import ANY_SEED, Sampling
from slmdesk.inference.limits import (
    FITS,
    MODEL_SETTINGS,
    MOST_STOPS,
    SAMPLING,
    check_model_setting,
    find_model_setting,
    in_range,
    limits_in_words,
    parse_model_setting,
)
from slmdesk.inference.model_settings import NAMES, ModelSettings
from slmdesk.serving.dialects import openai
from slmdesk.serving.request_errors import RequestError


def test_every_name_is_a_field_of_what_a_model_keeps_and_of_the_engines_sampling() -> None:
    assert {setting.key for setting in MODEL_SETTINGS} == set(NAMES)
    for setting in SAMPLING:
        assert getattr(Sampling(), setting.key) is None, setting.key
        default = getattr(Chain(), setting.key)
        assert default == (ANY_SEED if setting.key == "seed" else setting.default), setting.key


def test_what_the_program_has_a_setting_of_has_its_limits() -> None:
    for setting in MODEL_SETTINGS:
        for key in setting.aliases:
            program = find_setting(key)
            least = FITS if setting.key == "context_length" else program.minimum
            assert (setting.minimum, setting.maximum, setting.choices) == (
                least,
                program.maximum,
                program.choices,
            )
            assert find_model_setting(key) is setting


@pytest.mark.parametrize("dialect", [openai.CHAT, openai.TEXT])
def test_the_api_takes_what_the_table_says(dialect: openai.OpenAiDialect) -> None:
    def read(key: str, value: float) -> Sampling:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "prompt": "x", key: value}
        return dialect.read(json.dumps(body).encode()).ask.sampling

    for setting in SAMPLING:
        for limit, beyond in ((setting.minimum, -1), (setting.maximum, 1)):
            if limit is None or setting.key in {"seed", "top_k"}:  # -1 means "any" and "all" there
                continue
            assert getattr(read(setting.key, limit), setting.key) == limit
            if (setting.key, beyond) == ("temperature", 1):  # lowered, and said
                assert read("temperature", limit + 1).temperature == limit
                continue
            with pytest.raises(RequestError) as caught:
                read(setting.key, limit + beyond)
            assert caught.value.param == setting.key


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.3", 0.3),
        ("chat.temperature", "1", 1.0),
        ("context_length", "fits", FITS),
        ("context_length", "-1", FITS),
        ("context_length", "4096", 4096),
        ("stop", "<|end|>", ("<|end|>",)),
        ("stop", '["a", "b\\n", "a"]', ("a", "b\n")),
        ("stop", "[INST]", ("[INST]",)),
        ("system_prompt", "", ""),
        ("cache_type", "q8_0", "q8_0"),
        ("seed", "0", 0),
    ],
)
def test_values_are_read_from_text(name: str, text: str, value: object) -> None:
    assert parse_model_setting(name, text) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", True),
        ("context_length", 63),
        ("context_length", -2),
        ("cache_type", "f32"),
        ("top_k", 1.5),
        ("seed", -1),
        ("stop", ["x"] * (MOST_STOPS + 1)),
        ("stop", ["x" * 1001]),
        ("stop", [1]),
        ("system_prompt", "a\0b"),
    ],
)
def test_wrong_values_are_refused_with_what_is_taken(name: str, value: object) -> None:
    with pytest.raises(SlmDeskError) as raised:
        check_model_setting(name, value)
    assert raised.value.code == "setting_invalid"
    assert (
        limits_in_words(name) in raised.value.hint or find_model_setting(name).limits() in raised.value.hint
    )
    assert ModelSettings.from_json({name: value, "top_p": 0.5}) == ModelSettings(top_p=0.5)


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(SlmDeskError) as raised:
        check_model_setting("temprature", 1)
    assert (raised.value.code, "temperature" in raised.value.hint) == ("setting_unknown", True)


def test_only_finite_numbers_within_the_limits_are_in_range() -> None:
    assert in_range(0.5, "top_p")
    assert not any(
        in_range(value, name)
        for name, value in (("top_p", 1.01), ("top_k", 3.0), ("top_p", None), ("min_p", False), ("seed", -1))
    )


def test_values_lie_over_others_and_survive_json() -> None:
    own = ModelSettings(temperature=0.0, stop=("a",), system_prompt="")
    below = ModelSettings(temperature=1.0, top_k=5, stop=("b", "c"))
    both = own.over(below)
    assert both == ModelSettings(temperature=0.0, top_k=5, stop=("a",), system_prompt="")
    assert ModelSettings.from_json(both.to_json()) == both
    assert both.sampling == {"temperature": 0.0, "top_k": 5}
    assert both.changed({"chat.temperature": None, "top_k": 7}) == ModelSettings(
        top_k=7, stop=("a",), system_prompt=""
    )
