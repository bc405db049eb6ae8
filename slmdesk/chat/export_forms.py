"""The active path of a conversation as other programs and people take it: a web page, lines for training."""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slmdesk.inference.asks import ToolCall, ToolResult

if TYPE_CHECKING:
    from slmdesk.chat.tree import ConversationTree, Message

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
section { margin: 1.6rem 0; }
section > h2 { font-size: 1rem; margin: 0 0 .3rem; }
.quiet, details { color: color-mix(in srgb, currentColor 65%, transparent); font-size: .9rem; }
pre { overflow-x: auto; padding: .8rem; border-radius: 6px; }
pre, th, td { border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
code { font-family: ui-monospace, monospace; font-size: .9em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .6rem; }
.asked { white-space: pre-wrap; }
"""


def to_html(tree: ConversationTree) -> str:
    """A page that needs nothing else and loads nothing: answers set from their Markdown, what was thought folded away.

    Text is text: markup in it does nothing, and pictures that an answer names become links.
    """
    conversation = tree.conversation
    title = html.escape(conversation.title or "Conversation")
    when = datetime.fromtimestamp(conversation.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"<h1>{title}</h1>", f'<p class="quiet">{when}</p>']
    if conversation.system_prompt.strip():
        prompt = html.escape(conversation.system_prompt)
        parts.append(f'<section><h2>Instructions</h2><div class="asked quiet">{prompt}</div></section>')
    parts += [_section(message) for message in tree.path()]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _section(message: Message) -> str:
    if message.role == "user":
        return (
            f'<section dir="auto"><h2>You</h2><div class="asked">{html.escape(message.text)}</div></section>'
        )
    if message.role == "tool":
        results = "\n".join(part.text for part in message.parts if isinstance(part, ToolResult))
        return (
            f'<section><h2 class="quiet">Tool</h2><pre>{html.escape(results or message.text)}</pre></section>'
        )
    who = html.escape(message.model or "Answer")
    state = "" if message.state == "complete" else f' <span class="quiet">({message.state})</span>'
    thought = message.reasoning
    folded = (
        f'<details><summary>Thought</summary><div class="asked">{html.escape(thought)}</div></details>'
        if thought
        else ""
    )
    calls = "".join(
        f'<p class="quiet">Calls {html.escape(part.name)}: <code>{html.escape(part.arguments)}</code></p>'
        for part in message.parts
        if isinstance(part, ToolCall)
    )
    return f'<section dir="auto"><h2>{who}{state}</h2>{folded}{_rendered(message.text)}{calls}</section>'


def _rendered(text: str) -> str:
    from markdown_it import MarkdownIt
    from markdown_it.common.utils import escapeHtml

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

    def link(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        del self, options, env
        source, words = str(tokens[index].attrs.get("src", "")), tokens[index].content
        return f'<a href="{escapeHtml(source)}">{escapeHtml(words or source)}</a>'

    parser.add_render_rule("image", link)
    return str(parser.render(text))


def to_openai(tree: ConversationTree) -> str:
    """One line of JSON, as OpenAI's fine-tuning takes it: `{"messages": [{"role", "content"}, …]}`."""
    messages: list[dict[str, Any]] = []
    if tree.conversation.system_prompt.strip():
        messages.append({"role": "system", "content": tree.conversation.system_prompt})
    for message in tree.path():
        messages += _as_openai(message)
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


def _as_openai(message: Message) -> list[dict[str, Any]]:
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if results:
        return [{"role": "tool", "tool_call_id": part.id, "content": part.text} for part in results]
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    if not message.text.strip() and not calls:
        return []
    row: dict[str, Any] = {"role": message.role, "content": message.text}
    return [{**row, "tool_calls": calls} if calls else row]


def to_sharegpt(tree: ConversationTree) -> str:
    """One line of JSON in ShareGPT's form: `{"conversations": [{"from": "human", "value"}, …]}`."""
    turns: list[dict[str, str]] = []
    if tree.conversation.system_prompt.strip():
        turns.append({"from": "system", "value": tree.conversation.system_prompt})
    for message in tree.path():
        results = [part.text for part in message.parts if isinstance(part, ToolResult)]
        if results:
            turns.append({"from": "observation", "value": "\n".join(results)})
            continue
        if message.text.strip():
            turns.append({"from": "human" if message.role == "user" else "gpt", "value": message.text})
        turns += [
            {
                "from": "function_call",
                "value": f'{{"name": {json.dumps(part.name)}, "arguments": {part.arguments or "{}"}}}',
            }
            for part in message.parts
            if isinstance(part, ToolCall)
        ]
    document: dict[str, Any] = {"conversations": turns}
    if tree.conversation.title:
        document["title"] = tree.conversation.title
    return json.dumps(document, ensure_ascii=False) + "\n"
