"""Text as it leaves the engine: whole characters, nothing of a stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.engines.llama.text import TextStream


def _feed(stream: TextStream, pieces: list[bytes]) -> str:
    shown = ""
    for piece in pieces:
        shown += stream.push(piece)
        if stream.stopped:
            return shown
    return shown + stream.finish()


@given(st.text(max_size=40), st.integers(1, 3))
def test_any_split_of_the_bytes_gives_the_text(text: str, size: int) -> None:
    data = text.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert _feed(TextStream(), pieces) == text


@given(
    st.text("ab\n§", max_size=30),
    st.lists(st.text("ab\n§", min_size=1, max_size=4), max_size=3),
    st.integers(1, 4),
)
def test_stops_cut_where_the_first_one_begins(text: str, stops: list[str], size: int) -> None:
    data = text.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    stream = TextStream(stops)
    shown = _feed(stream, pieces)
    assert stream.stopped == any(stop in text for stop in stops)
    if stream.stopped:
        # The piece that completes a stop may complete several: the earliest beginning counts.
        assert text.startswith(shown)
        assert not any(stop in shown for stop in stops)
        assert any(text[len(shown) :].startswith(stop) for stop in stops)
    else:
        assert shown == text


def test_nothing_that_could_become_a_stop_is_shown() -> None:
    stream = TextStream(["END"])
    assert stream.push(b"the E") == "the "
    assert stream.push(b"N") == ""
    assert stream.push(b"d") == "ENd"
    assert not stream.stopped


@pytest.mark.parametrize("stops", [[], ["END"]])
def test_half_a_character_at_the_end_is_left_out(stops: list[str]) -> None:
    for half in (b"\xc3", b"\xf0\x9f", b"\xf0\x9f\x98"):
        stream = TextStream(stops)
        assert _feed(stream, [b"caf", b" E" + half]) == "caf E"


def test_broken_bytes_within_become_replacement_characters() -> None:
    assert _feed(TextStream(), [b"caf\xc3", b"e"]) == "caf\ufffde"


def test_a_tokenizers_space_at_the_beginning_is_left_out() -> None:
    stream = TextStream(strip_space=True)
    shown = [(stream.push(piece), stream.plain) for piece in (b" Hello", b" you")]
    assert shown == [("Hello", True), (" you", True)]
    assert not TextStream(strip_space=True).plain
    assert _feed(TextStream(["x"], strip_space=True), [b" ", b" a"]) == " a"


def test_a_head_comes_with_the_first_token() -> None:
    stream = TextStream(["END"], head="<think>\n")
    assert not stream.plain
    assert stream.finish() == ""
    assert stream.push(b"a E") == "<think>\na "
    assert stream.push(b"N") == ""
    alone = TextStream(head="END")
    assert (alone.push(b"caf\xc3"), alone.plain) == ("ENDcaf", False)
    assert (alone.push(b"\xa9"), alone.plain) == ("é", True)


def test_plain_comes_back_once_a_character_is_whole() -> None:
    stream = TextStream()
    stream.push("é".encode()[:1])
    assert not stream.plain
    assert stream.push("é".encode()[1:]) == "é"
    assert stream.plain
