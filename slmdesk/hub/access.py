"""The one way to a hub: its address, proxy, certificates, token, and what may go wrong.

All traffic of the program's own requests runs on one thread with a loop of its own: importing huggingface_hub takes
most of a second, and neither that nor TLS nor a slow answer may hold up a window. A cancelled call closes its
connection at once. Downloads use `api` and `prepare` from their worker threads.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from slmdesk import __version__
from slmdesk.core.error_codes import HUB_AWAY
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import register_secret
from slmdesk.core.made_with import MADE_WITH, settings_of
from slmdesk.core.proxies import Proxies, checked_proxy, system_proxies, with_login, without_login
from slmdesk.hub import tokens
from slmdesk.hub.errors import DEFAULT_ENDPOINT, HubError, converted, offline_error
from slmdesk.hub.route import HubRoute, Way, checked_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    import httpx2
    from huggingface_hub import HfApi

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.secrets import Secrets
    from slmdesk.core.settings import Settings

T = TypeVar("T")

_log = logging.getLogger(__name__)

TOKEN_NAME = "huggingface"  # noqa: S105 - the secret's name, not the secret
PROXY_LOGIN_NAME = "proxy"
LONGEST_WAIT_S = 12.0  # in which a hub that asks for it is waited for, all waits together
_SHORTEST_WAIT_S = 0.5
_ANSWER_LIMIT = 64 * 1024 * 1024
_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy"}
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """A hub's JSON, and the address of the next page where there is one."""

    data: Any
    next_page: str = ""


def _tell_nobody() -> None:
    """Keep what is done here from the makers: huggingface_hub looks for programs it runs in, and xet's transport
    reports each transfer, unless these are set before they are imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_XET_TELEMETRY_ENABLED"] = "false"
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        constants.__dict__["HF_HUB_DISABLE_TELEMETRY"] = True


_AWAY: frozenset[ErrorCode] = HUB_AWAY | {"proxy_failed", "certificate_invalid"}


class HubAccess:
    """Requests to the hub of the settings. Methods that say "blocks" belong in a worker thread."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        environ: Mapping[str, str] | None = None,
        *,
        way: Way | None = None,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._environ = os.environ if environ is None else environ
        self._way = way
        self._lock = threading.Lock()
        self._line: _LoopThread | None = None
        self._client: httpx2.AsyncClient | None = None
        self._client_route: HubRoute | None = None
        self._token: str | None = None
        self._token_known = False
        self._token_source: tokens.Source = ""
        self.reached = True  # by the last request that was made
        _tell_nobody()

    # What is set

    @property
    def endpoint(self) -> str:
        """The hub's address without a slash at the end. Raises `SlmDeskError("endpoint_invalid")`."""
        if self._way is not None:
            return checked_endpoint(self._way.hub)
        chosen: str = self._settings.get("hub.endpoint").strip()
        variable = self._environ.get("HF_ENDPOINT", "").strip()
        if self._settings.source("hub.endpoint") != "environment" and variable:
            chosen = variable
        return checked_endpoint(chosen or DEFAULT_ENDPOINT)

    @property
    def offline(self) -> bool:
        """Whether the person wants no connections to other machines."""
        if self._way is not None:  # whoever runs this now need not be the one who asked for it
            return bool(self._settings.get("network.offline"))
        variable = self._environ.get("HF_HUB_OFFLINE", "").strip().lower()
        return bool(self._settings.get("network.offline")) or variable in _TRUE

    def require_online(self) -> None:
        """Raises `HubError("offline")` when connections are not wanted."""
        if self.offline:
            raise offline_error()

    def page_url(self, repo: str) -> str:
        """The model's page for a browser, where its licence can be accepted."""
        return f"{self.endpoint}/{repo}"

    def way(self) -> Way:
        """Address, proxies and certificates in force, without any login: what a job keeps.

        Raises `endpoint_invalid` or `proxy_invalid`.
        """
        if self._way is not None:
            return self._way
        ca_file = str(self._settings.get("network.ca_file")).strip()
        if chosen := str(self._settings.get("network.proxy")).strip():
            return Way(
                self.endpoint, {"all://": checked_proxy(chosen, "network.proxy")}, ca_file, own_proxy=True
            )
        found = system_proxies(self._environ)
        plain = {pattern: proxy and without_login(proxy)[0] for pattern, proxy in found.items()}
        return Way(self.endpoint, plain, ca_file)

    def as_made(self, parameters: Mapping[str, Any]) -> HubAccess:
        """The hub as it was reached when the job with these parameters was made; this one for a job that kept nothing.

        Close it as this one.
        """
        made = parameters.get(MADE_WITH)
        if not isinstance(made, dict) or "hub" not in made:
            return self
        settings = settings_of(parameters, self._settings)
        return HubAccess(settings, self._secrets, self._environ, way=Way.from_json(made))

    def route(self) -> HubRoute:
        """Address, proxies (with their logins) and certificates in force. Blocks: a login may be in the keyring.

        Raises as `way` does.
        """
        way = self.way()
        return self._with_logins(way, self._secrets.get(PROXY_LOGIN_NAME) if way.own_proxy else None)

    async def find_route(self) -> HubRoute:
        """`route` for an event loop."""
        way = self.way()
        return self._with_logins(way, await self._secrets.find(PROXY_LOGIN_NAME) if way.own_proxy else None)

    def _with_logins(self, way: Way, own: str | None) -> HubRoute:
        """A setting's login is in the keyring; that of a variable stands in it, here or where the job was made."""
        logins = {} if way.own_proxy else self._logins()
        proxies: Proxies = {}
        for pattern, proxy in way.proxies.items():
            login = (
                own if way.own_proxy else logins.get(proxy or "") or self._secrets.held(_login_name(proxy))
            )
            proxies[pattern] = with_login(proxy, login) if proxy and login else proxy
        return HubRoute(way.hub, proxies, way.ca_file)

    def _logins(self) -> dict[str, str]:
        """The logins in the environment, by their proxies."""
        try:
            found = system_proxies(self._environ)
        except SlmDeskError:
            return {}
        return dict(without_login(proxy) for proxy in found.values() if proxy)

    def hand_logins(self) -> None:
        """The logins of the environment's proxies go to the process that does the jobs, as secrets do."""
        for proxy, login in self._logins().items():
            if login:
                self._secrets.hold(_login_name(proxy), login)

    @property
    def direct(self) -> bool:
        """Whether xet's transport finds the same way by itself: it knows the environment's proxies and nothing else."""
        way = self.way()
        if way.own_proxy or way.ca_file:
            return False
        told = [value for name, value in os.environ.items() if name.lower() in _PROXY_VARIABLES and value]
        plain = {proxy.rstrip("/") for proxy in told}
        return {proxy for proxy in self.route().proxies.values() if proxy} == plain

    # The token

    def token(self, *, fresh: bool = False) -> str | None:
        """The access token: the variable HF_TOKEN's, else the keyring's, else that of `hf auth login`.

        Blocks; `fresh` asks the keyring again. Raises `HubError("token_invalid")` for one that cannot be sent.
        """
        given = tokens.from_environment(self._environ)
        if given or (self._token_known and not fresh):
            return self._is_token("variable", given) if given else self._token
        if kept := self._secrets.get(TOKEN_NAME):
            return self._is_token("keyring", tokens.checked_token(kept, "The keyring"))
        return self._is_token("file", tokens.from_file(self._environ))

    async def find_token(self) -> str | None:
        """`token` for an event loop. Being cancelled ends it at once, whatever the keyring does."""
        given = tokens.from_environment(self._environ)
        if given or self._token_known:
            return self._is_token("variable", given) if given else self._token
        if kept := await self._secrets.find(TOKEN_NAME):
            return self._is_token("keyring", tokens.checked_token(kept, "The keyring"))
        return self._is_token("file", await asyncio.to_thread(tokens.from_file, self._environ))

    def _is_token(self, source: tokens.Source, token: str) -> str | None:
        register_secret(token)
        locked = self._secrets.known_problem
        with self._lock:
            self._token, self._token_source = token or None, source if token else ""
            # A keyring that did not answer is asked again.
            self._token_known = source != "variable" and (locked is None or locked.code != "keyring_locked")
        return token or None

    @property
    def token_source(self) -> tokens.Source:
        """Where the token that was last asked for came from; "" where there was none."""
        return self._token_source

    def set_token(self, token: str) -> None:
        """Keep a token in the keyring; an empty one forgets it. Blocks. Raises `HubError("token_invalid")`."""
        if checked := tokens.checked_token(token, "What was given"):
            self._secrets.set(TOKEN_NAME, checked)
        else:
            self._secrets.delete(TOKEN_NAME)
        with self._lock:
            self._token_known = False

    async def whoami(self, token: str) -> str:
        """The name of the person a token belongs to. Raises `HubError("token_invalid")` and those of `get_json`."""
        token = tokens.checked_token(token, "What was given")
        register_secret(token)
        try:
            answer = await self.get_json("/api/whoami-v2", token=token)
        except HubError as error:
            if error.code != "repo_not_found":
                raise
            raise HubError(
                "token_invalid",
                "The hub does not know this access token.",
                f"Copy it again from {self.endpoint}/settings/tokens.",
            ) from error
        return str(answer.data.get("name", "")) if isinstance(answer.data, dict) else ""

    # Our own requests

    async def get_json(
        self, path: str, params: Mapping[str, Any] | None = None, *, repo: str = "", token: str | None = None
    ) -> HubAnswer:
        """GET `path` below the hub's address, or a `next_page`. Raises `HubError`; see `hub_error` for the codes.

        A hub that asks for a short wait gets it, as it does from downloads.
        """
        return await self.aside(lambda: _patiently(lambda: self._get_json(path, params, repo, token)))

    async def get_file(
        self, repo: str, path: str, *, revision: str = "main", start: int = 0, count: int | None = None
    ) -> bytes:
        """A file's bytes, or `count` of them from `start` on; fewer at its end. Raises `HubError`.

        For cards, configurations and headers: more than 64 MiB are refused.
        """
        return await self.aside(
            lambda: _patiently(lambda: self._get_file(repo, path, revision, start, count))
        )

    async def aside(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `make()` gives, run on the hub's thread: for work around requests that would hold up a window.

        Raises `HubError("offline")` beside what the coroutine raises.
        """
        self.require_online()
        with self._lock:
            if self._line is None:
                self._line = _LoopThread()
            line = self._line
        return await line.call(make)

    async def close(self) -> None:
        """Break off what runs and end the thread. The next request starts a new one."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            await line.end(self._close_client)

    # huggingface_hub's own transfers

    def prepare(self) -> HubRoute:
        """Give huggingface_hub this route and these certificates, for the whole process. Blocks."""
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.utils._http import hf_request_event_hook

        from slmdesk.hub.client import sync_client

        route = self.route()
        constants.HF_HUB_DISABLE_PROGRESS_BARS = True
        constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True

        def client() -> httpx2.Client:
            return sync_client(route, event_hooks={"request": [hf_request_event_hook]})

        huggingface_hub.set_client_factory(client)
        return route

    def api(self) -> HfApi:
        """huggingface_hub's client with this address and token, after `prepare`. Blocks. Raises `HubError("offline")`.

        Close its connections with `huggingface_hub.close_session()`.
        """
        self.require_online()
        from huggingface_hub import HfApi

        route = self.prepare()
        return HfApi(route.endpoint, self.token(fresh=True) or False, "slmdesk", __version__)

    # On the hub's thread

    async def _get_json(
        self, path: str, params: Mapping[str, Any] | None, repo: str, token: str | None
    ) -> HubAnswer:
        endpoint = self.endpoint
        with self._watched(), converted(endpoint, repo):
            body, links = await self._fetch(_below(endpoint, path), params, token, {}, _ANSWER_LIMIT)
            data = json.loads(body)
        following = links.get("next", {}).get("url", "")
        return HubAnswer(data, _below(endpoint, following) if following else "")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Notes whether the hub was reached; what is refused because the keyring kept its token to itself says so."""
        try:
            yield
            self.reached = True
        except HubError as error:
            self.reached = error.code not in _AWAY
            locked = self._secrets.known_problem
            if error.code not in {"token_missing", "repo_not_found"} or self._token_source or locked is None:
                raise
            if locked.code in {"keyring_locked", "keyring_failed"}:
                error.hint = f"{locked.message} Unlock it and try again. {error.hint}"
            raise

    async def _get_file(self, repo: str, path: str, revision: str, start: int, count: int | None) -> bytes:
        endpoint = self.endpoint
        address = f"{endpoint}/{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        headers = {"Accept-Encoding": "identity"}
        if start or count is not None:
            headers["Range"] = f"bytes={start}-{'' if count is None else start + count - 1}"
        with self._watched(), converted(endpoint, repo):
            body, _ = await self._fetch(address, None, None, headers, count or _ANSWER_LIMIT, start=start)
        return body

    async def _fetch(
        self,
        address: str,
        params: Mapping[str, Any] | None,
        token: str | None,
        headers: Mapping[str, str],
        limit: int,
        *,
        start: int = 0,
    ) -> tuple[bytes, Mapping[str | None, dict[str, str]]]:
        """The body and the links. A server that ignored the range has the rest skipped."""
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        client = await self._connected()
        chosen = token or await self.find_token() or False
        sent = build_hf_headers(token=chosen, library_name="slmdesk", library_version=__version__)
        ranged = "Range" in headers
        async with client.stream("GET", address, params=params, headers={**sent, **headers}) as response:
            if ranged and response.status_code == 416:
                return b"", {}
            if response.status_code >= 400:
                await response.aread()
            hf_raise_for_status(response)
            skip = start if ranged and response.status_code == 200 else 0
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) - skip >= limit:
                    break
            else:
                return bytes(body[skip:]), response.links
        if not ranged:
            raise HubError(
                "hub_answer_invalid", "The hub answered with more than can be true.", "Try again later."
            )
        return bytes(body[skip : skip + limit]), {}

    async def _connected(self) -> httpx2.AsyncClient:
        from slmdesk.hub.client import async_client

        route = await self.find_route()
        if self._client is None or route != self._client_route:
            await self._close_client()
            self._client = async_client(route)
            self._client_route = route
        return self._client

    async def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class _LoopThread:
    """A thread with an event loop, for calls from any other loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="slmdesk-hub", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The coroutine's result; cancelling the caller cancels it too."""

        async def run() -> T:
            return await make()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))

    async def end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def finish() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            with suppress(Exception):
                await last()

        await self.call(finish)
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)


async def _patiently(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Ask again when the hub says how long to wait, and that is not longer than a person would."""
    waited = 0.0
    while True:
        try:
            return await ask()
        except HubError as error:
            wait = max(_SHORTEST_WAIT_S, error.retry_after_s or 0.0)
            waited += wait
            if not error.temporary or error.retry_after_s is None or waited > LONGEST_WAIT_S:
                raise
            _log.info("asked to wait %.1f s: %s", wait, error.message)
            await asyncio.sleep(wait)


def _login_name(proxy: str | None) -> str:
    return f"{PROXY_LOGIN_NAME} {proxy}"


def _below(endpoint: str, address: str) -> str:
    """`address` on this endpoint: a mirror may name the hub it mirrors in its links, and the token stays here."""
    parts = urlsplit(address)
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    prefix = urlsplit(endpoint).path
    if parts.netloc and prefix and path.startswith(f"{prefix}/"):
        path = path[len(prefix) :]
    return f"{endpoint}{path}" + (f"?{parts.query}" if parts.query else "")
