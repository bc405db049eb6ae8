from __future__ import annotations

from dataclasses import replace

from slmdesk.chat.request import build_turns, estimated_tokens, prompt_room, turns_of, turns_to_skip
from slmdesk.chat.tree import Message, MessageRole, MessageState
from slmdesk.inference.asks import Reasoning, Text, Turn


def message(
    number: int, role: MessageRole, text: str, state: MessageState = "complete", **stats: object
) -> Message:
    return Message(number, 1, number - 1 or None, role, text, state, "m", 0.0, stats=dict(stats))


def long_path(turns: int) -> list[Message]:
    path: list[Message] = []
    for turn in range(turns):
        path.append(message(2 * turn + 1, "user", f"question {turn}"))
        path.append(message(2 * turn + 2, "assistant", f"answer {turn}"))
    path.append(message(2 * turns + 1, "user", "the last question"))
    return path


def test_the_request_holds_the_system_prompt_and_the_path() -> None:
    assert build_turns("Be short.", long_path(1)) == [
        Turn.of("system", "Be short."),
        Turn.of("user", "question 0"),
        Turn.of("assistant", "answer 0"),
        Turn.of("user", "the last question"),
    ]


def test_cut_answers_stay_and_empty_ones_do_not() -> None:
    path = [
        message(1, "user", "a"),
        message(2, "assistant", "half an ans", "interrupted"),
        message(3, "user", "b"),
        message(4, "assistant", "", "failed"),
        message(5, "user", "c"),
    ]
    turns = build_turns("", path)
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[1].text == "half an ans"
    # Nothing typed is dropped, and the roles still take turns as chat templates demand.
    assert turns[2].text == "b\n\nc"


def test_what_a_model_thought_aloud_is_not_sent_back() -> None:
    path = [
        message(1, "user", "<think>is mine</think> a"),
        replace(message(2, "assistant", "Paris."), parts=(Reasoning("\nHm.\n"), Text("Paris."))),
        message(3, "user", "b"),
        replace(message(4, "assistant", "", "stopped"), parts=(Reasoning("\nStill think"),)),
        message(5, "user", "c"),
    ]
    assert build_turns("", path) == [
        Turn.of("user", "<think>is mine</think> a"),
        Turn.of("assistant", "Paris."),
        Turn.of("user", "b\n\nc"),
    ]


def test_room_for_the_answer_is_never_more_than_a_quarter() -> None:
    assert prompt_room(8192, 0) == 8192 - 512
    assert prompt_room(1000, 0) == 750
    assert prompt_room(8192, 100) == 8092


def test_the_estimate_uses_what_was_measured() -> None:
    path = long_path(3)
    unmeasured = estimated_tokens(path)
    measured = [
        *path[:-1],
        message(8, "assistant", "x", usage={"prompt_tokens": 100, "completion_tokens": 20}),
        message(9, "user", "abc"),
    ]
    assert unmeasured > 0
    assert estimated_tokens(measured) == 100 + 20 + 1 + 8


async def test_as_few_turns_as_needed_are_left_out() -> None:
    path = long_path(20)
    asked: list[int] = []

    async def count(skip: int) -> int:
        asked.append(skip)
        return 10 * (len(turns_of(path)) - skip)

    assert await turns_to_skip(path, count, room=1000) == 0
    assert asked == [0]  # one look is enough where everything fits
    skip = await turns_to_skip(path, count, room=100)
    assert 10 * (21 - skip) <= 60 < 10 * (21 - skip + 1)
    assert len(asked) < 10


async def test_what_was_left_out_stays_out_while_it_fits() -> None:
    path = long_path(20)

    async def count(skip: int) -> int:
        return 10 * (21 - skip)

    assert await turns_to_skip(path, count, room=100, first_guess=12) == 12


async def test_both_ends_stay_where_the_middle_goes() -> None:
    path = long_path(5)

    async def count(skip: int) -> int:
        return 10 * (6 - skip)

    skip = await turns_to_skip(path, count, room=50, keep_first=True)
    assert 10 * (6 - skip) <= 30
    turns = build_turns("", path, skip, keep_first=True)
    assert [turn.text for turn in turns if turn.role == "user"] == [
        "question 0",
        *(f"question {number}" for number in range(skip + 1, 5)),
        "the last question",
    ]
    assert await turns_to_skip(path, count, room=1, keep_first=True) == 4
    assert await turns_to_skip(long_path(1), count, room=1, keep_first=True) == 0


async def test_the_last_question_always_stays() -> None:
    path = long_path(5)

    async def too_long(skip: int) -> int:
        return 10_000

    skip = await turns_to_skip(path, too_long, room=100)
    assert build_turns("", path, skip) == [Turn.of("user", "the last question")]
    assert await turns_to_skip(path, too_long, room=100, first_guess=99) == 5
