"""Where bytes come from: the hub's chunk storage (xet), by huggingface's own transport, and the choice between ways."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slmdesk.downloads.sources import READ_S
from slmdesk.hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.downloads.plan import PlannedFile
    from slmdesk.downloads.sources import HttpsSource, Stream, StreamSource

_WORTH_BYTES = 8 * 1024 * 1024  # below, asking the storage costs more than it saves
_AHEAD = 4  # pieces


class XetSource:
    """Files from xet storage. Blocks; used by one thread."""

    name = "xet"

    def __init__(self, https: HttpsSource, endpoint: str) -> None:
        self._https = https
        self._endpoint = endpoint
        self._session: Any = None

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):
                session.sigint_abort()

    def failed(self, error: HubError) -> bool:
        """A session that stalled is not used again."""
        del error
        self.close()
        return False

    def open(self, file: PlannedFile, start: int) -> Stream:
        import httpx2
        from hf_xet import XetFileInfo, XetSession  # type: ignore[import-untyped]
        from huggingface_hub.utils._xet import (
            is_valid_xet_hash,
            parse_xet_file_data_from_response,
            xet_headers_without_auth,
        )

        told = parse_xet_file_data_from_response(
            httpx2.Response(200, headers=self._https.ask(file)), endpoint=self._endpoint
        )
        if told is None or not is_valid_xet_hash(told.file_hash) or not told.refresh_route:
            raise _failed("The hub does not keep this file in xet storage.", temporary=False)
        if not self._https.same_hub(told.refresh_route):
            raise _failed(
                "The hub wants its access token sent to another host, which is not done.", temporary=False
            )
        headers = self._https.headers()
        if self._session is None:
            self._session = XetSession()
        session = self._session

        def begin() -> Any:
            group = session.new_download_stream_group(
                token_refresh_url=told.refresh_route,
                token_refresh_headers=headers,
                custom_headers=xet_headers_without_auth(headers),
            )
            return group.download_stream(XetFileInfo(told.file_hash, file.size), start=start or None)

        return XetStream(begin, start)


class XetStream:
    """What xet's transport yields, pumped by a thread, because its calls cannot be given a time limit."""

    total: int | None = None

    def __init__(self, begin: Callable[[], Any], start: int) -> None:
        self.start = start
        self._begin = begin
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._over = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._pump, name="slmdesk-xet", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._pieces.get(timeout=READ_S)
            except queue.Empty:
                self.abort()
                raise _failed("The xet storage sent nothing for a while.") from None
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise _failed("The xet storage failed.", str(piece)[:300]) from piece
            yield piece

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._over.set()
        if self._stream is not None:
            with suppress(Exception):
                self._stream.cancel()
        with suppress(queue.Full):
            self._pieces.put_nowait(None)

    def _pump(self) -> None:
        try:
            self._stream = self._begin()
            for piece in self._stream:
                if not self._hand_over(piece):
                    return
            self._hand_over(None)
        except BaseException as error:  # noqa: BLE001 - the transport is native; a panic is no Exception
            self._hand_over(error)

    def _hand_over(self, piece: bytes | BaseException | None) -> bool:
        while not self._over.is_set():
            try:
                self._pieces.put(piece, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False


class EitherSource:
    """xet for large files while it works, plain HTTPS for the rest and from its first trouble on."""

    def __init__(self, xet: XetSource, https: HttpsSource, log: Callable[[str], None]) -> None:
        self._xet: XetSource | None = xet
        self._https = https
        self._log = log
        self._now: StreamSource = https

    @property
    def name(self) -> str:
        return self._now.name

    def open(self, file: PlannedFile, start: int) -> Stream:
        worth = bool(file.sha256) and file.size - start >= _WORTH_BYTES
        self._now = self._xet if self._xet is not None and worth else self._https
        return self._now.open(file, start)

    def failed(self, error: HubError) -> bool:
        if self._xet is None or self._now is not self._xet or error.code not in _XET_TROUBLE:
            return False
        self._log("Going on over plain HTTPS.")
        self._xet.close()
        self._xet = None
        return True

    def close(self) -> None:
        if self._xet is not None:
            self._xet.close()
        self._https.close()


_XET_TROUBLE: frozenset[ErrorCode] = frozenset({"xet_failed", "connection_lost", "hub_answer_invalid"})


def _failed(message: str, details: str = "", *, temporary: bool = True) -> HubError:
    return HubError(
        "xet_failed",
        message,
        "Set downloads.transfer to auto or https to fetch without it.",
        details=details,
        temporary=temporary,
    )
