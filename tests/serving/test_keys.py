"""API keys: made once, shown once, kept as hashes, revoked at once."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.keys import ApiKeys, KeyBook

from .conftest import serve

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)


async def test_a_key_is_kept_as_a_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys.json"
    keys = ApiKeys(path)
    made = [await keys.add("laptop"), await keys.add("open-webui")]
    assert len({one.secret for one in made}) == 2
    assert [key.name for key in await keys.all()] == ["laptop", "open-webui"]
    kept = path.read_text()
    assert all(one.secret not in kept and one.secret not in repr(one) for one in made)
    assert all(one.secret.rpartition("-")[2] not in kept for one in made)
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    book = KeyBook(path)
    assert [book.name_of(one.secret) for one in made] == ["laptop", "open-webui"]
    for wrong in ("", made[0].secret[:-1], made[0].secret + "x", made[0].secret.upper(), "laptop", "\udcff"):
        assert book.name_of(wrong) == ""


async def test_a_book_notices_each_change_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys, book = ApiKeys(path), KeyBook(path)
    assert not book
    first = await keys.add("first")
    for number in range(20):
        made = await keys.add(f"key {number}")
        assert book.name_of(made.secret) == made.name
        await keys.revoke(made.name)
        assert book.name_of(made.secret) == ""
        assert book.name_of(first.secret) == "first"
    path.unlink()
    assert book.name_of(first.secret) == ""


async def test_names_are_checked(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "keys.json")
    await keys.add("laptop")
    for name, code in (
        ("laptop", "key_exists"),
        ("LAPTOP", "key_exists"),
        ("", "name_invalid"),
        ("a\nb", "name_invalid"),
        ("x" * 65, "name_invalid"),
        ("slmdesk", "name_invalid"),
        ("api-key", "name_invalid"),
    ):
        with pytest.raises(SlmDeskError) as refused:
            await keys.add(name)
        assert refused.value.code == code, name
    with pytest.raises(SlmDeskError) as unknown:
        await keys.revoke("nobody")
    assert unknown.value.code == "key_not_found"
    assert "laptop" in unknown.value.hint


async def test_programs_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = await asyncio.gather(*(ApiKeys(path).add(f"key {number}") for number in range(16)))
    book = KeyBook(path)
    assert {book.name_of(one.secret) for one in made} == {one.name for one in made}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"keys":[{"name":"a"}]}',
        b'{"keys":[{"name":"a","salt":"xy","sha256":"","created":0}]}',
    ],
)
async def test_a_damaged_file_lets_nobody_in_and_is_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    made = await ApiKeys(path).add("laptop")
    path.write_bytes(content)
    assert KeyBook(path).name_of(made.secret) == ""
    with pytest.raises(SlmDeskError) as damaged:
        await ApiKeys(path).add("another")
    assert damaged.value.code == "keys_damaged"
    assert path.read_bytes() == content


async def test_keys_outlive_the_service(home: Path) -> None:
    keys = ApiKeys(home / "data" / "keys.json")
    made = await keys.add("laptop")
    for _ in range(2):
        with serve(home) as running:
            shown = {"x-api-key": made.secret}
            assert running.ask("GET", "/slmdesk/v1/status", headers=shown).status == 200
    with serve(home) as running:
        await keys.revoke("laptop")
        assert running.ask("GET", "/slmdesk/v1/status", headers=shown).status == 401
        again = await keys.add("laptop")
        assert running.ask("GET", "/slmdesk/v1/status", headers=shown).status == 401
        shown = {"x-api-key": again.secret}
        assert running.ask("GET", "/slmdesk/v1/status", headers=shown).status == 200
