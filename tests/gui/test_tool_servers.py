"""The servers of tools on the Settings page: added by the form, checked, removed, and that undone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.app import Desk
from slmdesk.gui.settings.tool_servers_card import ToolServersCard
from slmdesk.gui.theme import Theme
from slmdesk.tools.mcp_source import ServerHealth
from slmdesk.tools.server import NewServer
from slmdesk.tools.tool import OfferedTool
from slmdesk.tools.toolbox import ServerEntry
from slmdesk.tools.typed import read_typed

from .conftest import Play, settings_page, until


class Deeds:
    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    def add(self, name: str, what: str, values: str) -> None:
        self.done.append(("add", name, what, values))

    def remove(self, name: str) -> None:
        self.done.append(("remove", name))

    def enable(self, name: str, *, on: bool) -> None:
        self.done.append(("enable", name, on))

    def check(self, name: str) -> None:
        self.done.append(("check", name))

    def ask_again(self, key: str) -> None:
        self.done.append(("ask", key))


SERVER = Path(__file__).parents[1] / "tools" / "bad_server.py"


def test_a_real_one_on_the_page(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

    async def scene(desk: Desk) -> None:
        page = settings_page(desk)
        page.show_tool_servers()
        card = page.tool_servers
        card.open_form()
        card.form.what.setPlainText("{}")
        card.form.add_button.click()
        await until(
            lambda: card.form.what.accessibleDescription().startswith("That is no list"), "what is wrong"
        )
        card.form.name.setText("greeter")
        card.form.what.setPlainText(f"'{sys.executable}' '{SERVER}' greets")
        card.form.add_button.click()
        await until(lambda: "Runs, with 1 tool: wait." in card.rows[0].text.text(), "a server that runs")
        assert card.form.isHidden()
        page.tool_controller.enable("greeter", on=False)
        await until(lambda: card.rows[0].text.text() == "Turned off.", "it is off")
        page.tool_controller.remove("greeter")
        await until(lambda: card.rows[0].title.text() == "None yet", "it is gone")
        await desk.application.tools.allow("built-in/calculator", always=True)
        page.activated()
        await until(lambda: len(card.rows) == 2, "what is allowed")
        page.tool_controller.ask_again("built-in/calculator")
        await until(lambda: len(card.rows) == 1, "it is asked for")
        assert await desk.application.tools.always() == ()

    play(scene)


def test_the_card(fresh_theme: Theme) -> None:
    deeds = Deeds()
    card = ToolServersCard(fresh_theme, deeds)
    assert "None yet" in card.rows[0].title.text()
    server = NewServer.started("notes", "npx", ("-y", "some-notes")).server
    tool = OfferedTool("notes", "search")
    failed = ServerHealth(
        "failed", problem=SlmDeskError("tool_server_failed", "It ended.", "Look."), tail=("x",)
    )
    entries = [
        ServerEntry(server, ServerHealth("running", tools=(tool,))),
        ServerEntry(NewServer.reached("far", "https://mcp.example/mcp").server, failed),
    ]
    card.show_servers(entries, ["built-in/calculator"])
    words = [f"{row.title.text()}: {row.text.text()}" for row in card.rows]
    assert words == [
        "notes: Runs, with 1 tool: search.",
        "far: It ended. Look.",
        "calculator: Is called without asking.",
    ]
    assert card.found_by(["mcp", "notes"])
    assert not card.found_by(["temperature"])
    card.show_checking("far", on=True)
    assert card.rows[1].text.text() == "Starting …"
    card.open_form()
    card.form.what.setPlainText("npx -y x")
    card.form.name.setText("mine")
    card.form.add_button.click()
    assert deeds.done == [("add", "mine", "npx -y x", "")]
    card.form.show_problem(SlmDeskError("tool_server_invalid", "No.", "Yes."))
    assert card.form.what.toPlainText() == "npx -y x"
    card.close_form()
    assert card.form.what.toPlainText() == ""
    card.deleteLater()


def test_what_is_typed_into_the_form() -> None:
    [started] = read_typed(
        "", "npx -y @scope/server-files@1.2 '/home/me/my notes'", "API_KEY=abc=d\n\nLOG: 1"
    )
    assert started.server.name == "npx" or "server" in started.server.name
    assert started.server.args[-1] == "/home/me/my notes"
    assert started.env == {"API_KEY": "abc=d", "LOG": "1"}
    [reached] = read_typed("far", "https://mcp.example/mcp", "Authorization: Bearer x=y")
    assert reached.headers == {"Authorization": "Bearer x=y"}
    [pasted] = read_typed("ignored", '{"mcpServers": {"a": {"command": "b"}}}', "")
    assert pasted.server.name == "a"
    for what, values in (("", ""), ("npx 'open", ""), ("npx", "sk-alone-12345678"), ("{]", "")):
        with pytest.raises(SlmDeskError) as refused:
            read_typed("x", what, values)
        assert "sk-alone" not in str(refused.value)
