"""A catalog that talks to a hub on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from slmdesk.catalog.cache import MIGRATIONS
from slmdesk.catalog.catalog import Catalog
from slmdesk.core.database import Database
from slmdesk.core.paths import resources_folder
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.hub.access import HubAccess
from tests.hub import LoopbackHub

CARD = """---
license: apache-2.0
---
# Small

A **small** model. ![picture](https://elsewhere.example/track.png)
"""
CONFIG = (
    b'{"model_type": "qwen3", "num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16, '
    b'"num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936, '
    b'"max_position_embeddings": 40960}'
)


@pytest.fixture
def hub(desk_guide: Path) -> Iterator[LoopbackHub]:
    """Six repositories, one of them with Desk Guide's real file."""
    with LoopbackHub(page_size=50) as hub:
        hub.add(
            "pub/guide-GGUF",
            {"guide-F16.gguf": desk_guide, "README.md": CARD.encode()},
            likes=9,
            downloads=900,
            facts={"gguf": {"total": 4_400_000, "architecture": "llama", "context_length": 2048}},
        )
        hub.add(
            "pub/tiny-0.6B-Instruct",
            {"model.safetensors": b"w" * 2000, "config.json": CONFIG},
            likes=8,
            downloads=800,
            licence="mit",
            tags=("en",),
            facts={"safetensors": {"parameters": {}, "total": 600_000_000}},
        )
        hub.add("pub/large-20B-base-onnx", {"model.onnx": b"o" * 50}, likes=7, downloads=700, tags=("de",))
        hub.add(
            "other/gated-3B-it-GGUF",
            {"gated-Q4_K_M.gguf": b"GGUF" + b"x" * 96, "gated-Q8_0.gguf": b"GGUF" * 50},
            gated="manual",
            likes=6,
            downloads=600,
            issues={"gated-Q8_0.gguf": "unsafe"},
            tags=("base_model:quantized:pub/tiny-0.6B-Instruct",),
        )
        hub.add("Qwen/Qwen3-0.6B", {"model.safetensors": b"q" * 1_500_000}, likes=5, downloads=500)
        hub.add(
            "mlx-community/some-1B-4bit",
            {"model.safetensors": b"m" * 10},
            tags=("mlx",),
            likes=4,
            downloads=400,
        )
        yield hub


@pytest.fixture
async def catalog(hub: LoopbackHub, make: Callable[..., Catalog]) -> Catalog:
    return make()


@pytest.fixture
async def make(tmp_path: Path, hub: LoopbackHub) -> AsyncIterator[Callable[..., Catalog]]:
    """Makes catalogs over one database, as several starts of the program do."""
    made: list[tuple[Catalog, HubAccess, Database]] = []

    def make(**environ: str) -> Catalog:
        env = {"HF_ENDPOINT": hub.url, **environ}
        settings = Settings(tmp_path / "settings.toml", env)
        secrets = Secrets()
        secrets._opened = True  # no keyring here
        access = HubAccess(settings, secrets, env)
        database = Database(tmp_path / "catalog.db", MIGRATIONS)
        catalog = Catalog(access, database, settings, data=tmp_path, resources=resources_folder())
        made.append((catalog, access, database))
        return catalog

    yield make
    for catalog, access, database in made:
        await catalog.close()
        await access.close()
        database.close()
