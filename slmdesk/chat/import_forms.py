"""Conversations out of other programs' files: ChatGPT's, LM Studio's and Open WebUI's exports, OpenAI's and ShareGPT's
lines. Each reader is pure and takes what it knows; what a file has besides is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from slmdesk.engines.reasoning import split
from slmdesk.inference.asks import Part, Reasoning, Text

Says = Literal["user", "assistant"]

_ROLES: dict[str, Says] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "model": "assistant",
}
# Open WebUI keeps what was thought as a folded element, its lines quoted.
_DETAILS = re.compile(
    r'\s*<details type="reasoning"[^>]*>\s*(?:<summary>.*?</summary>)?(.*?)</details>\s*', re.DOTALL
)


@dataclass(slots=True)
class ReadMessage:
    """One message. `parent`: the index of the one it answers; None for a first one."""

    role: Says
    text: str
    parent: int | None
    reasoning: str = ""
    model: str = ""
    created_at: float = 0.0  # seconds since 1970; 0: not known

    @property
    def parts(self) -> tuple[Part, ...]:
        """As a message keeps them."""
        if not self.reasoning.strip():
            return ()
        return (Reasoning(self.reasoning), *((Text(self.text),) if self.text else ()))


@dataclass(slots=True)
class ReadConversation:
    """One conversation. `leaf`: the index of the last message of the path shown; -1: the last of all."""

    title: str = ""
    system_prompt: str = ""
    created_at: float = 0.0
    messages: list[ReadMessage] = field(default_factory=list)
    leaf: int = -1

    def add(self, role: Says, text: str, parent: int | None, **more: Any) -> int:
        """Append a message; an answer's reasoning that stands in its text is told apart. Returns its index."""
        reasoning = str(more.pop("reasoning", ""))
        if role == "assistant" and not reasoning:
            told = split(text)
            reasoning, text = told.reasoning.strip(), told.visible
        self.messages.append(ReadMessage(role, text.strip("\n"), parent, reasoning, **more))
        return len(self.messages) - 1


def read_conversations(data: object) -> list[ReadConversation]:
    """The conversations in a parsed file; none where it is of no known kind."""
    entries = data if isinstance(data, list) else [data]
    found = [read for entry in entries if isinstance(entry, dict) and (read := _read(entry)) is not None]
    return [one for one in found if one.messages]


def _read(entry: dict[str, Any]) -> ReadConversation | None:
    if isinstance(entry.get("mapping"), dict):
        return _chatgpt(entry)
    if isinstance(chat := entry.get("chat"), dict):
        return _open_webui(entry, chat)
    messages = entry.get("messages")
    if isinstance(messages, list) and any(isinstance(one, dict) and "versions" in one for one in messages):
        return _lm_studio(entry, messages)
    if isinstance(messages, list):
        return _rows(entry, messages, "role", "content")
    if isinstance(turns := entry.get("conversations"), list):
        return _rows(entry, turns, "from", "value")
    return None


def _chatgpt(entry: dict[str, Any]) -> ReadConversation:
    """A tree of nodes; hidden ones, tools and what is no text are left out, their children stay."""
    read = ReadConversation(_text(entry.get("title")), "", _time(entry.get("create_time")))
    nodes: dict[str, Any] = entry["mapping"]
    at: dict[str, int | None] = {}  # the message a node became, or the nearest above it
    thoughts: dict[str, str] = {}  # that stand before the node's answer
    waiting = [key for key, node in nodes.items() if _parent(node) not in nodes]
    while waiting:
        key = waiting.pop(0)
        if key in at:
            continue
        node = nodes[key] if isinstance(nodes[key], dict) else {}
        above = _parent(node)
        at[key], thoughts[key] = at.get(above), thoughts.get(above, "")
        message = node.get("message")
        if isinstance(message, dict):
            at[key], thoughts[key] = _chatgpt_message(read, message, at[key], thoughts[key])
        waiting += [child for child in _list(node.get("children")) if child in nodes]
    leaf = at.get(_text(entry.get("current_node")))
    read.leaf = leaf if leaf is not None else -1
    return read


def _chatgpt_message(
    read: ReadConversation, message: dict[str, Any], above: int | None, thought: str
) -> tuple[int | None, str]:
    content, metadata = _dict(message.get("content")), _dict(message.get("metadata"))
    role = _ROLES.get(_text(_dict(message.get("author")).get("role")))
    if content.get("content_type") == "thoughts":
        steps = [_text(_dict(one).get("content")) for one in _list(content.get("thoughts"))]
        return above, "\n\n".join([*filter(None, [thought]), *filter(None, steps)])
    hidden = bool(metadata.get("is_visually_hidden_from_conversation"))
    wanted = content.get("content_type") in {"text", "multimodal_text", "code"}
    pieces = [
        one if isinstance(one, str) else _text(_dict(one).get("text")) for one in _list(content.get("parts"))
    ]
    text = "\n".join(filter(None, pieces)) or _text(content.get("text"))
    if role is None or hidden or not wanted or not text.strip():
        return above, thought
    if content.get("content_type") == "code":
        text = f"```{_text(content.get('language')).replace('unknown', '')}\n{text}\n```"
    made = read.add(
        role,
        text,
        above,
        reasoning=thought if role == "assistant" else "",
        model=_text(metadata.get("model_slug")) if role == "assistant" else "",
        created_at=_time(message.get("create_time")),
    )
    return made, "" if role == "assistant" else thought


def _open_webui(entry: dict[str, Any], chat: dict[str, Any]) -> ReadConversation:
    title = _text(chat.get("title")) or _text(entry.get("title"))
    prompt = _text(_dict(chat.get("params")).get("system")) or _text(chat.get("system"))
    read = ReadConversation(title, prompt, _time(entry.get("created_at")) or _time(chat.get("timestamp")))
    history = _dict(chat.get("history"))
    nodes = _dict(history.get("messages"))
    if not nodes:
        rows = _rows(entry, _list(chat.get("messages")), "role", "content")
        read.messages = rows.messages
        return read
    at: dict[str, int | None] = {}
    waiting = [key for key, node in nodes.items() if _text(_dict(node).get("parentId")) not in nodes]
    while waiting:
        key = waiting.pop(0)
        if key in at:
            continue
        node = _dict(nodes[key])
        above = at.get(_text(node.get("parentId")))
        role, text = _ROLES.get(_text(node.get("role"))), _content(node.get("content"))
        thought = ""
        if role == "assistant" and (found := _DETAILS.match(text)) is not None:
            lines = [line.removeprefix("> ").removeprefix(">") for line in found[1].strip().splitlines()]
            thought, text = "\n".join(lines), text[found.end() :]
        at[key] = above
        if role is not None and (text.strip() or thought):
            at[key] = read.add(
                role,
                text,
                above,
                reasoning=thought,
                model=_text(node.get("model")) if role == "assistant" else "",
                created_at=_time(node.get("timestamp")),
            )
        waiting += [child for child in _list(node.get("childrenIds")) if child in nodes]
    leaf = at.get(_text(history.get("currentId")))
    read.leaf = leaf if leaf is not None else -1
    return read


def _lm_studio(entry: dict[str, Any], messages: list[Any]) -> ReadConversation:
    """Each message has versions, the chosen one leads on; an answer is made of steps, some of which are thoughts."""
    fields = _list(_dict(entry.get("perChatPredictionConfig")).get("fields"))
    prompts = [
        _dict(one).get("value") for one in fields if _dict(one).get("key") == "llm.prediction.systemPrompt"
    ]
    prompt = _text(entry.get("systemPrompt")) or next((_text(one) for one in prompts), "")
    read = ReadConversation(_text(entry.get("name")), prompt, _time(entry.get("createdAt")))
    usual = _text(_dict(entry.get("lastUsedModel")).get("identifier"))
    above: int | None = None
    for message in messages:
        versions = [_dict(one) for one in _list(_dict(message).get("versions"))]
        chosen = _dict(message).get("currentlySelected")
        following = above
        for number, version in enumerate(versions):
            made = _lm_studio_version(read, version, above, usual)
            if made is not None and (number == chosen or following == above):
                following = made
        above = following
    read.leaf = above if above is not None else -1
    return read


def _lm_studio_version(
    read: ReadConversation, version: dict[str, Any], above: int | None, usual: str
) -> int | None:
    role = _ROLES.get(_text(version.get("role")))
    if role is None:
        return None
    if not isinstance(version.get("steps"), list):
        text = _content(version.get("content"))
        model = usual if role == "assistant" else ""
        return read.add(role, text, above, model=model) if text.strip() else None
    said: list[str] = []
    thought: list[str] = []
    model = usual
    for step in map(_dict, version["steps"]):
        if step.get("type") != "contentBlock":
            continue
        thinking = _dict(step.get("style")).get("type") == "thinking"
        (thought if thinking else said).append(_content(step.get("content")))
        model = _text(_dict(step.get("genInfo")).get("identifier")) or model
    text, thoughts = "\n\n".join(filter(None, said)), "\n\n".join(filter(None, thought))
    if not text.strip() and not thoughts.strip():
        return None
    return read.add(role, text, above, reasoning=thoughts, model=model)


def _rows(entry: dict[str, Any], rows: list[Any], who: str, what: str) -> ReadConversation:
    """Messages one after another, as in OpenAI's and ShareGPT's lines."""
    read = ReadConversation(_text(entry.get("title")), "", _time(entry.get("created_at")))
    above: int | None = None
    for row in map(_dict, rows):
        name, text = _text(row.get(who)), _content(row.get(what))
        if name == "system" and not read.messages:
            read.system_prompt = "\n\n".join(filter(None, (read.system_prompt, text)))
        role = _ROLES.get(name)
        thought = _text(row.get("reasoning_content"))
        if role is not None and (text.strip() or thought):
            above = read.add(role, text, above, reasoning=thought)
    return read


def _parent(node: object) -> str:
    return _text(_dict(node).get("parent"))


def _content(value: object) -> str:
    """Text, or the text in a list of parts."""
    if isinstance(value, str):
        return value
    parts = [one if isinstance(one, str) else _text(_dict(one).get("text")) for one in _list(value)]
    return "\n".join(filter(None, parts))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _time(value: object) -> float:
    """Seconds since 1970, of a number in seconds, thousandths or billionths."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e20:
        return 0.0
    seconds = float(value)
    while seconds > 1e11:
        seconds /= 1000
    return seconds
