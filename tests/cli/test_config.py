from __future__ import annotations

from slmdesk.core.settings import SETTINGS, settings_table_markdown

from .conftest import Program


def test_all_settings_are_listed_with_their_source(program: Program) -> None:
    result = program.run("config", "--json", env={"SLMDESK_CHAT_TOP_K": "7"}).result
    listed = {setting["key"]: setting for setting in result["settings"]}
    assert set(listed) == {setting.key for setting in SETTINGS}
    assert (listed["chat.top_k"]["value"], listed["chat.top_k"]["source"]) == (7, "environment")
    assert (listed["chat.top_p"]["value"], listed["chat.top_p"]["source"]) == (0.95, "default")
    text = program.run("config").out
    columns = {line.index("default") for line in text.splitlines() if "  default  " in line}
    assert len(columns) == 1  # the table is aligned


def test_a_setting_is_set_shown_and_reset(program: Program) -> None:
    assert program.run("config", "chat.temperature", "0.25", "--json").result["value"] == 0.25
    shown = program.run("config", "chat.temperature", "--json").result
    assert (shown["value"], shown["source"], shown["default"]) == (0.25, "file", 0.8)
    text = program.run("config", "chat.temperature").out
    assert text.startswith("chat.temperature = 0.25\n")
    assert "SLMDESK_CHAT_TEMPERATURE" in text
    assert program.run("config", "chat.temperature", "--reset", "--json").result["source"] == "default"
    assert program.run("config", "engine.gpu_layers", "-1").code == 0
    assert program.run("config", "context_length", "4096", "--json").result["key"] == "engine.context_length"


def test_wrong_values_and_keys_change_nothing(program: Program) -> None:
    for words, code in (
        (("chat.temperature", "9"), "setting_invalid"),
        (("chat.temperature", "warm"), "setting_invalid"),
        (("appearance.theme", "pink"), "setting_invalid"),
        (("chat.temprature",), "setting_unknown"),
        (("chat.temprature", "1"), "setting_unknown"),
    ):
        result = program.run("config", *words, "--json")
        assert (result.code, result.error["code"]) == (1, code)
    assert not (program.home / "config" / "settings.toml").exists()
    human = program.run("config", "chat.temperature", "9")
    assert human.code == 1
    assert human.err.splitlines()[0].startswith("error: ")
    assert "from 0 to 2" in human.err.splitlines()[1]


def test_usage(program: Program) -> None:
    assert program.run("config", "--reset").code == 2
    assert program.run("config", "chat.top_k", "5", "--reset").code == 2


def test_a_damaged_file_is_told_and_defaults_count(program: Program) -> None:
    file = program.home / "config" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[chat\n")
    result = program.run("config", "--json", "chat.top_k")
    assert result.events[0]["event"] == "problem"
    assert result.events[0]["error"]["code"] == "settings_damaged"
    assert result.result["value"] == 40
    assert "settings.toml" in program.run("config", "chat.top_k").err


def test_a_variable_that_hides_the_new_value_is_told(program: Program) -> None:
    result = program.run("config", "chat.top_k", "5", env={"SLMDESK_CHAT_TOP_K": "7"})
    assert result.out == "chat.top_k = 7\n"
    assert "SLMDESK_CHAT_TOP_K" in result.err


def test_the_table_of_the_documentation(program: Program) -> None:
    assert program.run("config", "--table").out == settings_table_markdown()


def test_colours_only_on_a_terminal(program: Program) -> None:
    assert "\x1b" not in program.run("config").out
    assert "\x1b" not in program.run("config", "nonsense").err


def test_a_model_that_is_not_here_is_no_model_for_new_conversations(program: Program) -> None:
    refused = program.run("config", "chat.model", "foo/bar", "--json")
    assert refused.code == 1
    assert refused.error["code"] == "model_not_found"
    assert program.run("config", "chat.model", "--json").result["source"] == "default"
    assert program.run("config", "chat.model", "slmdesk/desk-guide", "--json").result["source"] == "file"
    assert program.run("config", "chat.model", "", "--json").result["value"] == ""
