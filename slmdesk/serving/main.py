"""`slmdesk serve`: sets the process up, and says what a person or a program wants to know."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import configure, release
from slmdesk.serving.start import AlreadyServedError, ServeOptions, claim

if TYPE_CHECKING:
    from slmdesk.serving.start import ServiceRooms

__all__ = ["ServeOptions", "serve_main"]

EXIT_INTERRUPTED = 130


def serve_main(options: ServeOptions, rooms: ServiceRooms) -> int:
    """Run the service until it ends; the exit code: 0, or 130 after Ctrl-C.

    Raises `SlmDeskError` when it cannot start: `service_running`, `port_in_use`, or what a model failed with.
    """
    rooms.paths.ensure()
    rooms.settings.load()
    configure(rooms.paths, "service", str(rooms.settings.get("logs.level")))
    console = Console(as_json=options.as_json)
    try:
        with claim(rooms.paths, on_demand=options.on_demand):
            from slmdesk.serving.service import Service

            ending = asyncio.run(Service(rooms, options).run(console))
    except AlreadyServedError:
        return 0
    finally:
        release()
    if ending == "interrupted":
        console.event("error", error=SlmDeskError("interrupted", "Stopped by Ctrl-C.").to_json())
        return EXIT_INTERRUPTED
    console.event("done", result={"reason": ending})
    return 0


class Console:
    """Lines on stdout: sentences, or JSON events. Whoever reads them may stop reading."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._named: str | None = None

    def loading(self, model: str, fraction: float) -> None:
        self.event("progress", model=model, fraction=round(fraction, 3))
        if not self._json and model != self._named:
            self._named = model
            self._line(f"Loading {model}.")

    def ready(self, url: str, pid: int, *, host: str, key_needed: bool, ollama_url: str = "") -> None:
        also = {"ollama_url": ollama_url} if ollama_url else {}
        self.event("ready", result={"url": url, "pid": pid, **also})
        if self._json:
            return
        self._line(f"SLM Desk answers at {url}/v1 to every program on this machine. Ctrl-C ends it.")
        if ollama_url:
            self._line(f"Programs made for Ollama find it at {ollama_url}.")
        if key_needed:
            self._line("They need a key.")
        elif host not in {"127.0.0.1", "localhost", "::1"}:
            self._line("Other machines need a key; “slmdesk keys” lists and makes them.")

    def event(self, name: str, **fields: Any) -> None:
        if self._json:
            self._line(json.dumps({"event": name, **fields}, ensure_ascii=False))

    @staticmethod
    def _line(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
