"""From an `Ask` to the tokens a model is given, and how its answer is to be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines import reasoning
from slmdesk.engines.llama.templates import ChatTemplate
from slmdesk.engines.tool_calls.bodies import Calls
from slmdesk.engines.tool_calls.forcing import call_or_answer, may_call, must_call
from slmdesk.engines.tool_calls.forms import GENERIC, form_of
from slmdesk.engines.tool_calls.messages import (
    has_calls,
    native_messages,
    native_tools,
    plain_messages,
    worded_messages,
)
from slmdesk.engines.tool_calls.reading import answer_reader
from slmdesk.inference.asks import JsonSchema, Reasoning, Text, Tool, ToolCall, ToolResult, Turn, bad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.engines.llama.templates import Prompt
    from slmdesk.engines.tool_calls.forms import CallForm
    from slmdesk.engines.tool_calls.reading import AnswerReader
    from slmdesk.inference.asks import Ask, Shape
    from slmdesk.llama.model import Model

_AROUND = 30  # characters that a template writes around a turn
_PROBE = Tool("probe_of_tools", "Looks.", {"type": "object", "properties": {"where": {"type": "string"}}})
_PROBED = (
    Turn.of("user", "Where?"),
    Turn("assistant", (ToolCall("123456789", _PROBE.name, '{"where": "there"}'),)),
    Turn("tool", (ToolResult("123456789", "There."),)),
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt in tokens. `opened`: the mark with which it opens the model's reasoning.

    `shape`: what the answer must follow. `reader`: tells its parts apart; None where it is text and nothing else.
    """

    tokens: list[int]
    opened: str = ""
    shape: Shape | None = None
    reader: AnswerReader | None = None


class Prompts:
    """Makes the prompts for one model. `template` may be the error that every chat with it gets."""

    def __init__(self, model: Model, template: ChatTemplate | SlmDeskError) -> None:
        self._model = model
        self._template = template
        source = template.source if isinstance(template, ChatTemplate) else ""
        self._form = form_of(source)
        self._marks = reasoning.Marks.of(source, model.special_texts)

    def prepare(self, ask: Ask) -> Prepared:
        """Raises `SlmDeskError` (`template_failed`, `template_missing`, `unsupported`, `bad_request`)."""
        if not ask.turns:
            return Prepared(self._raw(ask), shape=ask.shape, reader=self._reader(ask, None))
        ask = self._begun_as_written(ask)
        if ask.may_call:
            return self._calling(ask)
        if has_calls(ask.turns):
            prompt, _ = self._with_tools(ask)
        else:
            prompt = self._chat_template.prompt(plain_messages(ask.turns), ask.template_options)
        # An answer in a shape has no reasoning, so nothing of it is said to be opened.
        shaped = ask.shape is not None
        reader = self._reader(ask, None) if not shaped else None
        return Prepared(self._cut(prompt.pieces), "" if shaped else prompt.opened, ask.shape, reader)

    def _calling(self, ask: Ask) -> Prepared:
        """An answer that may be calls, or must be one."""
        prompt, form = self._with_tools(ask)
        if not form.json and (ask.must_call or ask.shape is not None):
            form = GENERIC  # a schema holds the call only where it is JSON
        tools = [tool for tool in ask.tools if ask.tool_choice.name in ("", tool.name)]
        shape: Shape | None
        if ask.must_call:
            shape = must_call(form, tools)
        elif isinstance(ask.shape, JsonSchema):
            shape = call_or_answer(form, tools, ask.shape)
        elif ask.shape is not None:
            raise bad("Tools and a grammar exclude each other; a JSON schema goes with tools.")
        else:
            shape = may_call(form, tools, parallel=ask.tool_choice.parallel)
            return Prepared(self._cut(prompt.pieces), prompt.opened, shape, self._reader(ask, form))
        pieces = list(prompt.pieces)
        if prompt.opened:  # the reasoning that the template began, ended
            pieces.append((f"\n{reasoning.PAIRS.get(prompt.opened.strip(), '')}\n\n", True))
        return Prepared(self._cut(pieces), "", shape, self._reader(ask, form))

    def _begun_as_written(self, ask: Ask) -> Ask:
        """An answer that is gone on with, as the model wrote it: it is to go on within its reasoning too."""
        last = ask.turns[-1]
        kinds = {type(part) for part in last.parts}
        if last.role != "assistant" or Reasoning not in kinds or not kinds <= {Reasoning, Text}:
            return ask
        written = Turn.of("assistant", self._marks.around(last.parts))
        return replace(ask, turns=(*ask.turns[:-1], written))

    @staticmethod
    def _reader(ask: Ask, form: CallForm | None) -> AnswerReader | None:
        if form is None and not ask.apart:
            return None
        goes_on = bool(ask.turns) and ask.turns[-1].role == "assistant"
        return answer_reader(form, Calls(ask.tools, ask.id), ask.turns[-1].text if goes_on else "")

    def _with_tools(self, ask: Ask) -> tuple[Prompt, CallForm]:
        """The prompt of a conversation with tools, and how the model calls them."""
        tools = ask.tools if ask.may_call else ()
        if self._knows_tools:
            try:
                return self._native(ask.turns, tools, ask.template_options), self._form
            except SlmDeskError as error:
                if error.code != "template_failed":
                    raise
        messages = worded_messages(ask.turns, tools)
        return self._chat_template.prompt(messages, ask.template_options), GENERIC

    @cached_property
    def _knows_tools(self) -> bool:
        """Whether the template tells a model of tools, and of calls and results."""
        if self._form is GENERIC:
            return False
        try:
            text = self._native(_PROBED, (_PROBE,), {}).text
        except SlmDeskError:
            return False
        return text.count(_PROBE.name) >= 2 and "there" in text

    def _native(self, turns: Sequence[Turn], tools: Sequence[Tool], options: dict[str, Any]) -> Prompt:
        """By the template's own means. Raises `template_failed` also where a call does not come out."""
        values = {**options, "tools": native_tools(tools)} if tools else options
        calls = [part.name for turn in turns for part in turn.parts if isinstance(part, ToolCall)]
        problem: SlmDeskError | None = None
        for as_text in (False, True):  # templates differ in what they take arguments for
            messages = native_messages(turns, as_text=as_text)
            if self._form.family == "phi4" and tools:
                messages = _with_tools_in_system(messages, tools)
            try:
                prompt = self._chat_template.prompt(messages, values)
            except SlmDeskError as error:
                problem = problem or error
                continue
            if all(name in prompt.text for name in calls):
                return prompt
        raise problem or SlmDeskError(
            "template_failed", "The model's chat template leaves out tool calls.", ""
        )

    @property
    def _chat_template(self) -> ChatTemplate:
        if isinstance(self._template, SlmDeskError):
            raise self._template
        return self._template

    def _raw(self, ask: Ask) -> list[int]:
        """A raw prompt is a program's own: control tokens in it are meant; those in turns are not."""
        model = self._model
        if isinstance(ask.prompt, tuple):
            if any(not 0 <= token < model.tokens for token in ask.prompt):
                raise bad(f"The prompt holds a token that the model does not have; it has {model.tokens}.")
            return list(ask.prompt)
        if not ask.suffix:
            return self._cut([(ask.prompt or "", True)])
        before, gap, behind = model.fill_in_tokens
        if min(before, gap, behind) < 0:
            raise SlmDeskError(
                "unsupported",
                "This model cannot fill in text before a suffix: its vocabulary has no tokens for it.",
                "Leave “suffix” out, or choose a model made for code.",
            )
        prefix, suffix = (model.tokenize(text, special=False) for text in (ask.prompt or "", ask.suffix))
        return self._begun([before, *prefix, behind, *suffix, gap])

    def _cut(self, pieces: Sequence[tuple[str, bool]]) -> list[int]:
        model = self._model
        return self._begun(
            [
                token
                for text, special in pieces
                for token in (model.tokenize_prompt(text) if special else model.tokenize(text, special=False))
            ]
        )

    def _begun(self, tokens: list[int]) -> list[int]:
        """With the mark that begins a text, once."""
        model = self._model
        if model.add_bos and model.bos >= 0 and tokens[:1] != [model.bos]:
            tokens.insert(0, model.bos)
        return tokens


def size_of(ask: Ask) -> int:
    """Characters, roughly, that an ask's prompt is made of, those around each turn too."""
    texts = (part for turn in ask.turns for part in turn.parts)
    size = sum(
        len(part.arguments) if isinstance(part, ToolCall) else len(part.text)
        for part in texts
        if isinstance(part, Text | Reasoning | ToolCall | ToolResult)
    )
    return size + _AROUND * len(ask.turns) + len(ask.prompt or "") + len(ask.suffix)


def _with_tools_in_system(messages: list[dict[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Phi-4-mini's template reads the tools from the system message."""
    told = json.dumps([tool["function"] for tool in native_tools(tools)], ensure_ascii=False)
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "tools": told}, *messages[1:]]
    return [
        {"role": "system", "content": "You are a helpful assistant with some tools.", "tools": told},
        *messages,
    ]
