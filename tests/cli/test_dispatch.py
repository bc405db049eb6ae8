from __future__ import annotations

import subprocess

import pytest

from slmdesk.cli.main import COMMANDS, has_display

from .conftest import Program


def test_help_names_every_command_and_hides_the_engine(program: Program) -> None:
    result = program.run("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert f"\n  {name}" in result.out
    assert "\n  engine" not in result.out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(program: Program, name: str) -> None:
    result = program.run(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"usage: slmdesk {name}")
    assert "--json" in result.out


def test_a_misspelt_command_is_a_usage_error(program: Program) -> None:
    result = program.run("lst")
    assert (result.code, result.out) == (2, "")
    assert "Did you mean 'list'?" in result.err
    as_json = program.run("lst", "--json")
    assert as_json.code == 2
    assert as_json.error["code"] == "usage"


def test_a_wrong_option_is_a_usage_error(program: Program) -> None:
    result = program.run("--json", "config", "--nonsense")
    assert result.code == 2
    assert result.error["code"] == "usage"
    assert "--nonsense" in result.error["message"]
    assert result.error["hint"].startswith("usage: slmdesk config")


def test_the_version_is_told(program: Program) -> None:
    assert program.run("--version").out.startswith("slmdesk ")
    assert program.run("--version", "--json").result["version"]


def test_without_a_display_the_terminal_chat_starts(program: Program) -> None:
    assert has_display({}, "win32")
    assert has_display({}, "darwin")
    assert has_display({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert not has_display({"DISPLAY": ""}, "linux")
    result = program.run()
    assert result.err.splitlines()[0] == (
        "No display here, so the window cannot open; this is the chat in the terminal."
    )
    # Nothing was piped in, so there is nothing to ask.
    assert result.code == 2
    assert "There is nothing to ask." in result.err


def test_a_home_that_is_a_file_is_said_plainly(program: Program) -> None:
    program.home.write_text("a file")
    result = program.run("config", "--json")
    assert result.code == 1
    assert result.error["code"] == "home_invalid"


def test_a_reader_that_goes_away_ends_the_command_quietly(program: Program) -> None:
    child = subprocess.Popen(
        program.command("config", "--table"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=program.environment(),
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    err = child.stderr.read()
    child.stderr.close()
    assert child.wait(30) == 141
    assert err == b""


def test_importing_the_program_is_light(program: Program) -> None:
    code = (
        "import sys; from slmdesk.application import Application; Application.build();"
        "bad = {'aiohttp', 'keyring', 'llama_cpp', 'PySide6', 'numpy', 'jinja2', 'huggingface_hub'} & set(sys.modules);"
        "sys.exit(f'imported: {bad}' if bad else 0)"
    )
    command = [*program.command()[:2], "-c", code]
    done = subprocess.run(command, env=program.environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
