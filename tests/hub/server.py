"""A hub on the loopback: two real HTTP servers, one for the hub itself and one for its file storage (the CDN).

The routes, headers and status codes are those that huggingface_hub uses.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from . import chunks
from .answers import Answer, AnsweredError, Answers, BrokenOffError, Request, Side, bounds_of
from .faults import Faults
from .repositories import (
    Content,
    HubFile,
    Repository,
    User,
    entry_json,
    matches,
    model_json,
    repository,
    tree_json,
)

_TELLING = re.compile(r"telemetry|agent-harnesses")
_XET_TOKEN = "a-token-of-the-chunk-storage"
_SORTS = {
    "downloads": "downloads",
    "likes": "likes",
    "trendingScore": "trending",
    "createdAt": "created_at",
    "lastModified": "last_modified",
}


class LoopbackHub:
    """`with LoopbackHub({"publisher/name": {"file.gguf": path}}) as hub:` and use `hub.url` as the endpoint.

    `add` puts in repositories with more to say (gating, licence, tags); `hub[repo_id]` is one of them.
    `users` maps tokens to people. `requests` are all requests as they came, those of the CDN too, so that a test
    can see whether a token went there. `faults` makes things go wrong. With `tls` both speak HTTPS.
    `moved` maps old names, also such without a publisher, to the repositories they lead to now.
    `has_chunks`: the storage of chunks works, for repositories with `xet`; else it is out of order.
    """

    def __init__(
        self,
        repositories: Mapping[str, Mapping[str, Content]] | Iterable[Repository] = (),
        *,
        users: Mapping[str, User] | None = None,
        port: int = 0,
        page_size: int = 1000,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.repositories: dict[str, Repository] = {}
        if isinstance(repositories, Mapping):
            for repo_id, files in repositories.items():
                self.add(repo_id, files)
        else:
            self.repositories = {repo.id: repo for repo in repositories}
        self.users = dict(users or {})
        self.faults = Faults()
        self.page_size = page_size
        self.link_lifetime_s = 3600.0
        self.has_chunks = False
        self.moved: dict[str, str] = {}
        self.requests: list[Request] = []
        self._served: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._host = host
        self.tls = tls
        self._sides: dict[Side, _Server] = {}
        self._ports: dict[Side, int] = {"hub": port, "cdn": 0}

    # Starting and stopping

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:
            told = [request.path for request in self.requests if _TELLING.search(request.path)]
            assert not told, f"what was done here was told to the hub: {told}"

    def start(self) -> None:
        """Listen. After `stop` the same ports are used again, so that a hub can go away and come back."""
        self.closing.clear()
        for side in ("hub", "cdn"):
            server = _Server((self._host, self._ports[side]), self, side)
            self._ports[side] = server.server_address[1]
            self._sides[side] = server
            threading.Thread(
                target=server.serve_forever, args=(0.05,), name=f"hub-{side}", daemon=True
            ).start()

    def stop(self) -> None:
        """Refuse new connections and break the open ones."""
        self.closing.set()
        for server in self._sides.values():
            server.shutdown()
            server.server_close()
            server.break_connections()
        self._sides.clear()

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._host}:{self._ports['hub']}"

    @property
    def cdn_url(self) -> str:
        """On another host name as well as another port: a token must not follow there."""
        host = "localhost" if self._host == "127.0.0.1" else self._host
        return f"{self._scheme}://{host}:{self._ports['cdn']}"

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    # Content and what was seen

    def add(self, repo_id: str, files: Mapping[str, Content], **facts: Any) -> Repository:
        """Put in a repository; keyword arguments are the fields of `Repository`."""
        self.repositories[repo_id] = repository(repo_id, files, **facts)
        return self.repositories[repo_id]

    def __getitem__(self, repo_id: str) -> Repository:
        return self.repositories[repo_id]

    def served(self, repo_id: str, path: str = "") -> int:
        """Bytes of file content sent so far: of one file, or of a repository."""
        with self._lock:
            if path:
                return self._served[f"{repo_id}/{path}"]
            return sum(count for key, count in self._served.items() if key.startswith(f"{repo_id}/"))

    @property
    def total_served(self) -> int:
        with self._lock:
            return self._served.total()

    def holders_of(self, secret: str) -> set[Side]:
        """The sides that saw this text in an address or a header."""
        with self._lock:
            return {
                request.side
                for request in self.requests
                if secret in request.path
                or any(secret in value for value in request.headers.values())
                or any(secret in value for values in request.query.values() for value in values)
            }

    def count(self, method: str, pattern: str, side: Side | None = None) -> int:
        """How many requests matched."""
        wanted = re.compile(pattern)
        with self._lock:
            return sum(
                r.method == method and side in {None, r.side} and bool(wanted.search(r.path))
                for r in self.requests
            )

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.requests.clear()
            self._served.clear()

    def saw(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def sent(self, key: str, count: int) -> None:
        with self._lock:
            self._served[key] += count


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], hub: LoopbackHub, side: Side) -> None:
        self.hub = hub
        self.side: Side = side
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.hub.tls is not None:
            # The handshake comes with the first read, in the connection's own thread.
            return self.hub.tls.wrap_socket(connection, True, do_handshake_on_connect=False), address
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about; defects of the hub show as broken answers."""


class _Handler(Answers):
    protocol_version = "HTTP/1.1"
    server: _Server
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _handle(self) -> None:
        self.hub, self.side = self.server.hub, self.server.side
        address = urlsplit(self.path)
        self.where_to = unquote(address.path)
        self.query = parse_qs(address.query, keep_blank_values=True)
        self.form: dict[str, list[str]] = {}
        if length := int(self.headers.get("Content-Length") or 0):
            self.form = parse_qs(self.rfile.read(length).decode())
        try:
            if self.server.side == "cdn":
                self._storage()
            else:
                self._hub_side(address.path)
            self.wfile.flush()
        except (ConnectionError, TimeoutError, BrokenOffError):
            self.close_connection = True

    # The hub's own routes

    def _hub_side(self, raw_path: str) -> None:
        segments = [unquote(part) for part in raw_path.split("/") if part]
        if segments[:2] == ["api", "whoami-v2"]:
            return self._json(*self._whoami())
        if segments[:2] == ["api", "models"]:
            if self._spoiled("api", self.where_to):
                return None
            if new := self.hub.moved.get(segments[2] if len(segments) > 2 else ""):
                query = self.path.partition("?")[2]
                path = "/".join(["/api/models", new, *map(quote, segments[3:])])
                return self._answer(Answer(307, {"Location": f"{path}?{query}"}))
            return self._list() if len(segments) == 2 else self._api(segments[2:])
        for verb in ("resolve", "raw"):
            if len(segments) >= 5 and segments[2] == verb:
                return self._resolve("/".join(segments[:2]), segments[3], "/".join(segments[4:]))
        if segments[:1] == ["cas"]:
            return self._cas(segments[1:])
        return self._refuse(404, "", "Not found")

    def _user(self) -> User | None:
        header = self.headers.get("Authorization", "")
        token = header.removeprefix("Bearer ").strip()
        if not token:
            return None
        user = self.hub.users.get(token)
        if user is None:
            self._refuse(401, "", "Invalid credentials in Authorization header")
            raise AnsweredError
        return user

    def _whoami(self) -> tuple[int, Any]:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        user = self.hub.users.get(token)
        if user is None:
            return 401, {"error": "Invalid username or password."}
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}}
        return 200, {
            "type": "user",
            "id": user.name,
            "name": user.name,
            "fullname": user.name,
            "orgs": [],
            "auth": access,
        }

    def _list(self) -> None:
        try:
            user = self._user()
        except AnsweredError:
            return
        found = [repo for repo in self.hub.repositories.values() if matches(repo, self.query, user)]
        sort = _SORTS.get(self._one("sort"), "trending")
        found.sort(key=lambda repo: getattr(repo, sort), reverse=True)
        start = int(self._one("cursor") or 0)
        limit = min(int(self._one("limit") or self.hub.page_size), self.hub.page_size)
        full = bool(self._one("full")) or "siblings" in self.query.get("expand", [])
        page = [
            model_json(repo, repo.files, repo.sha, blobs=False, security=False, siblings=full)
            for repo in found[start : start + limit]
        ]
        headers = {}
        if start + limit < len(found):
            query = {**self.query, "cursor": [str(start + limit)]}
            headers["Link"] = f'<{self.hub.url}/api/models?{urlencode(query, doseq=True)}>; rel="next"'
        self._json(200, page, headers)

    def _api(self, segments: list[str]) -> None:
        repo = self._visible("/".join(segments[:2]))
        if repo is None:
            return None
        rest = segments[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        at = repo.at(revision)
        if at is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, true_files = at
        files = {path: self._told(repo, file) for path, file in true_files.items()}
        if not rest or rest[0] == "revision":
            blobs = self._one("blobs").lower() in {"true", "1"}
            security = bool(self._one("securityStatus"))
            return self._json(200, model_json(repo, files, sha, blobs=blobs, security=security))
        if rest[0] == "tree":
            flags = {name: self._one(name).lower() in {"true", "1"} for name in ("recursive", "expand")}
            return self._tree(tree_json(repo, files, "/".join(rest[2:]), **flags))
        if rest[0] == "paths-info":
            wanted = self.form.get("paths", [])
            expand = (self.form.get("expand") or [""])[0].lower() == "true"
            return self._json(
                200, [entry_json(repo, files[path], expand=expand) for path in wanted if path in files]
            )
        if rest[0] == "xet-read-token":
            expires = int(time.time()) + 3600
            return self._json(
                200, {"casUrl": f"{self.hub.url}/cas", "accessToken": _XET_TOKEN, "exp": expires}
            )
        return self._refuse(404, "", "Not found")

    def _tree(self, entries: list[dict[str, Any]]) -> None:
        start = int(self._one("cursor") or 0)
        limit = int(self._one("limit") or self.hub.page_size)
        headers = {}
        if start + limit < len(entries):
            query = urlencode({**self.query, "cursor": [str(start + limit)]}, doseq=True)
            headers["Link"] = f'<{self.hub.url}{quote(self.where_to)}?{query}>; rel="next"'
        self._json(200, entries[start : start + limit], headers)

    def _visible(self, repo_id: str) -> Repository | None:
        """The repository, or None after an answer that says why not."""
        try:
            user = self._user()
        except AnsweredError:
            return None
        repo = self.hub.repositories.get(repo_id)
        hidden = (
            repo is not None
            and repo.private
            and repo_id.partition("/")[0] not in (user.member_of if user else ())
        )
        if repo is None or hidden:
            if user is None:  # the real hub does not tell strangers what does not exist
                self._refuse(401, "", "Invalid username or password.")
            else:
                self._refuse(404, "RepoNotFound", "Repository not found")
            return None
        if repo.disabled:
            self._refuse(403, "", "Access to this resource is disabled.")
            return None
        return repo

    def _admitted(self, repo: Repository) -> bool:
        if not repo.gated:
            return True
        user = self._user()
        if user is None:
            message = (
                f"Access to model {repo.id} is restricted. You must have access to it and be authenticated to "
                "access it. Please log in."
            )
            self._refuse(401, "GatedRepo", message)
            return False
        if repo.id in user.accepted:
            return True
        if repo.id in user.refused:
            message = f"Your request to access model {repo.id} has been rejected by the repo's authors."
        elif repo.id in user.pending:
            message = f"Your request to access model {repo.id} is awaiting a review from the repo authors."
        else:
            message = (
                f"Access to model {repo.id} is restricted and you are not in the authorized list. "
                f"Visit {self.hub.url}/{repo.id} to ask for access."
            )
        self._refuse(403, "GatedRepo", message)
        return False

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self._visible(repo_id)
        if repo is None or not self._admitted(repo):
            return None
        at = repo.at(revision)
        if at is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, files = at
        file = files.get(path)
        if file is None:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": sha})
        key = f"{repo.id}/{path}"
        if self._spoiled("resolve", key):
            return None
        told = self._told(repo, file)
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes", "ETag": f'"{told.etag}"'}
        if not file.lfs:
            headers["Content-Type"] = "text/plain; charset=utf-8"
            return self._content(key, file, headers)
        headers |= {"X-Linked-ETag": f'"{told.sha256}"', "X-Linked-Size": str(told.size)}
        if repo.xet:
            route = f"{self.hub.url}/api/models/{repo.id}/xet-read-token/{sha}"
            headers |= {"X-Xet-Hash": file.sha256, "X-Xet-Refresh-Route": route}
        until = time.time() + self.hub.link_lifetime_s
        signed = urlencode({"Expires": f"{until:.3f}", "Signature": file.oid})
        headers["Location"] = f"{self.hub.cdn_url}/{quote(repo.id)}/{sha}/{quote(path)}?{signed}"
        return self._answer(Answer(302, headers))

    def _told(self, repo: Repository, file: HubFile) -> HubFile:
        lies = self.hub.faults.take("metadata", f"{repo.id}/{file.path}")
        if not lies:
            return file
        size = int(lies["size"].number) if "size" in lies else file.size
        return HubFile(
            file.path, file.content, size, lies["hash"].text if "hash" in lies else file.sha256, file.oid
        )

    # Chunk storage

    def _cas(self, segments: list[str]) -> None:
        if not self.hub.has_chunks:
            return self._json(503, {"error": "no xet storage here"})
        if self.headers.get("Authorization") != f"Bearer {_XET_TOKEN}":
            return self._refuse(401, "", "Unauthorized")
        if segments[:2] != ["v1", "reconstructions"]:
            return self._refuse(404, "", "Not found")
        if self._spoiled("api", self.where_to):
            return None
        file = self._by_hash(segments[-1])
        if file is None:
            return self._refuse(404, "", "Not found")
        bounds = bounds_of(self.headers.get("Range") or "bytes=0-", file.size)
        if bounds is None:
            return self._refuse(416, "", "Range Not Satisfiable")
        return self._json(
            200, chunks.reconstruction(file, *bounds, lambda name: f"{self.hub.cdn_url}/xorbs/{name}")
        )

    def _by_hash(self, sha256: str) -> HubFile | None:
        """By the whole SHA-256, or by its beginning in the name of a block."""
        for repo in self.hub.repositories.values():
            for file in repo.files.values():
                if file.sha256.startswith(sha256):
                    return file
        return None

    def _block(self, name: str) -> None:
        file = self._by_hash(name[:56])
        if file is None:
            return self._answer(Answer(404, {}, b"no such object"))
        data = chunks.block(file, int(name[56:], 16))
        return self._content(
            f"xorbs/{name}", HubFile(name, data, len(data), "", ""), {"Accept-Ranges": "bytes"}
        )

    # The storage's one route

    def _storage(self) -> None:
        segments = [part for part in self.where_to.split("/") if part]
        if segments[:1] == ["xorbs"]:
            return self._block(segments[-1])
        repo = self.hub.repositories.get("/".join(segments[:2]))
        at = repo.at(segments[2]) if repo is not None and len(segments) > 3 else None
        path = "/".join(segments[3:])
        if repo is None or at is None or path not in at[1]:
            return self._answer(Answer(404, {}, b"no such object"))
        key = f"{repo.id}/{path}"
        if float(self._one("Expires") or 0) < time.time() or self.hub.faults.take("body", key, ("expired",)):
            return self._answer(Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>"))
        file = at[1][path]
        return self._content(key, file, {"ETag": f'"{file.sha256}"', "Accept-Ranges": "bytes"})
