"""Real servers of tools: by stdio and HTTP, good ones and bad ones."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import process_alive
from slmdesk.tools.selection import ToolSelection
from slmdesk.tools.server import NewServer
from slmdesk.tools.tool import OfferedTool, ToolOutcome
from slmdesk.tools.toolbox import Tools

from .conftest import bad, good


async def by_name(tools: Tools, *names: str) -> dict[str, OfferedTool]:
    return (await tools.offered(await tools.choose(names))).by_name


async def test_a_server_that_is_started(
    tools: Tools, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_of_the_parent")
    application.settings.set("tools.result_characters", 5000)
    await tools.add([good(env={"NOTES_API_KEY": "given-to-this-one"})])
    assert (await tools.servers())[0].health.state == "idle"
    selection = await tools.choose(["good", "calculator"])
    offered = await tools.offered(selection)
    assert offered.problems == ()
    assert offered.by_name["calculator"].server == "built-in"
    add = offered.by_name["add"]
    assert add.parameters["properties"]["a"]["type"] == "integer"
    assert (add.asked_as("add").description, add.key) == ("Adds two whole numbers.", "good/add")

    async def call(name: str, arguments: str = "{}") -> ToolOutcome:
        return await tools.call(offered.by_name[name], arguments, selection)

    assert (await call("add", '{"a": 19, "b": 23}')).text == "42"
    assert (await call("shout", '{"text": "grüß 🦊"}')).text == "GRÜSS 🦊!"
    failed = await call("fail")
    assert failed.failed
    assert "fail" in failed.text
    wrong = await call("add", '{"a": "x"}')
    assert wrong.failed
    assert "add" in wrong.text
    assert (await call("add", "{")).failed
    assert "picture, image/png" in (await call("picture")).text
    environment = (await call("environment")).text
    assert "NOTES_API_KEY=given-to-this-one" in environment
    assert "ghp_of_the_parent" not in environment
    large = await call("flood", '{"megabytes": 2}')
    assert 4900 < len(large.text) <= 5000
    assert large.left_out == 2 * 1024 * 1024 - large.text.count("x")
    both = await asyncio.gather(call("sleep", '{"seconds": 0.2}'), call("add", '{"a": 1, "b": 1}'))
    assert [outcome.text for outcome in both] == ["slept", "2"]

    too_much = await call("flood", '{"megabytes": 100}')
    assert too_much.failed
    assert "more than 8 MB" in too_much.text
    # It was ended, and starts anew when it is wanted.
    assert (await call("add", '{"a": 2, "b": 2}')).text == "4"
    died = await call("die")
    assert died.failed
    assert "status 7" in died.text
    assert "dying as asked" in died.text
    entry = (await tools.servers())[0]
    assert entry.health.state == "failed"
    assert "test tools are up" in await tools.log("good")
    # A file that somebody else changed counts at once.
    await tools.enable("good", False)
    refused = await call("add", '{"a": 2, "b": 2}')
    assert refused.failed
    assert "turned off" in refused.text


async def test_a_server_by_http(tools: Tools, http_server: str) -> None:
    await tools.add([NewServer.reached("far", http_server, {"Authorization": "Bearer open-sesame-42"})])
    entry = await tools.check("far")
    assert (entry.health.state, entry.health.title, entry.health.version) == ("running", "Test tools", "1.2")
    selection = await tools.choose(["far/add"])
    offered = await tools.offered(selection)
    assert list(offered.by_name) == ["add"]
    assert (await tools.call(offered.by_name["add"], '{"a": 1, "b": 2}', selection)).text == "3"
    everything = await tools.choose(["far"])
    names = (await tools.offered(everything)).by_name
    too_much = await tools.call(names["flood"], '{"megabytes": 30}', everything)
    assert too_much.failed
    assert "MB" in too_much.text
    assert (await tools.call(names["add"], '{"a": 5, "b": 2}', everything)).text == "7"

    await tools.add([NewServer.reached("keyless", http_server)])
    with pytest.raises(SlmDeskError) as refused:
        await tools.check("keyless")
    assert refused.value.code == "tool_server_refused"
    assert "wants a key" in refused.value.message
    await tools.add(
        [NewServer.reached("astray", f"{http_server}/no", {"Authorization": "Bearer open-sesame-42"})]
    )
    with pytest.raises(SlmDeskError) as astray:
        await tools.check("astray")
    assert "no MCP server" in astray.value.message


async def test_nobody_answers_there(hasty: Tools) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        await hasty.add([NewServer.reached("closed", f"http://127.0.0.1:{port}/mcp")])
        with pytest.raises(SlmDeskError) as closed:
            await hasty.check("closed")
        assert closed.value.code == "tool_server_unreachable"
        listening.listen()
        await hasty.add([NewServer.reached("mute", f"http://127.0.0.1:{port}/mcp")])
        with pytest.raises(SlmDeskError) as mute:
            await hasty.check("mute")
        assert mute.value.code in {"tool_server_silent", "tool_server_unreachable"}


async def test_offline_reaches_no_other_machine(
    tools: Tools, application: Application, http_server: str
) -> None:
    application.settings.set("network.offline", True)
    await tools.add(
        [
            NewServer.reached("away", "https://mcp.example/mcp"),
            NewServer.reached("here", http_server, {"Authorization": "Bearer open-sesame-42"}),
        ]
    )
    offered = await tools.offered(await tools.choose(["all"]))
    assert "add" in offered.by_name
    assert [problem.code for problem in offered.problems] == ["offline"]


async def test_a_silent_one_is_ended_with_all_it_started(hasty: Tools, tmp_path: Path) -> None:
    told = tmp_path / "pids"
    await hasty.add([bad("silent", str(told))])
    with pytest.raises(SlmDeskError) as silent:
        await hasty.check("silent")
    assert silent.value.code == "tool_server_silent"
    pids = [int(pid) for pid in told.read_text().split()]
    assert len(pids) == 2
    assert not any(process_alive(pid) for pid in pids)


async def test_rubbish_death_and_what_is_not_there(hasty: Tools, tmp_path: Path) -> None:
    nowhere = NewServer.started("nowhere", str(tmp_path / "no-such-program"))
    folder = NewServer.started("folder", "python3", cwd=str(tmp_path / "no-such-folder"))
    await hasty.add([bad("rubbish"), bad("dies"), bad("module"), bad("deep"), nowhere, folder])
    names = ("rubbish", "dies", "module", "deep", "nowhere", "folder")

    async def fault(name: str) -> SlmDeskError:
        with pytest.raises(SlmDeskError) as failed:
            await hasty.check(name)
        return failed.value

    said = dict(zip(names, await asyncio.gather(*map(fault, names)), strict=True))
    assert "wonderful world of rubbish" in said["rubbish"].message
    assert "status 3" in said["dies"].message
    assert "ValueError: no configuration" in said["dies"].message
    assert "cannot be read" in said["deep"].message
    assert "Python package" in said["module"].message
    assert "not on this machine" in said["nowhere"].message
    assert "folder" in said["folder"].message
    offered = await hasty.offered(await hasty.choose(["dies", "calculator"]))
    assert list(offered.by_name) == ["calculator"]
    assert [problem.code for problem in offered.problems] == ["tool_server_failed"]


async def test_calls_that_are_never_answered(hasty: Tools, application: Application) -> None:
    application.settings.set("tools.call_seconds", 1)
    await hasty.add([bad("hang"), bad("endless"), bad("wrong"), bad("greets")])
    selection = await hasty.choose(["hang", "endless", "wrong", "greets"])
    offered = await hasty.offered(selection)
    assert offered.problems == ()
    # Descriptions are cut; schemas that nest too deeply or say too much are left out, and that is told.
    assert sorted({tool.name for tool in offered.by_name.values()}) == ["wait"]
    entries = {entry.server.name: entry for entry in await hasty.servers()}
    assert len(entries["hang"].health.left_out) == 2
    assert all(len(tool.description) <= 4000 for tool in offered.by_name.values())

    async def call(server: str) -> ToolOutcome:
        return await hasty.call(offered.by_name[f"{server}_wait"], "{}", selection)

    hang, endless, wrong, greets = await asyncio.gather(*map(call, ("hang", "endless", "wrong", "greets")))
    assert greets == ToolOutcome("done", seconds=greets.seconds)
    assert hang.failed
    assert "within 1 seconds" in hang.text
    assert endless.failed
    assert "8 MB" in endless.text or "ended" in endless.text
    assert wrong.failed
    # Stopping a call in the middle leaves the server as it was.
    waiting = asyncio.create_task(call("hang"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_unused_one_ends_by_itself(application: Application, tools: Tools) -> None:
    keeping = tools._keeping
    short = Tools(keeping, application.hub, application.settings, idle_s=0.05)
    await short.add([bad("greets")])
    await short.check("greets")
    while _below("tool-server"):
        await asyncio.sleep(0.02)
    assert (await short.servers())[0].health.state == "idle"
    assert (await short.check("greets")).health.state == "running"
    await short.close()
    assert not _below("bad_server")


def _below(word: str) -> bool:
    """Whether a process below this one runs with this word in its command."""
    found = False
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found = found or word in " ".join(child.cmdline())
    return found


async def test_what_a_person_may_choose(tools: Tools, tmp_path: Path) -> None:
    await tools.add([bad("greets")])
    chosen = await tools.choose(["GREETS/wait", "current_time", "built-in"])
    assert chosen.names == ("greets/wait", "built-in/current_time", "built-in")
    with pytest.raises(SlmDeskError) as unknown:
        await tools.choose(["weather"])
    assert unknown.value.code == "tool_unknown"
    assert "calculator" in unknown.value.hint
    with pytest.raises(SlmDeskError, match="no file"):
        await tools.choose([], [str(tmp_path / "none.txt")])
    (tmp_path / "a.txt").write_text("hello")
    files = await tools.choose([], [str(tmp_path / "a.txt")])
    assert list((await tools.offered(files)).by_name) == ["read_file"]
    assert ToolSelection.from_json(files.to_json()) == files
