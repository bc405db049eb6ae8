"""GGUF files that are cut off, damaged or made to hurt: always a header or an error in words."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import gguf

CODES = {"not_gguf", "gguf_version", "gguf_truncated", "gguf_damaged", "gguf_no_weights"}


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", length) for length in shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


def built(
    entries: list[bytes],
    tensors: list[bytes] | None = None,
    *,
    version: int = 3,
    data: int = 1024,
    magic: bytes = b"GGUF",
) -> bytes:
    tensors = tensors or []
    body = (
        magic
        + struct.pack("<IQQ", version, len(tensors), len(entries))
        + b"".join(entries)
        + b"".join(tensors)
    )
    return body + b"\0" * (-len(body) % 32) + b"\0" * data


ARCHITECTURE = entry(b"general.architecture", 8, text(b"llama"))
GOOD = built([ARCHITECTURE], [tensor(b"w", (32, 8))])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.gguf"


def failure(path: Path, content: bytes) -> SlmDeskError:
    path.write_bytes(content)
    with pytest.raises(SlmDeskError) as caught:
        gguf.check(gguf.read_header(path))
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    return caught.value


def test_the_good_one_is_good(path: Path) -> None:
    path.write_bytes(GOOD)
    gguf.check(gguf.read_header(path))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"GGU", "something else"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"ggjt\x03\0\0\0", "GGML"),
        (b"PK\x03\x04rest", "ZIP"),
        (b'\x40\0\0\0\0\0\0\0{"a":', "safetensors"),
        (b"\0" * 100_000, "something else"),
    ],
)
def test_other_files_are_told_for_what_they_are(path: Path, content: bytes, word: str) -> None:
    error = failure(path, content)
    assert error.code == "not_gguf"
    assert word in error.message


@pytest.mark.parametrize(
    ("version", "word"), [(1, "version 1"), (3 << 24, "big-endian"), (4, "version 4"), (0, "big")]
)
def test_versions(path: Path, version: int, word: str) -> None:
    error = failure(path, built([ARCHITECTURE], version=version))
    assert error.code == "gguf_version"
    assert word in error.message


def test_every_cut_is_noticed(path: Path, desk_guide: Path) -> None:
    for length in range(len(GOOD)):
        assert failure(path, GOOD[:length]).code in {"gguf_truncated", "not_gguf", "gguf_damaged"}
    whole = desk_guide.read_bytes()
    for length in (3, 20, 500, 5000, 60_000, 80_000, len(whole) // 2, len(whole) - 1):
        assert failure(path, whole[:length]).code in {"gguf_truncated", "not_gguf", "gguf_damaged"}
    half = failure(path, whole[: len(whole) // 2])
    assert half.code == "gguf_truncated"
    assert re.search(r"cut off: [\d.]+ MB of [\d.]+ MB of weights are there", half.message)


DAMAGED = {
    "many tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + b"\0" * 500,
    "many keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + b"\0" * 500,
    "more keys than fit": b"GGUF" + struct.pack("<IQQ", 3, 0, 100) + b"\0" * 500,
    "empty key": built([entry(b"", 0, b"\1")]),
    "key twice": built([ARCHITECTURE, ARCHITECTURE]),
    "unknown type": built([entry(b"a", 13, b"\0" * 8)]),
    "long key": built([struct.pack("<Q", 2**40) + b"a"]),
    "endless key": built([struct.pack("<Q", 2**64 - 1) + b"a"]),
    "long text": built([entry(b"a", 8, struct.pack("<Q", 2**63))]),
    "long array": built([entry(b"a", 9, struct.pack("<IQ", 4, 2**62))]),
    "array beyond 64 bits": built([entry(b"a", 9, struct.pack("<IQ", 10, 2**64 - 1))]),
    "many texts": built([entry(b"a", 9, struct.pack("<IQ", 8, 2**40))]),
    "long text in an array": built([entry(b"a", 9, struct.pack("<IQQ", 8, 2, 2**64 - 1))]),
    "array of unknown type": built([entry(b"a", 9, struct.pack("<IQ", 99, 1))]),
    "deep arrays": built([entry(b"a", 9, struct.pack("<IQ", 9, 1) * 60)]),
    "wide arrays": built([entry(b"a", 9, struct.pack("<IQ", 9, 2**50))]),
    "alignment 0": built([ARCHITECTURE, entry(b"general.alignment", 4, struct.pack("<I", 0))]),
    "alignment 33": built([ARCHITECTURE, entry(b"general.alignment", 4, struct.pack("<I", 33))]),
    "alignment of text": built([ARCHITECTURE, entry(b"general.alignment", 8, text(b"32"))]),
    "alignment true": built([ARCHITECTURE, entry(b"general.alignment", 7, b"\1")]),
    "five dimensions": built([ARCHITECTURE], [tensor(b"w", (1, 1, 1, 1, 1))]),
    "billions of dimensions": built([ARCHITECTURE], [text(b"w") + struct.pack("<I", 2**32 - 1)]),
    "huge shape": built([ARCHITECTURE], [tensor(b"w", (2**40, 2**40))]),
    "huge beside nothing": built([ARCHITECTURE], [tensor(b"w", (0, 2**63))]),
    "negative length": built([ARCHITECTURE], [tensor(b"w", (2**64 - 1,))]),
    "unknown weights": built([ARCHITECTURE], [tensor(b"w", (32,), 77)]),
    "rows that do not fit": built([ARCHITECTURE], [tensor(b"w", (33,), 8)]),
    "offset outside": built([ARCHITECTURE], [tensor(b"w", (32,), 0, 2**40)]),
    "overlapping": built([ARCHITECTURE], [tensor(b"v", (32,)), tensor(b"w", (32,))]),
    "name twice": built([ARCHITECTURE], [tensor(b"w", (8,)), tensor(b"w", (8,), 0, 32)]),
    "long name": built([ARCHITECTURE], [tensor(b"w" * 64, (8,))]),
    "no architecture": built([entry(b"a", 0, b"\1")], [tensor(b"w", (8,))]),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_impossible_claims(path: Path, content: bytes) -> None:
    assert failure(path, content).code == "gguf_damaged"


def test_formats_that_were_given_up(path: Path) -> None:
    error = failure(path, built([ARCHITECTURE], [tensor(b"w", (32,), 31)]))
    assert error.code == "gguf_version"
    assert "Q4_0_4_4" in error.message


def test_text_that_is_no_utf8_is_read_all_the_same(path: Path) -> None:
    path.write_bytes(built([ARCHITECTURE, entry(b"\xff\xfe", 8, text(b"a\xffb"))], [tensor(b"\xfc", (8,))]))
    header = gguf.read_header(path)
    assert header.metadata["\\xff\\xfe"] == "a\N{REPLACEMENT CHARACTER}b"
    assert header.tensors[0].name == "\\xfc"


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SlmDeskError) as caught:
        gguf.read_header(tmp_path / "none.gguf")
    assert caught.value.code == "file_missing"
    with pytest.raises(SlmDeskError) as caught:
        gguf.read_header(tmp_path)
    assert caught.value.code == "file_unreadable"


# Claims that a file of 60 GB could bear by its size.
CLAIMS = {
    "4 M texts": entry(b"a", 9, struct.pack("<IQ", 8, 4_000_000)),
    "8 G texts": entry(b"a", 9, struct.pack("<IQ", 8, 2**33)),
    "10 000 arrays": entry(b"a", 9, struct.pack("<IQ", 9, 10_000)),
    "1 G arrays": entry(b"a", 9, struct.pack("<IQ", 9, 2**30)),
    "32 G numbers": entry(b"a", 9, struct.pack("<IQ", 0, 2**35)),
    "16 GB of text": entry(b"a", 8, struct.pack("<Q", 2**34)),
    "a long array at the end": entry(b"a", 9, struct.pack("<IQ", 12, 2**31)),
}
# A child that may take 300 MB more than it has: reading the file into memory would fail.
BOUNDED = """
import resource, sys
from pathlib import Path
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import gguf
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
for name in sys.argv[1:]:
    try:
        gguf.check(gguf.read_header(Path(name)))
    except SlmDeskError as error:
        print(error.code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_huge_claims_take_little_memory(tmp_path: Path) -> None:
    starts = [b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + claim for claim in CLAIMS.values()]
    starts.append(b"GGUF" + struct.pack("<IQQ", 3, 2**30, 0))
    starts.append(b"GGUF" + struct.pack("<IQQ", 3, 0, 2**16) + entry(b"a", 0, b"\0"))
    starts.append(b"GGUF" + struct.pack("<IQQ", 3, 10**6, 0))
    files = []
    for number, start in enumerate(starts):
        path = tmp_path / f"{number}.gguf"
        with path.open("wb") as file:
            file.write(start)
            file.truncate(60 * 2**30)  # takes no room on the disk
        files.append(str(path))
    command = [sys.executable, "-c", BOUNDED, *files]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    codes = result.stdout.split()
    assert len(codes) == len(files)
    assert set(codes) <= CODES


def outcome(path: Path, content: bytes) -> None:
    """A header, or a `SlmDeskError` with one of the known codes; any other exception fails the test."""
    path.write_bytes(content)
    error: SlmDeskError | None = None
    try:
        header = gguf.read_header(path)
        gguf.check(header)
        for key, value in header.metadata.items():
            if isinstance(value, gguf.GgufArray):
                gguf.read_array(path, header, key)
        gguf.duplicate_tokens(path, header)
    except SlmDeskError as caught:
        error = caught
    assert error is None or (error.code in CODES and error.hint)


RICH = built(
    [
        ARCHITECTURE,
        entry(b"llama.context_length", 4, struct.pack("<I", 2048)),
        entry(b"general.alignment", 4, struct.pack("<I", 64)),
        entry(b"general.file_type", 4, struct.pack("<I", 15)),
        entry(b"flag", 7, b"\1"),
        entry(b"small", 1, b"\xff"),
        entry(b"big", 10, b"\xff" * 8),
        entry(b"real", 12, struct.pack("<d", 1.5)),
        entry(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 3) + text(b"a") + text(b"") + text(b"bcd")),
        entry(b"scores", 9, struct.pack("<IQfff", 6, 3, 1, 2, 3)),
        entry(b"nested", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQHH", 2, 2, 7, 8)),
    ],
    [tensor(b"token_embd.weight", (256, 4), 12), tensor(b"norm", (64,), 0, 576)],
    data=4096,
)


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes(path: Path, changes: list[tuple[int, int]]) -> None:
    content = bytearray(RICH)
    for place, value in changes:
        content[place] = value
    outcome(path, bytes(content))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 900), value=st.integers(0, 2**64 - 1), cut=st.integers(0, len(RICH)))
def test_changed_numbers_and_cuts(path: Path, place: int, value: int, cut: int) -> None:
    content = bytearray(RICH)
    content[place : place + 8] = struct.pack("<Q", value)
    outcome(path, bytes(content[:cut]))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=400), tensors=st.integers(0, 3), keys=st.integers(0, 6))
def test_random_headers(path: Path, rest: bytes, tensors: int, keys: int) -> None:
    outcome(path, b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 72_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_in_the_built_in_model(
    path: Path, desk_guide: Path, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(desk_guide.read_bytes()[:120_000])
    for place, value in changes:
        content[place] = value
    outcome(path, bytes(content))
