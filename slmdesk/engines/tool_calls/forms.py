"""How each family of models writes a tool call, told by its chat template.

The marks are those of the publishers' templates: Hermes and Qwen, Llama 3, Mistral, Phi-4-mini, Granite 3, Gemma 4,
FunctionGemma and gpt-oss. A model whose template knows no tools is told of them in words, and calls as Hermes does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "hermes", "llama3", "mistral", "phi4", "granite", "gemma4", "functiongemma", "harmony", "generic"
]


@dataclass(frozen=True, slots=True)
class CallForm:
    """Where a call begins and ends in what a model writes.

    `begin` may be "" only with `bare`: a call is also the JSON object that an answer begins with. `end` is "" where
    the call's own end is all there is. `many`: the calls stand in one JSON list. `arguments`: the key of a call's
    arguments.
    """

    family: Family
    begin: str
    end: str = ""
    bare: bool = False
    many: bool = False
    arguments: str = "arguments"

    @property
    def json(self) -> bool:
        """Whether a call's arguments are JSON, so that a schema can hold them."""
        return self.family not in {"gemma4", "functiongemma"}


GENERIC = CallForm("generic", "<tool_call>", "</tool_call>", bare=True)
HARMONY = CallForm("harmony", "<|channel|>")

_FAMILIES: tuple[tuple[tuple[str, ...], CallForm], ...] = (
    (("[TOOL_CALLS]",), CallForm("mistral", "[TOOL_CALLS]", many=True)),
    (("<|tool_call>", "<tool_call|>"), CallForm("gemma4", "<|tool_call>", "<tool_call|>")),
    (("<start_function_call>",), CallForm("functiongemma", "<start_function_call>", "<end_function_call>")),
    (("<|tool|>", "<|/tool|>"), CallForm("phi4", "<|tool_call|>", "<|/tool_call|>", many=True)),
    (("<|tool_call|>",), CallForm("granite", "<|tool_call|>", many=True)),
    (("<tool_call>",), CallForm("hermes", "<tool_call>", "</tool_call>")),
    (("<|channel|>", "functions"), HARMONY),
    (("<|python_tag|>",), CallForm("llama3", "<|python_tag|>", bare=True, arguments="parameters")),
    (("ipython", '"parameters"'), CallForm("llama3", "<|python_tag|>", bare=True, arguments="parameters")),
)
MARKS = frozenset(
    {mark for _, form in _FAMILIES for mark in (form.begin, form.end) if mark}
    | {"[ARGS]", "[CALL_ID]", "<|constrain|>", "<|call|>", "<escape>", '<|"|>'}
)
"""Texts that may be control tokens and are part of what a model writes when it calls."""


def form_of(template: str) -> CallForm:
    """The form that a chat template's source speaks of; `GENERIC` where it knows no tools."""
    for marks, form in _FAMILIES:
        if all(mark in template for mark in marks):
            return form
    return GENERIC
