"""A home of the test's own, whose service ends with the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from slmdesk.application import Application
from slmdesk.core.paths import Paths


@pytest.fixture
async def served(paths: Paths) -> AsyncIterator[Paths]:
    """Like `paths`; a service that was started there is ended."""
    yield paths
    application = Application.build(dict(os.environ), keep_chats=False)
    try:
        client = await application.connector.attached()
        if client is not None:
            await client.shutdown()
    finally:
        await application.close()
