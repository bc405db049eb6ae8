"""Which chat template a model is spoken to with: its file's own, or one that another program brought along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.templates import ChatTemplate

if TYPE_CHECKING:
    from slmdesk.engines.llama.templates import Renderer
    from slmdesk.llama.model import Model

_DIALOGUE = (
    ("system", "Answer in one word."),
    ("user", "What is the capital of France?"),
    ("assistant", "Paris."),
    ("user", "And of Spain?"),
)
_MESSAGES = [{"role": role, "content": content} for role, content in _DIALOGUE]
SAMPLES: tuple[list[dict[str, Any]], ...] = (_MESSAGES[1:2], _MESSAGES[:2], _MESSAGES[1:], _MESSAGES)
"""Conversations that templates are compared with."""


def own_template(model: Model, source: str | Renderer) -> ChatTemplate | SlmDeskError:
    """The compiled chat template, or the error that every chat with this model will get."""
    try:
        return ChatTemplate(
            source,
            bos=model.special_text(model.bos),
            eos=model.special_text(model.eos),
            specials=model.special_texts,
        )
    except SlmDeskError as error:
        return error


def brought_template(model: Model, source: str, notes: list[str]) -> ChatTemplate | None:
    """Ollama's template where it says something else than the file's own, and can be rendered here without losing
    or repeating a message. None: the file's own is used; a sentence in `notes` says why where a person should know.
    """
    if not source.strip():
        return None
    from slmdesk.engines.llama.go_template import GoTemplate

    try:
        found = own_template(model, GoTemplate(source))
        if isinstance(found, SlmDeskError):
            raise found
        theirs = [found.prompt(sample).text for sample in SAMPLES]
    except SlmDeskError as error:
        notes.append(f"{error.message} The model is spoken to with its file's own template.")
        return None
    text = model.chat_template()
    own = own_template(model, text) if text else None
    bos = model.special_text(model.bos)
    if isinstance(own, ChatTemplate) and _texts(own, bos) == [text.removeprefix(bos) for text in theirs]:
        return None
    return found


def _texts(template: ChatTemplate, bos: str) -> list[str]:
    """What a template makes of the samples; nothing where it takes them not all. A beginning that the tokenizer adds
    by itself does not count."""
    try:
        return [template.prompt(sample).text.removeprefix(bos) for sample in SAMPLES]
    except SlmDeskError:
        return []
