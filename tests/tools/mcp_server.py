"""A real MCP server for tests, by the `mcp` package: `python mcp_server.py stdio`, or `… http PORT-FILE`."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver import Image

server = MCPServer("Test tools", version="1.2")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two whole numbers."""
    return a + b


@server.tool()
def shout(text: str) -> str:
    """Says it loudly."""
    return text.upper() + "!"


@server.tool()
def environment() -> str:
    """The names and values of the server's environment."""
    return "\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()))


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("the flux is not capacitive")


@server.tool()
def flood(megabytes: int) -> str:
    """A result of so many megabytes."""
    return "x" * (megabytes * 1024 * 1024)


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=b"\x89PNG" * 1000, format="png")


@server.tool()
async def sleep(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return "slept"


@server.tool()
def die() -> str:
    """Ends the server in the middle of the call."""
    print("dying as asked", file=sys.stderr, flush=True)
    os._exit(7)


def main() -> None:
    print("test tools are up", file=sys.stderr, flush=True)
    if sys.argv[1:2] == ["http"]:
        import socket

        import uvicorn

        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        app = server.streamable_http_app()
        if len(sys.argv) > 3:
            app = guarded(app, sys.argv[3])
        config = uvicorn.Config(app, log_level="warning")
        Path(sys.argv[2] + ".new").write_text(str(listening.getsockname()[1]))
        Path(sys.argv[2] + ".new").replace(sys.argv[2])
        uvicorn.Server(config).run(sockets=[listening])
    else:
        server.run("stdio")


def guarded(app, key):
    async def checked(scope, receive, send):
        if (
            scope["type"] == "http"
            and dict(scope["headers"]).get(b"authorization") != f"Bearer {key}".encode()
        ):
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        await app(scope, receive, send)

    return checked


main()
