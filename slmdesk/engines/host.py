"""The parent's side of an engine: start it, ask it, hear its answers, and say why it died.

Runs in the service on its event loop. Text goes from the engine's event stream straight to each answer's sink: no
queue and no task a token.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import secrets
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.core.child import SpokenChild
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import self_command
from slmdesk.engines import failures
from slmdesk.engines.protocol import EngineReady, EngineSpec
from slmdesk.inference.answers import ReasoningDelta, Stop, TokenLogprobs, ToolCallDelta, joined
from slmdesk.inference.vectors import Scores, Vectors, no_scores, no_vectors
from slmdesk.inference.wire import converted, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from slmdesk.core.processes import ChildProcess
    from slmdesk.inference.answers import Delta, Sink
    from slmdesk.inference.asks import Ask
    from slmdesk.inference.engines import Ability
    from slmdesk.inference.loading import Serves
    from slmdesk.inference.vectors import EmbedAsk, RankAsk

_SILENCE = 300.0  # seconds without any progress after which a load is given up
DRIVER_SILENCE = 30.0  # the same while graphics drivers are started
_GRACE = 0.5  # seconds for an engine that is not to start to end by itself
_REQUEST_SECONDS = 120.0  # for one small request; a long prompt's tokens take a few
_ABILITIES: dict[Serves, frozenset[Ability]] = {
    "chat": frozenset({"chat", "text", "grammar", "json_schema", "tools", "logprobs"}),
    "embed": frozenset({"embed"}),
    "rank": frozenset({"rank"}),
}
_LARGE = 256 * 1024  # bytes of a body
_RichDelta: Any = ReasoningDelta | ToolCallDelta | TokenLogprobs


class LlamaEngine:
    """A running engine process. Made by `start_engine`; used on the event loop that started it.

    `died` is done once the process ended, whatever ended it: its result is None after `stop`, else the decoded error.
    """

    def __init__(self, spec: EngineSpec, child: ChildProcess, ready: EngineReady) -> None:
        import aiohttp

        self.spec = spec
        self.facts = ready.facts
        self.port = ready.port
        self.prefix_bytes = self.prefix_peak = 0  # that its prefix cache holds, and held at most
        self.died: asyncio.Future[SlmDeskError | None] = asyncio.get_running_loop().create_future()
        self._child = child
        self._sinks: dict[int, Sink] = {}
        self._written: dict[int, list[int]] = {}  # tokens of each running answer
        self._keys: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._next = itertools.count(1)
        self._computing = 0  # requests about texts
        self._stopping = False
        self._events: _EventReader | None = None
        self._tasks: set[asyncio.Future[None]] = set()  # keeps small tasks alive until they are done
        self._http = aiohttp.ClientSession(
            base_url=f"http://127.0.0.1:{ready.port}",
            headers={"Authorization": f"Bearer {spec.token}"},
            connector=aiohttp.TCPConnector(limit=0, force_close=False),
            trust_env=False,
        )
        self._watch = asyncio.create_task(self._watch_child(), name=f"engine-{ready.pid}")

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can be asked for."""
        return _ABILITIES[self.facts.serves]

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return not self.died.done() and not self._stopping

    @property
    def running(self) -> int:
        """Answers being generated or waiting in the engine, and requests about texts."""
        return len(self._sinks) + self._computing

    async def listen(self) -> None:
        """Open the event stream. Part of `start_engine`. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        _, self._events = await loop.create_connection(
            lambda: _EventReader(self.spec.token, self._dispatch, self._events_lost),
            "127.0.0.1",
            self.port,
        )

    async def submit(self, ask: Ask, sink: Sink) -> int:
        """Ask for an answer and return the prompt's token count.

        From then on `sink` is called with each new text, and once with the `Stop` at the end, on the event loop.
        Raises `SlmDeskError` (context_exceeded, bad_request, grammar_invalid, template_failed, …) when the
        engine refuses (the sink is not called then), or what the engine died of (the sink may have heard of it too).
        """
        if ask.id in self._keys:
            raise SlmDeskError("duplicate", f"An answer with the id {ask.id} is running already.", "")
        key = next(self._next)
        # Registered before it is sent: the first text may arrive before the engine's reply to this request.
        self._sinks[key], self._written[key] = sink, list(ask.written)
        self._keys[ask.id], self._ids[key] = key, ask.id
        try:
            reply = await self._post("/generate", {"key": key, "ask": ask})
        except BaseException as error:
            known = self._forget(key)
            if isinstance(error, asyncio.CancelledError) and known and self.alive:
                self._send_cancel(key)
            raise
        return int(reply["prompt_tokens"])

    async def cancel(self, ask_id: str) -> None:
        """End an answer within one step of the engine; its sink still hears `Stop("cancelled")`."""
        key = self._keys.get(ask_id)
        if key is not None and self.alive:
            with suppress(SlmDeskError):
                await self._post("/cancel", {"key": key})

    async def ask(self, ask: Ask) -> AsyncGenerator[Delta | Stop, None]:
        """`submit` as an iterator: pieces, then the `Stop`. Closing it cancels the answer."""
        loop = asyncio.get_running_loop()
        heard: list[Delta | Stop] = []
        wake = loop.create_future()

        def sink(piece: Delta | Stop) -> None:
            heard.append(piece)
            if not wake.done():
                wake.set_result(None)

        await self.submit(ask, sink)
        ended = False
        try:
            while not ended:
                if not heard:
                    await wake
                wake = loop.create_future()
                pieces, heard[:] = joined(heard), []
                for piece in pieces:
                    ended = isinstance(piece, Stop)
                    yield piece
        finally:
            if not ended:
                self._send_cancel(self._keys.get(ask.id, -1))

    async def count(self, ask: Ask) -> int:
        """How many tokens a prompt has, chat template included. Raises `SlmDeskError`."""
        return int((await self._post("/tokenize", ask))["tokens"])

    async def tokenize(self, text: str) -> list[int]:
        """The tokens of a text as it stands. Raises `SlmDeskError`."""
        return [int(token) for token in (await self._post("/tokens", {"text": text}))["tokens"]]

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens. Raises `SlmDeskError`."""
        return str((await self._post("/text", {"tokens": list(tokens)}))["text"])

    async def embed(self, ask: EmbedAsk) -> Vectors:
        """One vector a text. Raises `SlmDeskError` (`unsupported` of a model that gives none), or what it died of."""
        if "embed" not in self.abilities:
            raise no_vectors(self.spec.model_id)
        return decoded(await self._compute("/embed", ask), Vectors)

    async def rank(self, ask: RankAsk) -> Scores:
        """How well each document answers the question. Raises as `embed`."""
        if "rank" not in self.abilities:
            raise no_scores(self.spec.model_id)
        return decoded(await self._compute("/rerank", ask), Scores)

    async def _compute(self, path: str, ask: EmbedAsk | RankAsk) -> bytes:
        """One request about texts, which may take long; given up where this is cancelled."""
        key = next(self._next)
        self._computing += 1
        try:
            return await self._exchange("POST", path, encoded({"key": key, "ask": ask}), seconds=None)
        except asyncio.CancelledError:
            self._send_cancel(key)
            raise
        finally:
            self._computing -= 1

    async def idle(self) -> bool:
        """Whether the engine itself has nothing to do. Raises `SlmDeskError`."""
        status = await self._request("GET", "/status")
        return not status["active"] and not status["queued"]

    async def stop(self) -> None:
        """End the process; running answers get `Stop("cancelled")`."""
        self._stopping = True
        await self._child.terminate_tree(grace_s=1.0)
        await self._watch
        await self._http.close()

    def _send_cancel(self, key: int) -> None:
        """Ask for the end of an answer nobody waits for any more."""
        if key < 0 or not self.alive:
            return

        async def send() -> None:
            with suppress(SlmDeskError):
                await self._post("/cancel", {"key": key})

        self._keep(asyncio.ensure_future(send()))

    def _keep(self, task: asyncio.Future[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, path: str, body: object) -> dict[str, Any]:
        return await self._request("POST", path, encoded(body))

    async def _request(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        return dict(json.loads(await self._exchange(method, path, body)))

    async def _exchange(
        self, method: str, path: str, body: bytes | None, *, seconds: float | None = _REQUEST_SECONDS
    ) -> bytes:
        """The body of the reply. `seconds` that it may take; None: as long as it takes."""
        import aiohttp

        if not self.alive:
            raise await self._why()
        try:
            limit = aiohttp.ClientTimeout(total=seconds)
            # aiohttp writes a large body piece by piece only where it is a file.
            data = io.BytesIO(body) if body is not None and len(body) > _LARGE else body
            async with self._http.request(method, path, data=data, timeout=limit) as response:
                reply = await response.read()
                if response.status != 200:
                    raise SlmDeskError.from_json(json.loads(reply)["error"])
                return reply
        except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            raise await self._why() from error
        except TimeoutError as error:
            raise SlmDeskError(
                "engine_silent", "The engine does not answer.", "Unload the model and load it again."
            ) from error

    async def _why(self) -> SlmDeskError:
        """What the engine died of; waits a moment for the process to be gone."""
        with suppress(TimeoutError):
            error = await asyncio.wait_for(asyncio.shield(self.died), 5.0)
            if error is not None:
                return error
        return SlmDeskError(
            "engine_stopped", "The engine was stopped.", "Send the message again to start it."
        )

    def _dispatch(self, texts: list[list[Any]], ends: list[list[Any]], prefixes: int | None = None) -> None:
        if prefixes is not None:
            self.prefix_bytes, self.prefix_peak = prefixes, max(self.prefix_peak, prefixes)
        sinks = self._sinks
        written = self._written
        for key, delta, token in texts:
            sink = sinks.get(key)
            if sink is None:
                continue
            if token >= 0:
                written[key].append(token)
            if delta:
                sink(delta if isinstance(delta, str) else converted(delta, _RichDelta))
        for key, data in ends:
            sink = sinks.get(key)
            self._forget(key)
            if sink is not None:
                sink(converted(data, Stop))

    def _forget(self, key: int) -> bool:
        request_id = self._ids.pop(key, None)
        if request_id is not None:
            self._keys.pop(request_id, None)
        self._written.pop(key, None)
        return self._sinks.pop(key, None) is not None

    def _events_lost(self) -> None:
        """The stream ended: the process is ending too, or it is broken and of no more use."""
        if not self._stopping:
            self._keep(asyncio.ensure_future(self._end_broken()))

    async def _end_broken(self) -> None:
        done, _ = await asyncio.wait({self._watch}, timeout=2.0)
        if not done:
            await self._child.terminate_tree(grace_s=0.5)

    async def _watch_child(self) -> None:
        code = await self._child.wait()
        error = None
        if not self._stopping:
            error = failures.decode(code, self._child.stderr_tail, self.spec.model_path, loading=False)
            if isinstance(error, failures.NativeFaultError) and not self.running:
                error = error.without_cure()  # nothing was being computed
        if self._events is not None:
            self._events.close()
        self.died.set_result(error)
        ended = Stop("cancelled") if error is None else Stop("error", error=error.to_json())
        for key, sink in list(self._sinks.items()):
            written = self._written[key]
            self._forget(key)
            sink(replace(ended, written=tuple(written)))
        if not self._stopping:
            await self._http.close()


class _EventReader(asyncio.Protocol):
    """Reads `GET /events` as it comes off the socket. HTTP/1.0, so that the body is the bare lines."""

    def __init__(
        self,
        token: str,
        dispatch: Callable[..., None],
        lost: Callable[[], None],
    ) -> None:
        self._token = token
        self._dispatch = dispatch
        self._lost = lost
        self._buffer = b""
        self._in_body = False
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        head = f"GET /events HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self._in_body:
            _, found, body = data.partition(b"\r\n\r\n")
            if not found:
                self._buffer = data
                return
            self._in_body = True
            data = body
        *lines, self._buffer = data.split(b"\n")
        for line in lines:
            self._dispatch(*json.loads(line))

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def start_engine(
    spec: EngineSpec,
    *,
    on_progress: Callable[[float], None] | None = None,
    log_path: Path | None = None,
    command: list[str] | None = None,
) -> LlamaEngine:
    """Start an engine process and wait until it is ready.

    `on_progress` hears 0…1 on the event loop. `log_path`: what it prints on stderr is added there. Cancelling ends the
    process. Raises the decoded `SlmDeskError` (model_damaged, out_of_memory, architecture_unknown, …).
    """
    spec = replace(spec, token=spec.token or secrets.token_urlsafe(24))
    log = _Log(log_path)
    child = await SpokenChild.start(
        command or self_command("engine"), encoded(spec), on_stderr=log.write, grace_s=_GRACE
    )
    try:
        ready = await _until_ready(child, spec, on_progress)
        engine = LlamaEngine(spec, child.process, ready)
        try:
            await engine.listen()
        except OSError as error:
            await engine.stop()
            raise failures.decode(
                child.process.returncode, child.tail, spec.model_path, loading=False
            ) from error
    except BaseException:
        await child.end()
        raise
    return engine


async def _until_ready(
    child: SpokenChild, spec: EngineSpec, on_progress: Callable[[float], None] | None
) -> EngineReady:
    in_driver = False

    def limit() -> float:
        return DRIVER_SILENCE if in_driver else _SILENCE

    try:
        async with aclosing(child.events(limit)) as said:
            async for event in said:
                if event.get("event") == "progress" and on_progress is not None:
                    on_progress(float(event["fraction"]))
                elif event.get("event") == "stage":
                    in_driver = event.get("stage") == "gpu"
                elif event.get("event") == "ready":
                    return converted(event, EngineReady)
    except TimeoutError:
        if in_driver:
            raise failures.driver_hangs(limit(), child.tail) from None
        raise failures.start_timeout(spec.model_path, limit(), child.tail) from None
    status = await child.wait()
    if in_driver:
        raise failures.driver_failed(status, child.tail)
    raise failures.decode(status, child.tail, spec.model_path, loading=True)


class _Log:
    """Adds lines to a file; opened at the first line, given up silently where the disk does not take it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, line: str) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        except OSError:
            self._path = None
