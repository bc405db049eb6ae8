"""Clients that ask, change their mind and lose their engine, for as long as wanted: what ends wrong, what grows?

Eight clients speak four APIs in turn, with prompts and answers of every length, a fifth of them leave in the middle,
and an engine is killed twice. Every stream must end well or with an error that says what happened; memory of service
and engines must stay flat. One JSON line at the end.

    python3 packaging/bootstrap.py uv run python tests/benchmarks/soak.py [--minutes 30] [--clients 8] [--model PATH]…
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil

GUIDE = "slmdesk/desk-guide"
WORDS = "small model quant memory answer token file window service client river bread house water".split()
ENDS = {
    "/v1/chat/completions": b"data: [DONE]",
    "/v1/messages": b"event: message_stop",
    "/v1/responses": b"event: response.",
    "/api/chat": b'"done":true',
}
SAMPLE_S = 2.0


@dataclass
class Soak:
    """What was seen. `memory`: samples of (seconds since the start, bytes resident) for each process."""

    url: str
    models: list[str]
    until: float
    dice: random.Random
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    killed_at: list[float] = field(default_factory=list)

    def body(self, path: str) -> dict[str, Any]:
        """A request of some length."""
        long = self.dice.random() < 0.1
        text = " ".join(
            self.dice.choices(WORDS, k=self.dice.randint(80, 200) if long else self.dice.randint(1, 20))
        )
        most = self.dice.choice([1, 8, 32, 96])
        model = self.dice.choice(self.models)
        if path == "/v1/responses":
            return {"model": model, "input": text, "max_output_tokens": most, "stream": True}
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "stream": True,
        }
        return body | ({"options": {"num_predict": most}} if path == "/api/chat" else {"max_tokens": most})

    async def client(self, session: aiohttp.ClientSession) -> None:
        """Ask until the end."""
        while time.monotonic() < self.until:
            path = self.dice.choice(list(ENDS))
            leaves_after = self.dice.randint(1, 12) if self.dice.random() < 0.2 else 0
            try:
                await self._ask(session, path, leaves_after)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                self.ends["broken"] += 1
                self.wrong.append(f"{path}: {error!r}")

    async def _ask(self, session: aiohttp.ClientSession, path: str, leaves_after: int) -> None:
        async with session.post(self.url + path, json=self.body(path)) as response:
            if response.status != 200:
                error = await response.json()
                self.ends[f"refused {response.status}"] += 1
                if not error.get("error"):
                    self.wrong.append(f"{path}: {response.status} {error}")
                return
            text, pieces = b"", 0
            async for line in response.content:
                text += line
                pieces += bool(line.strip())
                if leaves_after and pieces >= leaves_after:
                    self.ends["left"] += 1
                    response.close()
                    return
        if ENDS[path] in text and b'"error":{' not in text and b"response.failed" not in text:
            self.ends["whole"] += 1
        elif b"error" in text[-2000:]:
            self.ends["ended with an error"] += 1
        else:
            self.ends["cut"] += 1
            self.wrong.append(f"{path}: {text[-300:]!r}")


def _processes(service: psutil.Process) -> dict[str, psutil.Process]:
    """The service and its engines by a name that a new engine does not share."""
    found = {"service": service}
    for child in service.children(recursive=True):
        with suppress(psutil.Error):
            if "engine" in child.cmdline():
                found[f"engine {child.pid}"] = child
    return found


async def _watch(soak: Soak, service: psutil.Process, began: float) -> None:
    while True:
        for name, process in _processes(service).items():
            with suppress(psutil.Error):
                now = time.monotonic() - began
                soak.memory.setdefault(name, []).append((now, process.memory_info().rss))
        await asyncio.sleep(SAMPLE_S)


async def _kill(soak: Soak, service: psutil.Process, began: float, minutes: float) -> None:
    """An engine dies at a sixth and at a third of the time."""
    for share in (1 / 6, 1 / 3):
        await asyncio.sleep(max(began + minutes * 60 * share - time.monotonic(), 0))
        engines = [each for name, each in _processes(service).items() if name != "service"]
        if engines:
            with suppress(psutil.Error):
                soak.dice.choice(engines).kill()
                soak.killed_at.append(round(time.monotonic() - began, 1))


def _drift(samples: list[tuple[float, int]], first_s: float) -> dict[str, float] | None:
    """Medians of the first and the last fifth of what lies behind `first_s`, in MB, and how far they are apart."""
    late = [size for at, size in samples if at >= first_s]
    if len(late) < 10:
        return None
    fifth = max(len(late) // 5, 1)
    before, after = median(late[:fifth]), median(late[-fifth:])
    return {
        "before_mb": round(before / 1e6, 1),
        "after_mb": round(after / 1e6, 1),
        "most_mb": round(max(late) / 1e6, 1),
        "ratio": round(after / before, 4),
    }


async def _run(soak: Soak, service: psutil.Process, clients: int, minutes: float) -> dict[str, Any]:
    began = time.monotonic()
    soak.until = began + minutes * 60
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session:
        beside = [
            asyncio.create_task(_watch(soak, service, began)),
            asyncio.create_task(_kill(soak, service, began, minutes)),
        ]
        await asyncio.gather(*(soak.client(session) for _ in range(clients)))
        for task in beside:
            task.cancel()
        async with session.get(soak.url + "/slots") as response:
            busy = [slot for slot in await response.json() if slot["is_processing"] or slot["waiting"]]
    settled = minutes * 60 * 0.4  # behind the second kill and its new load
    last = soak.memory["service"][-1][0]
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "clients": clients,
        "ends": dict(soak.ends),
        "wrong": soak.wrong[:10],
        "killed_at_s": soak.killed_at,
        "busy_slots_behind": len(busy),
        "memory": {
            name: found
            for name, samples in soak.memory.items()
            if samples[-1][0] > last - 10 and (found := _drift(samples, settled))
        },
    }


def main() -> int:
    """Start a service, soak it, print what was seen; 1 when a stream ended wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--model", action="append", default=[], type=Path, help="more models, by their files")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmdesk-soak-") as folder:
        given = [argument for path in chosen.model for argument in ("--model", str(path.resolve()))]
        child = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "slmdesk",
                "serve",
                "--port",
                "0",
                "--json",
                "--model",
                GUIDE,
                *given,
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SLMDESK_HOME": folder, "SLMDESK_SERVICE_REQUESTS_PER_MINUTE": "0"},
        )
        try:
            assert child.stdout is not None
            ready = next(event for line in child.stdout if (event := json.loads(line))["event"] == "ready")
            models = [GUIDE, *(path.stem for path in chosen.model)]
            soak = Soak(ready["result"]["url"], models, 0.0, random.Random(1))
            told = asyncio.run(_run(soak, psutil.Process(child.pid), chosen.clients, chosen.minutes))
        finally:
            child.terminate()
            child.wait()
    print(json.dumps(told))
    return 1 if soak.wrong or told["busy_slots_behind"] else 0


if __name__ == "__main__":
    sys.exit(main())
