"""A database with the program's own schema, in a folder of the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slmdesk.chat import store
from slmdesk.core.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "chats.sqlite3", store.MIGRATIONS)
    yield database
    database.close()
