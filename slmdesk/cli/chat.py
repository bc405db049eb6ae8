"""`slmdesk chat`: talk with a model in the terminal, or ask it one thing."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.chat.rules import schema_of
from slmdesk.chat.turns import TurnOptions
from slmdesk.cli.answers import show_turn
from slmdesk.cli.calls import CallDesk
from slmdesk.cli.main import UsageError
from slmdesk.core import logs
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.settings import find_setting
from slmdesk.inference.asks import ANY_SEED, Sampling, ToolChoice
from slmdesk.inference.limits import SAMPLING, parse_model_setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.chat.tree import Conversation
    from slmdesk.cli.output import Output
    from slmdesk.inference.asks import JsonSchema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="library id or GGUF file (default: chat.model)"
    )
    parser.add_argument(
        "-p", "--prompt", metavar="PROMPT", help="ask this, print the answer and end; - reads stdin"
    )
    parser.add_argument("--system", metavar="TEXT", help="instructions for the model")
    for setting in SAMPLING:
        parser.add_argument(
            f"--{setting.key.replace('_', '-')}",
            type=_model_setting(setting.key),
            metavar="N" if setting.type is int else "X",
            help=setting.help.partition(". ")[0].rstrip(".").replace("%", "%%"),
        )
    parser.add_argument(
        "--max-tokens", type=_setting("chat.max_tokens"), metavar="N", help="end the answer after N"
    )
    parser.add_argument(
        "--context", type=_setting("engine.context_length"), metavar="N", help="tokens the model sees at once"
    )
    parser.add_argument("--schema", metavar="FILE", help="hold the answer to this JSON Schema; - reads stdin")
    parser.add_argument(
        "--overflow",
        choices=find_setting("chat.overflow").choices,
        help="what is done when the conversation is longer than the context (default: chat.overflow)",
    )
    parser.add_argument(
        "--tools",
        action="append",
        default=[],
        metavar="NAME",
        help="let the model use a built-in tool, a server's (server/tool), all of a server, or “all”",
    )
    parser.add_argument(
        "--tool-file",
        action="append",
        default=[],
        metavar="FILE",
        help="let the model read this file by a tool",
    )
    parser.add_argument("--call", default="", metavar="TOOL", help="the first answer has to call this tool")
    parser.add_argument("--yes", action="store_true", help="call tools without asking")
    parser.add_argument("--conversation", type=int, metavar="ID", help="go on with a kept conversation")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--save", action="store_true", help="keep what -p asks as a conversation")
    keep.add_argument("--no-save", action="store_true", help="leave nothing behind")


def run(args: argparse.Namespace, out: Output) -> int:
    return asyncio.run(_chat(args, out))


async def _chat(args: argparse.Namespace, out: Output) -> int:
    if args.schema == "-" and args.prompt in (None, "-"):
        raise UsageError("The schema is read from stdin, so the question must be given with -p.")
    shape = await asyncio.to_thread(_schema, args.schema) if args.schema is not None else None
    prompt = _prompt(args, out)
    if args.conversation is not None and (args.no_save or args.model or args.system):
        raise UsageError(
            "--conversation goes on as the conversation is: without MODEL, --system and --no-save."
        )
    keep = (prompt is None or args.save or args.conversation is not None) and not args.no_save
    application = Application.build(keep_chats=keep)
    logs.configure(application.paths, "terminal", application.settings.get("logs.level"))
    try:
        for problem in application.problems:
            out.problem(problem)
            out.event("problem", error=problem.to_json())
        if args.conversation is not None:
            conversation = (await application.chats.load(args.conversation)).conversation
        else:
            conversation = await application.chats.create(args.model, args.system)
        if args.tools or args.tool_file:
            chosen = await application.tools.choose(args.tools, args.tool_file)
            await application.chats.set_tools(conversation.id, chosen)
            conversation = (await application.chats.load(conversation.id)).conversation
        options = TurnOptions(
            Sampling(**{setting.key: getattr(args, setting.key) for setting in SAMPLING}),
            max_tokens=args.max_tokens,
            context_length=args.context,
            overflow=args.overflow,
            shape=shape,
            tool_choice=ToolChoice("required", args.call) if args.call else ToolChoice(),
        )
        if prompt is None:
            from slmdesk.cli.terminal import Terminal

            terminal = Terminal(application, out, conversation, options, keep=keep, free=args.yes)
            return await terminal.run()
        return await _ask(application, out, conversation, prompt, options, keep=keep, free=args.yes)
    finally:
        await application.close()
        logs.release()


async def _ask(
    application: Application,
    out: Output,
    conversation: Conversation,
    prompt: str,
    options: TurnOptions,
    *,
    keep: bool,
    free: bool,
) -> int:
    calls = CallDesk(application.chats, conversation.id, out, free=free)
    async with aclosing(application.chats.send(conversation.id, prompt, options)) as events:
        answer = await show_turn(events, out, calls=calls)
    if answer.error is not None:
        raise SlmDeskError.from_json(answer.error)
    if answer.reasoning and not answer.text.strip():
        out.note("The model thought aloud and came to no answer.")
    out.done(
        {
            "text": answer.text,
            "reasoning": answer.reasoning,
            "model": answer.model,
            "reason": answer.stats.get("reason"),
            "usage": answer.stats.get("usage", {}),
            "timings": answer.stats.get("timings", {}),
            "chat_form": answer.stats.get("chat_form", ""),
            "context_length": answer.stats.get("context_length", 0),
            "trimmed_turns": answer.stats.get("trimmed_turns", 0),
            "conversation": conversation.id if keep else None,
        }
    )
    return 0


def _prompt(args: argparse.Namespace, out: Output) -> str | None:
    """The one question to ask, or None for a conversation. Raises `UsageError`."""
    if args.prompt is not None and args.prompt != "-":
        prompt = str(args.prompt)
    elif args.prompt == "-" or not sys.stdin.isatty():
        # errors: a file in another encoding is still worth asking about.
        prompt = sys.stdin.buffer.read().decode("utf-8-sig", "replace")
    elif out.as_json:
        raise UsageError("--json needs -p PROMPT.", "slmdesk chat -p PROMPT --json")
    else:
        return None
    if not prompt.strip():
        raise UsageError("There is nothing to ask.", "slmdesk chat -p PROMPT")
    return prompt


def _schema(path: str) -> JsonSchema:
    """Raises `schema_invalid` and `file_not_found`."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise SlmDeskError(
            "file_not_found", f"{path} cannot be read: {error.strerror}.", "Check its path."
        ) from error
    return schema_of(data.decode("utf-8-sig", "replace"))


def _model_setting(name: str) -> Callable[[str], Any]:
    """An argument checked as a model's setting of that name is."""

    def parse(text: str) -> Any:
        if name == "seed" and text == str(ANY_SEED):
            return ANY_SEED
        try:
            return parse_model_setting(name, text)
        except SlmDeskError as error:
            raise argparse.ArgumentTypeError(f"{error.message} {error.hint}") from error

    return parse


def _setting(key: str) -> Callable[[str], Any]:
    """An argument checked as the setting of that name is."""

    def parse(text: str) -> Any:
        try:
            return find_setting(key).parse(text)
        except SlmDeskError as error:
            raise argparse.ArgumentTypeError(f"{error.message} {error.hint}") from error

    return parse
