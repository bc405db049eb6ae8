"""Servers as they are written down: pasted JSON, the file, the keyring."""

from __future__ import annotations

import json

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.tools.kept import ToolKeeping
from slmdesk.tools.server import NewServer, read_pasted
from slmdesk.tools.tool import OfferedTool, cut, named

CLAUDE = """{
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/notes"],
      "env": {"LOG": "1", "API_KEY": "k-123456789"}
    },
    "far": {"url": "https://mcp.example/mcp?key=hidden-77", "headers": {"Authorization": "Bearer b-987654321"}}
  }
}"""
CURSOR = """// what an editor allows
{"mcpServers": {"a": {"type": "streamable-http", "url": "http://localhost:9/mcp", /* off */ "disabled": true,},},}"""
VS_CODE = '{"servers": {"b": {"type": "stdio", "command": "uvx", "args": ["it // is"], "cwd": "~/x"}}, "inputs": []}'


def test_the_usual_json_of_other_programs() -> None:
    files, far = read_pasted(CLAUDE)
    assert (files.server.name, files.server.kind, files.server.command) == ("filesystem", "stdio", "npx")
    assert files.server.args[-1] == "/home/me/notes"
    assert files.env == {"LOG": "1", "API_KEY": "k-123456789"}
    assert (far.server.url, far.query) == ("https://mcp.example/mcp", "key=hidden-77")
    (cursor,) = read_pasted(CURSOR)
    assert (cursor.server.kind, cursor.server.enabled) == ("http", False)
    assert cursor.server.on_this_machine
    assert not far.server.on_this_machine
    (code,) = read_pasted(VS_CODE)
    assert (code.server.args, code.server.cwd) == (("it // is",), "~/x")
    assert read_pasted('"x": {"command": "y"},')[0].server.name == "x"
    bare = read_pasted('{"command": "npx", "args": ["-y", "@a/server-notes@1.2"]}')[0]
    assert bare.server.name == "1.2" or bare.server.name.startswith("server")
    assert read_pasted('{"url": "https://www.example.org/mcp"}')[0].server.name == "example.org"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not written as JSON"),
        ("npx -y something", "not written as JSON"),
        ("[1]", "no object"),
        ("{}", "no server"),
        ('{"mcpServers": {"x": 3}}', "“x”"),
        ('{"mcpServers": {"x": {"args": []}}}', "neither"),
        ('{"mcpServers": {"x": {"command": ["a"]}}}', "“command” is no text"),
        ('{"mcpServers": {"x": {"command": "a", "args": "b"}}}', "“args”"),
        ('{"mcpServers": {"x": {"command": "a", "env": {"A B": "1"}}}}', "environment variable"),
        ('{"mcpServers": {"x": {"command": "a\\u0000b"}}}', "process"),
        ('{"mcpServers": {"x": {"url": "ftp://a"}}}', "address"),
        ('{"mcpServers": {"x": {"url": "https://me:pw@a/mcp"}}}', "login"),
        ('{"mcpServers": {"x": {"url": "http://a.example/mcp", "headers": {"X": "secret"}}}}', "https"),
        ('{"mcpServers": {"x": {"url": "https://a", "headers": {"X": "a\\nb"}}}}', "header"),
        ('{"mcpServers": {"x": {"type": "sse", "url": "https://a/sse"}}}', "SSE"),
        ('{"mcpServers": {"x": {"type": "smoke", "url": "https://a"}}}', "smoke"),
        ('{"mcpServers": {"x": {"command": "a", "env": {"K": "${input:key}"}}}}', "VS Code"),
        ('{"mcpServers": {"built-in": {"command": "a"}}}', "no name"),
        ('{"mcpServers": {"a/b": {"command": "a"}}}', "no name"),
        ("[" * 50_000, "JSON"),
        ('{"mcpServers": "' + "x" * 2_000_000 + '"}', "megabyte"),
    ],
)
def test_what_is_no_server_is_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(SlmDeskError) as refused:
        read_pasted(text)
    assert refused.value.code == "tool_server_invalid"
    assert word in refused.value.message


def test_secrets_go_to_the_keyring_and_nowhere_else(paths: Paths) -> None:
    secrets = Secrets()
    keeping = ToolKeeping(paths.tools, secrets)
    keeping.add(read_pasted(CLAUDE))
    written = paths.tools.read_text()
    for secret in ("k-123456789", "b-987654321", "hidden-77"):
        assert secret not in written
        assert secret not in repr(read_pasted(CLAUDE))
    again = ToolKeeping(paths.tools, secrets)
    files, far = (again.with_values(server) for server in again.read().servers)
    assert files.env["API_KEY"] == "k-123456789"
    assert (far.headers, far.query) == ({"Authorization": "Bearer b-987654321"}, "key=hidden-77")
    with pytest.raises(SlmDeskError, match="not in the keyring"):
        ToolKeeping(paths.tools, Secrets()).with_values(far.server)
    gone = keeping.remove("FAR")
    assert [server.name for server in keeping.read().servers] == ["filesystem"]
    assert not any("far" in name for name in secrets.session_only())
    keeping.add([gone])
    assert keeping.with_values(keeping.read().server("far")).query == "key=hidden-77"


def test_names_are_given_once_and_what_is_allowed_goes_with_the_server(paths: Paths) -> None:
    keeping = ToolKeeping(paths.tools, Secrets())
    one = NewServer.started("one", "true")
    keeping.add([one])
    with pytest.raises(SlmDeskError) as twice:
        keeping.add([NewServer.started("new", "true"), NewServer.started("ONE", "false")])
    assert twice.value.code == "tool_server_exists"
    assert [server.name for server in keeping.read().servers] == ["one"]
    keeping.allow("one/read", True)
    keeping.allow("built-in/calculator", True)
    assert keeping.read().always == ("one/read", "built-in/calculator")
    keeping.add([NewServer.started("one", "false")], replace=True)
    assert keeping.read().always == ("built-in/calculator",)
    keeping.allow("built-in/calculator", False)
    assert keeping.read().always == ()
    with pytest.raises(SlmDeskError) as missing:
        keeping.enable("two", True)
    assert missing.value.code == "tool_server_missing"
    assert "one" in missing.value.hint


def test_a_damaged_file_is_said_and_left_as_it_is(paths: Paths) -> None:
    keeping = ToolKeeping(paths.tools, Secrets())
    for text in ("{", json.dumps({"servers": [{"name": 3}]}), "[]", "\x00"):
        paths.tools.write_text(text)
        with pytest.raises(SlmDeskError) as damaged:
            keeping.add([NewServer.started("x", "true")])
        assert damaged.value.code == "tools_damaged"
        assert paths.tools.read_text() == text


def test_each_tool_has_a_name_of_its_own_that_templates_take() -> None:
    made = named(
        (
            OfferedTool("a", "read.file"),
            OfferedTool("b", "read/file"),
            OfferedTool("c", "write"),
            OfferedTool("c", "x" * 200),
            OfferedTool("ö", "läs"),
        )
    )
    assert list(made)[:3] == ["a_read_file", "b_read_file", "write"]
    assert all(0 < len(name) <= 64 and name.isascii() for name in made)
    assert len(made) == 5
    same = named(tuple(OfferedTool("s", "a.b" if number else "a-b".replace("-", "/")) for number in range(3)))
    assert len(same) == 3


def test_a_long_result_keeps_both_ends() -> None:
    assert cut("short", 10) == ("short", 0)
    text, left_out = cut("a" * 700 + "z" * 700, 1000)
    assert len(text) <= 1000
    head, _, tail = text.split("\n")
    assert left_out == 1400 - len(head) - len(tail)
    assert text.startswith("a" * 600)
    assert text.endswith("z" * 300)
    assert f"{left_out} characters left out" in text
    assert cut(text, 1000) == (text, 0)


def test_an_argument_with_a_key_is_pointed_out() -> None:
    assert "api-key" in NewServer.started("x", "npx", ("--api-key=123",)).server.notes[0]
    assert NewServer.started("x", "npx", ("--tokens-max", "3", "/home/me")).server.notes == ()
