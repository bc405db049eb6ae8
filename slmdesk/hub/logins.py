"""What a person gives to be let in: a hub's access token, a proxy's login. Kept in the keyring."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.hub.access import PROXY_LOGIN_NAME

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.secrets import Secrets
    from slmdesk.hub.access import HubAccess


@dataclass(frozen=True, slots=True)
class KeptToken:
    """Whose token it is. `overruled`: the variable HF_TOKEN goes before it. `problem` says why it counts for this
    session alone."""

    name: str
    overruled: bool = False
    problem: SlmDeskError | None = None


class Logins:
    """Keeps and forgets them; every call may wait for a keyring that asks the person first."""

    def __init__(self, hub: HubAccess, secrets: Secrets) -> None:
        self._hub = hub
        self._secrets = secrets

    async def keep_token(self, token: str) -> KeptToken:
        """Ask the hub whose token this is, and keep it. Raises what `HubAccess.whoami` raises; it is not kept then."""
        name = await self._hub.whoami(token)
        await asyncio.to_thread(self._hub.set_token, token)
        await asyncio.to_thread(self._hub.token, fresh=True)
        return KeptToken(name, self._hub.token_source == "variable", await self._not_lasting())  # noqa: S105 - a place

    async def forget_token(self) -> SlmDeskError | None:
        """Take it out of the keyring. Returns what is wrong with the keyring, where it could not be."""
        await asyncio.to_thread(self._hub.set_token, "")
        return await self._not_lasting()

    async def keep_proxy_login(self, user: str, password: str) -> SlmDeskError | None:
        """Keep the login for the proxy of the settings. Returns why it counts for this session alone, where that is
        so."""
        await asyncio.to_thread(self._secrets.set, PROXY_LOGIN_NAME, f"{user}:{password}")
        return await self._not_lasting()

    async def forget_proxy_login(self) -> SlmDeskError | None:
        """`forget_token` for the proxy's login."""
        await asyncio.to_thread(self._secrets.delete, PROXY_LOGIN_NAME)
        return await self._not_lasting()

    async def _not_lasting(self) -> SlmDeskError | None:
        lasting = await asyncio.to_thread(lambda: self._secrets.persistent)
        return None if lasting else self._secrets.known_problem
