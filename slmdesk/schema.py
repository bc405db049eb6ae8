"""The one list of what the database is made of; every process of the program opens it with all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.catalog import cache as catalog_cache
from slmdesk.chat import presets as chat_presets
from slmdesk.chat import store as chat_store
from slmdesk.core import space
from slmdesk.core.jobs import job_store
from slmdesk.library import created
from slmdesk.quantize import store as quantize_store

if TYPE_CHECKING:
    from slmdesk.core.database import Migration

# Applied in this order and recorded by name: only ever append.
MIGRATIONS: tuple[Migration, ...] = (
    *job_store.MIGRATIONS,
    *chat_store.MIGRATIONS,
    *space.MIGRATIONS,
    *catalog_cache.MIGRATIONS,
    *quantize_store.MIGRATIONS,
    *created.MIGRATIONS,
    *chat_presets.MIGRATIONS,
)
