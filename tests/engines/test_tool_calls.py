"""Tool calls as the families of models write them: read whole, in pieces of any size, and given back where they are
none."""

from __future__ import annotations

import json

import pytest

from slmdesk.engines.llama.templates import ChatTemplate
from slmdesk.engines.tool_calls.bodies import Calls
from slmdesk.engines.tool_calls.forcing import call_or_answer, may_call, must_call
from slmdesk.engines.tool_calls.forms import GENERIC, HARMONY, CallForm, form_of
from slmdesk.engines.tool_calls.messages import native_messages, native_tools, worded_messages
from slmdesk.engines.tool_calls.reading import answer_reader
from slmdesk.inference.answers import Stop
from slmdesk.inference.asks import JsonSchema, Pieces, Reasoning, Text, Tool, ToolCall, ToolResult, Turn
from slmdesk.serving.dialects.dialect import Written

WEATHER = Tool(
    "weather",
    "Tells the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
)
ADD = Tool("add")
HERMES = form_of("<tools> <tool_call>")
LLAMA = form_of("<|python_tag|>")
MISTRAL = form_of("[AVAILABLE_TOOLS] [TOOL_CALLS]")
PHI = form_of("<|tool|><|/tool|>")
GRANITE = form_of("respond with <|tool_call|>")
GEMMA = form_of("<|tool_call>call:<tool_call|>")
FUNCTION_GEMMA = form_of("<start_function_call>call:")

OSLO = ("weather", {"city": "Oslo"})
NOTHING = ("add", {})


def read(form: CallForm, text: str, size: int) -> Written:
    """What is read from a text that comes in pieces of so many characters."""
    reader = answer_reader(form, Calls((WEATHER, ADD), "seed"))
    pieces = [delta for at in range(0, len(text), size) for delta in reader.push(text[at : at + size])]
    pieces += reader.finish()
    assert reader.called == bool(Written(Stop("stop"), pieces).calls)
    return Written(Stop("stop"), pieces)


@pytest.mark.parametrize(
    ("form", "text", "answer", "calls"),
    [
        (HERMES, '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>', "", [OSLO]),
        (
            HERMES,
            (
                'Sure.\n<tool_call>\n{"name": "weather", "arguments": {"city": "a</tool_call>b", "days": 3}}\n'
                '</tool_call>\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'
            ),
            "Sure.",
            [("weather", {"city": "a</tool_call>b", "days": 3}), NOTHING],
        ),
        # Small models forget the last bracket, change the order, or write the arguments as text.
        (HERMES, '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}\n</tool_call>', "", [OSLO]),
        (HERMES, '<tool_call>{"arguments": {"city": "Oslo"}, "name": "weather"}</tool_call>', "", [OSLO]),
        (
            HERMES,
            '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>',
            "",
            [OSLO],
        ),
        (
            HERMES,
            '<tool_call>{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}</tool_call>',
            "",
            [OSLO],
        ),
        (
            HERMES,
            (
                "<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
                "</function>\n</tool_call>"
            ),
            "",
            [("weather", {"city": "12", "days": 3})],
        ),
        (
            LLAMA,
            '{"name": "weather", "parameters": {"city": "Oslo"}}; {"name": "add", "parameters": {}}',
            "",
            [OSLO, NOTHING],
        ),
        (LLAMA, '<|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}', "", [OSLO]),
        (
            MISTRAL,
            '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "add", "arguments": {}}]',
            "",
            [OSLO, NOTHING],
        ),
        (
            MISTRAL,
            'Let me see.[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]add{}',
            "Let me see.",
            [OSLO, NOTHING],
        ),
        (MISTRAL, '[TOOL_CALLS]weather[CALL_ID]abc[ARGS]{"city": "Oslo"}', "", [OSLO]),
        (PHI, '<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>', "", [OSLO]),
        (GRANITE, '<|tool_call|>[{"arguments": {"city": "Oslo"}, "name": "weather"}]', "", [OSLO]),
        (
            GEMMA,
            '<|tool_call>call:weather{city:<|"|>Oslo, {N}<|"|>,days:3,list:[true,1.5,null]}<tool_call|>',
            "",
            [("weather", {"city": "Oslo, {N}", "days": 3, "list": [True, 1.5, None]})],
        ),
        (
            FUNCTION_GEMMA,
            "<start_function_call>call:weather{city:<escape>Oslo<escape>}<end_function_call>",
            "",
            [OSLO],
        ),
        (
            HARMONY,
            '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
            "",
            [OSLO],
        ),
        (GENERIC, '{"name": "weather", "arguments": {"city": "Oslo"}}', "", [OSLO]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read(
    form: CallForm, text: str, answer: str, calls: list[tuple[str, dict[str, object]]], size: int
) -> None:
    found = read(form, text, size)
    assert found.text == answer
    assert [(call.name, json.loads(call.arguments)) for call in found.calls] == calls
    assert len({call.id for call in found.calls}) == len(calls)
    assert all(
        len(call.id) == 9 and call.id.isalnum() for call in found.calls
    )  # what Mistral's templates ask for


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (HERMES, '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call> and more'),
        (HERMES, "<tool_call>\nnot JSON\n</tool_call>"),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"city": "Os'[:20]),
        (HERMES, "a < b, <tool> and <tool_cal"),
        (LLAMA, '{"a": 1} is an object of JSON'),
        (LLAMA, "[1, 2, 3]"),
        (GENERIC, '  {"name": "Ada", "born": 1815}\n'),
        (MISTRAL, "[TOOL_CALLS]unknown[ARGS]{}"),
        (GEMMA, "<|tool_call>call:weather{city<tool_call|>"),
        (HARMONY, "Plain words."),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_what_is_no_call_is_text_and_nothing_is_lost(form: CallForm, text: str, size: int) -> None:
    found = read(form, text, size)
    assert found.calls == []
    assert found.text == text


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_arguments_come_as_they_are_written(size: int) -> None:
    reader = answer_reader(HERMES, Calls((WEATHER,), "seed"))
    assert reader.push('<tool_call>\n{"name": "weather", "arguments": {')
    rest = '"city": "Os'
    pieces = [delta for at in range(0, len(rest), size) for delta in reader.push(rest[at : at + size])]
    assert "".join(getattr(delta, "arguments", "") for delta in pieces) == rest


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_reasoning_comes_apart_before_calls_and_answers(size: int) -> None:
    found = read(
        HERMES,
        '<think>\nIs it <tool_call>?\n</think>\n\n<tool_call>{"name": "add", "arguments": {}}</tool_call>',
        size,
    )
    assert (found.reasoning.strip(), found.text) == ("Is it <tool_call>?", "")
    assert [call.name for call in found.calls] == ["add"]
    channels = read(
        HARMONY,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Good day.",
        size,
    )
    assert (channels.reasoning, channels.text) == ("Hm.", "Good day.")


def test_the_same_answer_read_again_has_the_same_ids() -> None:
    text = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    assert read(HERMES, text, 1).calls == read(HERMES, text, 50).calls


@pytest.mark.parametrize("form", [HERMES, LLAMA, MISTRAL, PHI, GRANITE, HARMONY, GENERIC])
def test_what_holds_an_answer_to_calls_is_read_as_calls(form: CallForm) -> None:
    def written(pieces: Pieces, *choices: int) -> str:
        texts = [
            '{"city": "Oslo"}' if isinstance(one, JsonSchema) else one
            for at in choices
            for one in (*pieces.choices[at], "")
        ]
        calls = "".join(one or pieces.between for one in texts).removesuffix(pieces.between)
        return pieces.before + calls + pieces.after

    for pieces in (must_call(form, (WEATHER, ADD)), may_call(form, (WEATHER, ADD), parallel=True)):
        assert pieces is not None
        pieces.check()
        found = read(form, written(pieces, 0), 3)
        assert (found.text, [(call.name, json.loads(call.arguments)) for call in found.calls]) == ("", [OSLO])
    parallel = may_call(form, (WEATHER, ADD), parallel=True)
    if parallel is not None and parallel.repeat:
        assert [call.name for call in read(form, written(parallel, 0, 1), 2).calls] == ["weather", "add"]
    either = call_or_answer(form, (WEATHER,), JsonSchema({"type": "object"}))
    either.check()
    assert len(either.choices) == 2


def test_calls_that_are_no_json_are_not_held() -> None:
    assert may_call(GEMMA, (WEATHER,), parallel=True) is None


CONVERSATION = (
    Turn.of("system", "Be brief."),
    Turn.of("user", "Weather in Oslo?"),
    Turn(
        "assistant",
        (Reasoning("I need the tool."), ToolCall("call_with_a_long_id", "weather", '{"city": "Oslo"}')),
    ),
    Turn("tool", (ToolResult("call_with_a_long_id", "Snow"),)),
)


def test_a_template_without_tools_is_told_in_words() -> None:
    messages = worded_messages(CONVERSATION, (WEATHER,))
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].startswith("Be brief.")
    assert '"name": "weather"' in messages[0]["content"]
    assert (
        messages[2]["content"]
        == '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    )
    assert messages[3]["content"] == "<tool_response>\nSnow\n</tool_response>"


def test_a_template_with_tools_gets_them_in_its_own_form() -> None:
    messages = native_messages(CONVERSATION)
    call = messages[2]["tool_calls"][0]
    assert call["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert messages[3] == {"role": "tool", "content": "Snow", "tool_call_id": call["id"], "name": "weather"}
    assert len(call["id"]) == 9
    assert messages[2]["reasoning_content"] == "I need the tool."
    assert (
        native_messages(CONVERSATION, as_text=True)[2]["tool_calls"][0]["function"]["arguments"]
        == '{"city": "Oslo"}'
    )
    template = ChatTemplate(
        "{% if tools %}T{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{% endfor %}"
    )
    text = template.prompt(messages, {"tools": native_tools((WEATHER,))}).text
    assert "[tool]Snow" in text
    assert '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>' in text


def test_texts_beside_a_call_stay() -> None:
    turn = Turn("assistant", (Text("One moment."), ToolCall("1", "add", "{}")))
    assert worded_messages((turn,), ())[0]["content"].startswith("One moment.\n<tool_call>")
