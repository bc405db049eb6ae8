"""The settings' table, their precedence, and what happens to wrong values."""

import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.settings import SETTINGS, Setting, Settings, find_setting, groups, settings_table_markdown


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "settings.toml"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, "utf-8")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_declarations_are_whole(setting: Setting) -> None:
    assert setting.validate(setting.default) == setting.default
    assert type(setting.default) is setting.type
    table, name = setting.key.split(".")
    assert table
    assert name
    assert setting.title
    assert not setting.title.endswith(".")
    assert setting.help.endswith(".")
    assert setting.help[0].isupper()
    if setting.type in {int, float}:
        assert setting.minimum is not None
        assert setting.maximum is not None
    if setting.special and setting.type is not str:
        assert setting.minimum in {0, -1}


def test_every_setting_belongs_to_one_group() -> None:
    keys = [setting.key for settings in groups().values() for setting in settings]
    assert sorted(keys) == sorted(setting.key for setting in SETTINGS)
    assert len(set(keys)) == len(keys)
    assert next(iter(groups())) == "Appearance"


def test_precedence(file: Path) -> None:
    settings = Settings(file, {})
    assert (settings.get("chat.top_k"), settings.source("chat.top_k")) == (40, "default")
    write(file, "[chat]\ntop_k = 7\n")
    settings = Settings(file, {})
    assert (settings.get("chat.top_k"), settings.source("chat.top_k")) == (7, "file")
    settings = Settings(file, {"SLMDESK_CHAT_TOP_K": " 9 "})
    assert (settings.get("chat.top_k"), settings.source("chat.top_k")) == (9, "environment")
    assert settings.problems == []


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("network.offline", "Yes", True),
        ("network.offline", "off", False),
        ("engine.gpu_layers", "-1", -1),
        ("chat.temperature", "1", 1.0),
        ("chat.temperature", "0.35", 0.35),
        ("chat.system_prompt", " kept as it is ", " kept as it is "),
        ("appearance.theme", "dark", "dark"),
    ],
)
def test_environment_is_read_by_type(file: Path, key: str, text: str, value: object) -> None:
    settings = Settings(file, {find_setting(key).variable: text})
    assert settings.get(key) == value
    assert type(settings.get(key)) is type(value)


WRONG = [
    ("chat.temperature", "warm"),
    ("chat.temperature", "nan"),
    ("chat.temperature", "2.1"),
    ("chat.top_k", "1.5"),
    ("chat.top_k", "-1"),
    ("chat.top_k", ""),
    ("chat.top_k", "9" * 5000),
    ("network.offline", "maybe"),
    ("appearance.theme", "Dark"),
    ("chat.model", "a\0b"),
]


@pytest.mark.parametrize(("key", "text"), WRONG)
def test_wrong_environment_is_reported_and_defaulted(file: Path, key: str, text: str) -> None:
    variable = find_setting(key).variable
    settings = Settings(file, {variable: text})
    assert settings.get(key) == find_setting(key).default
    assert settings.source(key) == "default"
    (problem,) = settings.problems
    assert problem.code == "setting_invalid"
    assert variable in problem.message


@pytest.mark.parametrize(("key", "text"), WRONG)
def test_wrong_values_are_refused_and_change_nothing(file: Path, key: str, text: str) -> None:
    settings = Settings(file, {})
    settings.set("engine.parallel", 2)
    before = file.read_bytes()
    with pytest.raises(SlmDeskError, match="no value for") as caught:
        settings.set(key, text)
    assert caught.value.code == "setting_invalid"
    assert caught.value.hint.startswith(f"{key} takes ")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "toml", ["top_k = '40'", "top_k = true", "top_k = 1.0", "top_k = -1", "top_k = []", "top_k = {a = 1}"]
)
def test_wrong_type_in_the_file_is_reported_and_defaulted(file: Path, toml: str) -> None:
    write(file, f"[chat]\n{toml}\ntop_p = 0.5\n")
    settings = Settings(file, {})
    assert settings.get("chat.top_k") == 40
    assert settings.get("chat.top_p") == 0.5
    (problem,) = settings.problems
    assert problem.code == "setting_invalid"
    assert "chat.top_k" in problem.message
    assert str(file) in problem.message


def test_unknown_keys_are_kept_and_reported(file: Path) -> None:
    write(file, 'colour = "red"\n[chat]\ntop_k = 7\nfuture = [1, 2]\n[plugin.deep]\nx = 1\n')
    settings = Settings(file, {})
    assert sorted(problem.code for problem in settings.problems) == ["setting_unknown"] * 3
    settings.set("chat.top_k", 8)
    assert tomllib.loads(file.read_text()) == {
        "colour": "red",
        "chat": {"top_k": 8, "future": [1, 2]},
        "plugin": {"deep": {"x": 1}},
    }


def test_alias_counts_in_file_environment_and_get(file: Path) -> None:
    write(file, "context_length = 4096\n")
    settings = Settings(file, {})
    assert settings.get("engine.context_length") == settings.get("context_length") == 4096
    assert Settings(file, {"SLMDESK_CONTEXT_LENGTH": "512"}).get("engine.context_length") == 512
    settings.set("context_length", 1024)
    assert tomllib.loads(file.read_text()) == {"engine": {"context_length": 1024}}
    settings.reset("context_length")
    assert settings.get("context_length") == 0


def test_the_key_wins_over_its_alias(file: Path) -> None:
    for text in ("context_length = 1\n[engine]\ncontext_length = 2\n", "[engine]\ncontext_length = 2\n"):
        write(file, text)
        assert Settings(file, {}).get("context_length") == 2


def test_set_and_reset_tell_subscribers_the_value_in_force(file: Path) -> None:
    settings = Settings(file, {"SLMDESK_CHAT_TOP_K": "3"})
    heard: list[tuple[str, object]] = []
    unsubscribe = settings.subscribe(lambda key, value: heard.append((key, value)))
    assert settings.set("chat.temperature", "1.5") == 1.5
    settings.set("chat.temperature", 1.5)
    settings.set("chat.top_k", 5)
    settings.reset("chat.temperature")
    assert heard == [("chat.temperature", 1.5), ("chat.temperature", 0.8)]
    assert settings.get("chat.top_k") == 3
    assert Settings(file, {}).get("chat.top_k") == 5
    unsubscribe()
    unsubscribe()
    settings.set("chat.temperature", 1.0)
    assert len(heard) == 2


def test_two_programs_do_not_undo_each_other(file: Path) -> None:
    window, command_line = Settings(file, {}), Settings(file, {})
    window.load()
    command_line.set("chat.top_k", 5)
    window.set("chat.top_p", 0.5)
    assert tomllib.loads(file.read_text()) == {"chat": {"top_k": 5, "top_p": 0.5}}
    assert window.get("chat.top_k") == 5


def test_unknown_setting_names_the_nearest(file: Path) -> None:
    with pytest.raises(SlmDeskError) as caught:
        Settings(file, {}).get("chat.temprature")
    assert caught.value.code == "setting_unknown"
    assert "chat.temperature" in caught.value.hint


@pytest.mark.parametrize("content", [b"[chat\ntop_k = ", b"\xff\xfe\x00", b"a = " + b"[" * 5000])
def test_damaged_file_is_reported_and_kept_aside(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    settings = Settings(file, {})
    assert settings.get("chat.top_k") == 40
    (problem,) = settings.problems
    assert problem.code == "settings_damaged"
    settings.set("chat.top_k", 5)
    assert settings.problems == []
    (kept,) = file.parent.glob("settings.toml.damaged-*")
    assert kept.read_bytes() == content
    assert tomllib.loads(file.read_text()) == {"chat": {"top_k": 5}}


def test_a_folder_in_the_files_place(file: Path) -> None:
    file.mkdir(parents=True)
    settings = Settings(file, {})
    assert settings.get("chat.top_k") == 40
    assert settings.problems[0].code == "settings_unreadable"
    with pytest.raises(SlmDeskError) as caught:
        settings.set("chat.top_k", 5)
    assert caught.value.code == "settings_unreadable"
    assert settings.get("chat.top_k") == 40


def test_writing_leaves_no_partial_file(file: Path) -> None:
    settings = Settings(file, {})
    for n in range(20):
        settings.set("chat.top_k", n)
    assert [entry.name for entry in file.parent.iterdir()] == ["settings.toml"]
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 in {0o044, 0o000, 0o040, 0o064}


def test_documentation_holds_every_setting_once() -> None:
    table = settings_table_markdown()
    for setting in SETTINGS:
        assert table.count(f"| `{setting.key}`<br>`{setting.variable}` |") == 1
        assert setting.help in table
    for title in groups():
        assert f"### {title}\n" in table
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == len(SETTINGS)
    assert all(row.count(" | ") == 3 for row in rows)
    assert "`0` (automatic)" in table
    assert "`-1` (as many as fit)" in table


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_a_certificate_file_that_is_none_is_refused_when_it_is_set(
    file: Path, tmp_path: Path, kind: str
) -> None:
    named = {"missing": tmp_path / "nope.pem", "folder": tmp_path, "text": tmp_path / "text.pem"}[kind]
    (tmp_path / "text.pem").write_text("no certificate", "utf-8")
    settings = Settings(file, {})
    with pytest.raises(SlmDeskError, match=re.escape(str(named))) as caught:
        settings.set("network.ca_file", str(named))
    assert caught.value.code == "setting_invalid"
    assert caught.value.hint
    assert settings.get("network.ca_file") == ""
    assert not file.exists()
    settings.set("network.ca_file", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "[::]", "localhost", "my-machine.local"])
def test_an_address_of_this_machine_is_taken(file: Path, host: str) -> None:
    assert Settings(file, {}).set("service.host", host) == host


@pytest.mark.parametrize(
    "host", ["", "300.1.1.1", "127.0.0", "a b", "http://localhost", "localhost:8080", "-x"]
)
def test_what_is_no_address_is_refused(file: Path, host: str) -> None:
    with pytest.raises(SlmDeskError, match="no value for service"):
        Settings(file, {}).set("service.host", host)


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        (
            "service.allow_origins",
            "https://notes.example  app://obsidian.md https://*.example.org",
            "notes.example",
        ),
        ("service.allow_hosts", "models.example *.home.arpa 192.168.1.5:8765", "models.example *"),
    ],
)
def test_patterns_are_checked_when_they_are_set(file: Path, key: str, right: str, wrong: str) -> None:
    settings = Settings(file, {})
    assert settings.set(key, right) == right
    with pytest.raises(SlmDeskError, match="no value for service"):
        settings.set(key, wrong)
    assert settings.get(key) == right
    assert settings.set(key, "") == ""


@pytest.mark.parametrize("stored", ["slmdesk/desk-guide", "slmdesk/desk-guide:F16"])
def test_a_default_of_an_earlier_version_is_todays_until_it_is_chosen(file: Path, stored: str) -> None:
    file.parent.mkdir()
    file.write_text(f'[chat]\nmodel = "{stored}"\n')
    settings = Settings(file, {})
    assert (settings.get("chat.model"), settings.source("chat.model")) == ("", "default")
    settings.set("chat.top_k", 5)
    assert tomllib.loads(file.read_text()) == {"chat": {"top_k": 5}}
    settings.set("chat.model", stored)  # now it is meant
    later = Settings(file, {})
    assert (later.get("chat.model"), later.source("chat.model"), later.problems) == (stored, "file", [])
    assert (
        Settings(file, {"SLMDESK_CHAT_MODEL": "slmdesk/desk-guide"}).get("chat.model") == "slmdesk/desk-guide"
    )
