"""MCP servers that misbehave, in plain Python: `python bad_server.py MODE [FILE]`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MODE = sys.argv[1]
sys.setrecursionlimit(20_000)


def answer(request, result):
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


def serve():
    """A server of the older kind, with one tool."""
    for line in sys.stdin:
        request = json.loads(line)
        match request.get("method"):
            case "initialize":
                told = {"name": "bad", "version": "0"}
                version = request["params"]["protocolVersion"]
                answer(
                    request, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": told}
                )
            case "tools/list":
                deep = {}
                for _ in range(500 if MODE == "deep" else 60):
                    deep = {"properties": {"a": deep}}
                schema = {"type": "object", "properties": {}}
                answer(
                    request,
                    {
                        "tools": [
                            {"name": "wait", "description": "x" * 100_000, "inputSchema": schema},
                            {"name": "deep", "inputSchema": {"type": "object", **deep}},
                            {"name": "vast", "inputSchema": {**schema, "title": "y" * 100_000}},
                        ]
                    },
                )
            case "ping":
                answer(request, {})
            case "tools/call":
                call(request)
            case "server/discover":
                error = {"code": -32601, "message": "no such method"}
                print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}), flush=True)


def call(request):
    if MODE == "hang":
        return
    if MODE == "endless":
        while True:
            sys.stdout.write("x" * 65536)
    if MODE == "wrong":
        answer(request, {"content": [{"type": "text", "text": 42}, "nonsense"]})
        return
    answer(request, {"content": [{"type": "text", "text": "done"}]})


if MODE == "silent":
    # It does not end by itself, and what it started neither.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
    Path(sys.argv[2] + ".new").write_text(f"{os.getpid()} {below.pid}")
    Path(sys.argv[2] + ".new").replace(sys.argv[2])
    time.sleep(600)
elif MODE == "rubbish":
    print("Welcome to the wonderful world of rubbish", flush=True)
    while True:
        sys.stdout.write("\x00\xff{]}" * 1000 + "\n")
        time.sleep(0.01)
elif MODE == "dies":
    print("Traceback: something", file=sys.stderr)
    print("ValueError: no configuration", file=sys.stderr, flush=True)
    sys.exit(3)
elif MODE == "module":
    import no_such_module_anywhere  # noqa: F401
else:
    if MODE == "greets":
        print("*** Server 3000 ready ***", flush=True)
    serve()
