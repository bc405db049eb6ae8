"""`slmdesk config --model`: what one model keeps, and what show, fit and chat make of it."""

from __future__ import annotations

from slmdesk.inference.limits import MODEL_SETTINGS

from .conftest import Program

GUIDE = "slmdesk/desk-guide"


def test_a_value_is_kept_shown_and_reset(program: Program) -> None:
    set_ = program.run("config", "--model", GUIDE, "temperature", "0.25", "--json").result
    assert (set_["model"], set_["kept"]) == ("slmdesk/desk-guide:F16", {"temperature": 0.25})
    (entry,) = set_["settings"]
    assert (entry["key"], entry["value"], entry["source"], entry["recommended"]) == (
        "temperature",
        0.25,
        "this model",
        0.0,
    )
    listed = program.run("config", "--model", GUIDE, "--json").result["settings"]
    assert [one["key"] for one in listed] == [setting.key for setting in MODEL_SETTINGS]
    assert program.run("config", "--model", GUIDE, "stop", '["a", "b"]', "--json").result["kept"]["stop"] == [
        "a",
        "b",
    ]
    shown = program.run("show", GUIDE)
    assert "0.25" in shown.out
    assert '["a", "b"]' in shown.out
    values = {one["key"]: one for one in program.run("show", GUIDE, "--json").result["settings"]}
    assert (values["stop"]["value"], values["top_k"]["source"]) == (["a", "b"], "default")
    one = program.run("config", "--model", GUIDE, "chat.temperature", "--reset", "--json").result
    assert (one["kept"], one["settings"][0]["source"]) == ({"stop": ["a", "b"]}, "its publisher")
    assert program.run("config", "--model", GUIDE, "--reset", "--json").result["kept"] == {}


def test_wrong_values_change_nothing(program: Program) -> None:
    for words, code, exit_code in (
        (("temperature", "9"), "setting_invalid", 1),
        (("context_length", "10"), "setting_invalid", 1),
        (("theme", "dark"), "setting_unknown", 1),
        (("--table",), "usage", 2),
        (("temperature", "1", "--reset"), "usage", 2),
    ):
        result = program.run("config", "--model", GUIDE, *words, "--json")
        assert (result.code, result.error["code"]) == (exit_code, code), words
    assert program.run("config", "--model", "no/such", "--json").error["code"] == "model_not_found"
    assert program.run("config", "--model", GUIDE, "--json").result["kept"] == {}


def test_fit_and_chat_honour_what_is_kept_and_the_options_win(program: Program) -> None:
    program.run("config", "--model", GUIDE, "context_length", "512")
    program.run("config", "--model", GUIDE, "cache_type", "q8_0")
    kept = program.run("fit", GUIDE, "--json").result
    asked = program.run("fit", GUIDE, "--context", "1024", "--json").result
    assert (kept["context"], asked["context"]) == (512, 1024)
    program.run("config", "--model", GUIDE, "cache_type", "f16")
    assert program.run("fit", GUIDE, "--json").result["kv_bytes"] > kept["kv_bytes"]
    answer = program.run("chat", GUIDE, "-p", "What is Q4_K_M?", "--max-tokens", "4", "--json").result
    assert answer["context_length"] == 512
    asked = program.run("chat", GUIDE, "-p", "Hi", "--context", "768", "--max-tokens", "4", "--json").result
    assert asked["context_length"] == 768
    program.run("config", "--model", GUIDE, "context_length", "fits")
    assert program.run("fit", GUIDE, "--json").result["context"] == 2048
    program.run("stop")
