"""Headers read over ranges: little is fetched, and what comes is checked as a local file is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.formats.remote import read_remote_header

MIB = 1024 * 1024


class Source:
    """A file elsewhere that counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    async def fetch(self, start: int, end: int) -> bytes:
        self.asked.append((start, end))
        return self.data[start:end]

    @property
    def fetched(self) -> int:
        return sum(min(end, len(self.data)) - start for start, end in self.asked)


@pytest.fixture(scope="module")
def large(architectures: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 MB of header before 20 MB of weights; one number of KV heads a layer."""
    sizes = architectures.Sizes(
        "lfm2",
        quant="Q8_0",
        layers=4,
        hidden=128,
        feed_forward=256,
        heads=4,
        kv_heads=2,
        vocabulary=120_000,
        tokenizer="gpt2",
        attention_layers=(1, 3),
    )
    path: Path = architectures.write_model(tmp_path_factory.mktemp("remote") / "large.gguf", sizes)
    return path


async def test_only_the_header_is_fetched(large: Path) -> None:
    source = Source(large.read_bytes())
    local = read_header(large)
    header = await read_remote_header(source.fetch, name="large.gguf", file_bytes=len(source.data))
    assert source.asked[0] == (0, MIB)
    assert local.data_offset <= source.fetched < len(source.data) // 2
    assert header.tensors == local.tensors
    assert (header.vocabulary, header.quant, header.data_offset) == (120_000, local.quant, local.data_offset)
    assert Architecture.from_gguf(header) == Architecture.from_gguf(local)


async def test_the_size_may_be_unknown(large: Path) -> None:
    source = Source(large.read_bytes())
    header = await read_remote_header(source.fetch)
    assert header.file_bytes == len(source.data)


async def test_a_cut_source_is_told(large: Path) -> None:
    source = Source(large.read_bytes()[: 2 * MIB])
    with pytest.raises(SlmDeskError) as caught:
        await read_remote_header(source.fetch, file_bytes=large.stat().st_size)
    assert caught.value.code == "gguf_truncated"


@pytest.mark.parametrize("data", [b"", b"GG", b"<html>404</html>" * 100, b"GGUF\x03\0\0\0" + b"\xff" * 100])
async def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(SlmDeskError) as caught:
        await read_remote_header(Source(data).fetch, file_bytes=len(data) or 1)
    assert caught.value.code in {"not_gguf", "gguf_truncated", "gguf_damaged"}


async def test_a_hostile_source_cannot_make_us_fetch_without_end() -> None:
    """A string that claims 15 MB, again and again, in a source without an end."""
    asked = 0
    count = (1000).to_bytes(8, "little")
    entry = (1).to_bytes(8, "little") + b"k" + (8).to_bytes(4, "little") + (15 * MIB).to_bytes(8, "little")

    async def fetch(start: int, end: int) -> bytes:
        nonlocal asked
        asked += end - start
        head = b"GGUF\x03\0\0\0" + bytes(8) + count + entry if start == 0 else b""
        return head + b"\0" * (end - start - len(head))

    with pytest.raises(SlmDeskError) as caught:
        await read_remote_header(fetch)
    assert caught.value.code == "gguf_damaged"
    assert asked <= 65 * MIB


async def test_a_name_with_folders_stays_a_name(large: Path) -> None:
    header = await read_remote_header(Source(large.read_bytes()).fetch, name="../../etc/large.gguf")
    assert header.path == Path("large.gguf")
    assert replace(header, path=large).path.exists()
