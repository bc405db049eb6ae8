"""What stands before each route of an engine: the token, and what errors become."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

LARGEST_BODY = 64 * 1024 * 1024
_STATUS = {"unauthorized": 401, "not_found": 404, "duplicate": 409, "body_too_large": 413}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(token: str) -> Middleware:
    """The middleware: the token first; expected errors become JSON."""
    wanted = token.encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(shown, wanted):
            return _refuse(SlmDeskError("unauthorized", "The token is missing or wrong.", ""))
        try:
            return await handler(request)
        except SlmDeskError as error:
            return _refuse(error)
        except web.HTTPRequestEntityTooLarge:
            return _refuse(
                SlmDeskError("body_too_large", "The request is larger than 64 MB.", "Send less text.")
            )
        except web.HTTPException as error:
            return _refuse(SlmDeskError("not_found", f"{error.reason}.", ""), error.status)

    return guard


async def listen(app: web.Application) -> tuple[web.AppRunner, int]:
    """Serve on a free loopback port, which is returned."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=64)
    await site.start()
    return runner, int(runner.addresses[0][1])


def _refuse(error: SlmDeskError, status: int | None = None) -> web.Response:
    return web.json_response({"error": error.to_json()}, status=status or _STATUS.get(error.code, 400))
