"""Ollama's chat templates, which are Go's text/template: read, and rendered as Ollama renders them.

What Ollama's templates use is here: texts with trim marks, `if`, `range`, `with`, variables, fields and a handful of
functions. Anything else is refused when the template is read, so that no prompt is half right. Sources: Go's
text/template, "Actions" and "Functions"; Ollama's template/template.go, `Execute` and `collate`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<variable>\$\w*)"""
    r"""|(?P<field>\.\w*)|(?P<word>\w+)|(?P<sign>:=|[=(),|]))"""
)
_DEEPEST = 200  # nodes inside each other

Data = dict[str, Any]


def _refuse(what: str) -> SlmDeskError:
    return SlmDeskError(
        "template_invalid", f"Ollama's template cannot be read here: {what}.", "The file's own one is used."
    )


@dataclass(slots=True)
class _Scope:
    """What names stand for: `$` is the whole data, `.` what a block is about."""

    dot: Any
    variables: list[dict[str, Any]]

    def get(self, name: str) -> Any:
        for level in reversed(self.variables):
            if name in level:
                return level[name]
        raise _refuse(f"there is no {name}")

    def assign(self, name: str, value: Any) -> None:
        for level in reversed(self.variables):
            if name in level:
                level[name] = value
                return
        raise _refuse(f"there is no {name}")


@dataclass(slots=True)
class _Node:
    """One piece: a text, the output of an expression, an assignment, or a block with its branches."""

    kind: str
    text: str = ""
    tokens: list[tuple[str, str]] = field(default_factory=list)
    names: tuple[str, ...] = ()
    body: list[_Node] = field(default_factory=list)
    otherwise: list[_Node] = field(default_factory=list)

    @property
    def writes_response(self) -> bool:
        return any(kind == "field" and value == ".Response" for kind, value in self.tokens)


class GoTemplate:
    """A template that can be rendered for a conversation, with jinja's method. Raises `template_invalid`."""

    def __init__(self, source: str) -> None:
        try:
            self._nodes = _Reader(source).read()
        except RecursionError as error:
            raise _refuse("it is nested too deeply") from error
        used = set(_fields(self._nodes))
        self._by_messages = ".Messages" in used
        if not self._by_messages and ".Prompt" not in used:
            raise _refuse("it names neither messages nor a prompt")
        if not self._by_messages and ".Response" not in used:
            self._nodes.append(_Node("output", tokens=[("field", ".Response")]))

    def render(self, messages: list[Data], **values: Any) -> str:
        """The prompt for these messages; `values` are for the other kind of template and count for nothing here.

        Raises `SlmDeskError("template_invalid")` for what a template does that cannot be done here.
        """
        turns = _collated(messages)
        if self._by_messages:
            system = "\n\n".join(turn["Content"] for turn in turns if turn["Role"] == "system")
            return self._run(self._nodes, {"System": system, "Messages": turns, "Response": ""})
        return self._by_turns(turns, generate=bool(values.get("add_generation_prompt", True)))

    def _by_turns(self, turns: list[Data], *, generate: bool) -> str:
        """As Ollama feeds a template of one question and answer: once for each pair."""
        written: list[str] = []
        now = {"System": "", "Prompt": "", "Response": ""}

        def write() -> None:
            written.append(self._run(self._nodes, now))
            now.update(System="", Prompt="", Response="")

        for turn in turns:
            role, content = turn["Role"], turn["Content"]
            if role == "system":
                if now["Prompt"] or now["Response"]:
                    write()
                now["System"] = content
            elif role == "user":
                if now["Response"]:
                    write()
                now["Prompt"] = content
            elif role == "assistant":
                now["Response"] = content
        if generate or not now["Response"]:
            written.append(self._run(_until_response(self._nodes)[0], now))
            if now["Response"]:
                written.append(now["Response"])
        else:
            write()
        return "".join(written)

    @staticmethod
    def _run(nodes: list[_Node], data: Data) -> str:
        out: list[str] = []
        _write(nodes, _Scope(data, [{"$": data}]), out)
        return "".join(out)


class _Reader:
    """From the text of a template to its nodes."""

    def __init__(self, source: str) -> None:
        self._pieces = list(_pieces(source))
        self._at = 0
        self._deep = 0

    def read(self) -> list[_Node]:
        nodes, end = self._until_end()
        if end:
            raise _refuse(f"there is an {end} too many")
        return nodes

    def _until_end(self) -> tuple[list[_Node], str]:
        """The nodes up to the `end` or `else` of this block, and what that is."""
        self._deep += 1
        if self._deep > _DEEPEST:
            raise _refuse("it is nested too deeply")
        nodes: list[_Node] = []
        while self._at < len(self._pieces):
            is_action, text = self._pieces[self._at]
            self._at += 1
            if not is_action:
                nodes.append(_Node("text", text))
                continue
            if text.startswith("/*"):
                continue
            tokens = _tokens(text)
            word = tokens[0][1] if tokens and tokens[0][0] == "word" else ""
            if word in {"end", "else"}:
                self._deep -= 1
                return nodes, text
            if word in {"if", "range", "with"}:
                nodes.append(self._block(word, tokens[1:]))
            elif word in {"define", "template", "block", "break", "continue"}:
                raise _refuse(f"it uses {word}")
            else:
                nodes.append(_statement(tokens))
        self._deep -= 1
        return nodes, ""

    def _block(self, kind: str, tokens: list[tuple[str, str]]) -> _Node:
        node = _Node(kind)
        signs = [index for index, token in enumerate(tokens) if token == ("sign", ":=")]
        if signs:
            node.names = tuple(value for kind_, value in tokens[: signs[0]] if kind_ == "variable")
            tokens = tokens[signs[0] + 1 :]
        node.tokens = tokens
        _check(tokens)
        node.body, end = self._until_end()
        if not end:
            raise _refuse(f"an {kind} has no end")
        if end.startswith("else"):
            more = _tokens(end)[1:]
            if more and more[0] == ("word", "if"):
                node.otherwise = [self._block("if", more[1:])]  # shares the end of this one
                return node
            if more:
                raise _refuse("it uses an else of another kind")
            node.otherwise, end = self._until_end()
            if end != "end":
                raise _refuse(f"an {kind} has no end")
        return node


def _pieces(source: str) -> Iterator[tuple[bool, str]]:
    """Texts and actions in order, with the white space taken away that trim marks take."""
    at, trim = 0, False
    for found in _ACTION.finditer(source):
        text = source[at : found.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if found[1] else text
        if text:
            yield False, text
        yield True, found[2].strip()
        at, trim = found.end(), bool(found[3])
    rest = source[at:].lstrip() if trim else source[at:]
    if "{{" in rest:
        raise _refuse("an action has no end")
    if rest:
        yield False, rest


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _refuse(f"{text[:60]!r}")
        kind = str(found.lastgroup)
        joined = kind == "field" and bool(tokens) and found.start(kind) == at and at > 0
        if joined and tokens[-1][0] in {"field", "variable"}:
            tokens[-1] = (tokens[-1][0], tokens[-1][1] + found[kind])
        elif joined and tokens[-1] == ("sign", ")"):
            tokens.append(("of", found[kind]))
        else:
            tokens.append((kind, found[kind]))
        at = found.end()
    return tokens


def _statement(tokens: list[tuple[str, str]]) -> _Node:
    if len(tokens) > 2 and tokens[0][0] == "variable" and tokens[1] in {("sign", ":="), ("sign", "=")}:
        _check(tokens[2:])
        return _Node(
            "declare" if tokens[1][1] == ":=" else "assign", names=(tokens[0][1],), tokens=tokens[2:]
        )
    _check(tokens)
    return _Node("output", tokens=tokens)


def _check(tokens: list[tuple[str, str]]) -> None:
    """Refuse what no expression here can be, before anything is rendered."""
    if not tokens:
        raise _refuse("an action is empty")
    for kind, value in tokens:
        if kind == "text":
            _unquoted(value)
        if kind == "word" and value not in _FUNCTIONS and value not in {"true", "false", "nil"}:
            raise _refuse(f"it uses {value}")
        if kind == "sign" and value in {":=", "=", ","}:
            raise _refuse(f"it uses {value} inside an expression")


def _fields(nodes: list[_Node]) -> Iterator[str]:
    for node in nodes:
        for kind, value in node.tokens:
            if kind == "field" or (kind == "variable" and value.startswith("$.")):
                yield "." + value.split(".")[1]
        yield from _fields(node.body)
        yield from _fields(node.otherwise)


def _until_response(nodes: list[_Node]) -> tuple[list[_Node], bool]:
    """The nodes before the answer: everything from the first output of `.Response` on goes."""
    kept: list[_Node] = []
    for node in nodes:
        if node.kind == "output" and node.writes_response:
            return kept, True
        if node.kind in {"if", "with", "range"}:
            body, cut = _until_response(node.body)
            otherwise, cut_too = (node.otherwise, False) if cut else _until_response(node.otherwise)
            kept.append(_Node(node.kind, node.text, node.tokens, node.names, body, otherwise))
            if cut or cut_too:
                return kept, True
        else:
            kept.append(node)
    return kept, False


def _write(nodes: list[_Node], scope: _Scope, out: list[str]) -> None:
    for node in nodes:
        match node.kind:
            case "text":
                out.append(node.text)
            case "output":
                out.append(_as_text(_value(node.tokens, scope)))
            case "declare":
                scope.variables[-1][node.names[0]] = _value(node.tokens, scope)
            case "assign":
                scope.assign(node.names[0], _value(node.tokens, scope))
            case "range":
                _write_range(node, scope, out)
            case _:
                value = _value(node.tokens, scope)
                names = {node.names[0]: value} if node.names else {}
                dot = value if node.kind == "with" and value else scope.dot
                _write(node.body if value else node.otherwise, _Scope(dot, [*scope.variables, names]), out)


def _write_range(node: _Node, scope: _Scope, out: list[str]) -> None:
    items = _value(node.tokens, scope)
    if not items:
        _write(node.otherwise, _Scope(scope.dot, [*scope.variables, {}]), out)
        return
    if not isinstance(items, list):
        raise _refuse("it goes through something that is no list")
    for index, item in enumerate(items):
        values = (index, item) if len(node.names) > 1 else (item,)
        names = dict(zip(node.names, values, strict=False))
        _write(node.body, _Scope(item, [*scope.variables, names]), out)


def _value(tokens: list[tuple[str, str]], scope: _Scope) -> Any:
    """The value of a pipeline."""
    value, rest = _pipeline(list(tokens), scope)
    if rest:
        raise _refuse(f"{rest[0][1]!r} stands where nothing is expected")
    return value


def _pipeline(tokens: list[tuple[str, str]], scope: _Scope) -> tuple[Any, list[tuple[str, str]]]:
    value, rest = _command(tokens, scope, [])
    while rest and rest[0] == ("sign", "|"):
        value, rest = _command(rest[1:], scope, [value])
    return value, rest


def _command(
    tokens: list[tuple[str, str]], scope: _Scope, last: list[Any]
) -> tuple[Any, list[tuple[str, str]]]:
    """A function with its arguments, or one operand. `last` is what a pipe hands on as the last argument."""
    if not tokens:
        raise _refuse("an expression ends too early")
    name = tokens[0][1] if tokens[0][0] == "word" else ""
    function = _FUNCTIONS.get(name)
    if function is None:
        if last:
            raise _refuse("a pipe leads to something that is no function")
        return _operand(tokens, scope)
    arguments: list[Any] = []
    rest = tokens[1:]
    while rest and rest[0] not in {("sign", ")"), ("sign", "|")}:
        argument, rest = _operand(rest, scope)
        arguments.append(argument)
    try:
        return function(*arguments, *last), rest
    except (TypeError, IndexError, KeyError, ValueError) as error:
        raise _refuse(f"{name} does not take what it is given") from error


def _operand(tokens: list[tuple[str, str]], scope: _Scope) -> tuple[Any, list[tuple[str, str]]]:
    (kind, text), rest = tokens[0], tokens[1:]
    match kind:
        case "text":
            return _unquoted(text), rest
        case "number":
            return (float(text) if "." in text else int(text)), rest
        case "field":
            return _follow(scope.dot, text), rest
        case "variable":
            name, _, path = text.partition(".")
            value = scope.get(name)
            return (_follow(value, "." + path) if path else value), rest
        case "word" if text in {"true", "false", "nil"}:
            return {"true": True, "false": False, "nil": None}[text], rest
        case "word":
            return _command(tokens[:1], scope, [])[0], rest
        case "sign" if text == "(":
            value, rest = _pipeline(rest, scope)
            if not rest or rest[0] != ("sign", ")"):
                raise _refuse("a parenthesis is not closed")
            rest = rest[1:]
            if rest and rest[0][0] == "of":
                return _follow(value, rest[0][1]), rest[1:]
            return value, rest
    raise _refuse(f"{text!r} stands where a value is expected")


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    try:
        return str(json.loads(text, strict=False))
    except ValueError as error:
        raise _refuse(f"the text {text[:40]}") from error


def _follow(value: Any, path: str) -> Any:
    """A field of a field; what the data does not have is nothing, as it is in Ollama's map."""
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _equal(first: Any, *others: Any) -> bool:
    return any((first or "") == (other or "") if _plain(first, other) else first == other for other in others)


def _plain(*values: Any) -> bool:
    """Whether one of them is missing: nothing is like an empty text."""
    return any(value is None for value in values)


def _slice(value: Any, start: int = 0, end: int | None = None) -> Any:
    if not isinstance(value, list | str) or start < 0 or (end is not None and end > len(value)):
        raise ValueError(start)
    return value[start:end]


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value[key]
    return value


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not value,
    "eq": _equal,
    "ne": lambda one, other: not _equal(one, other),
    "lt": lambda one, other: one < other,
    "le": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other,
    "len": lambda value: len(value or ()),
    "index": _index,
    "slice": _slice,
    "json": _dumped,
    "print": lambda *values: "".join(map(_as_text, values)),
}


def _collated(messages: list[Data]) -> list[Data]:
    """The messages as Ollama's templates know them; neighbours of one role become one."""
    turns: list[Data] = []
    for message in messages:
        role, content = str(message["role"]), message["content"]
        text = content if isinstance(content, str) else "".join(part["text"] for part in content)
        if turns and turns[-1]["Role"] == role:
            turns[-1]["Content"] += f"\n\n{text}"
        else:
            turns.append({"Role": role, "Content": text})
    return turns
