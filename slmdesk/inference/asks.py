"""What is asked of a model: a conversation of typed parts or a raw prompt, and how the answer is to be made."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.limits import SAMPLING, in_range, is_number
from slmdesk.inference.schemas import check_depth
from slmdesk.inference.wire import Wire

Role = Literal["system", "user", "assistant", "tool"]

Overflow = Literal["refuse", "drop_oldest", "keep_ends"]
"""Refuse, leave out the oldest turns (the beginning of a raw prompt), or keep the first and the last."""

ANY_SEED = -1
"""As `Sampling.seed`: another answer every time, whatever is kept for the model."""
MOST_STOPS = 64  # with those of a form that stands in for a template
MOST_LOGPROBS = 100  # alternatives of one token


class Text(Wire, frozen=True, tag="text"):
    """What a reader sees."""

    text: str


class Media(Wire, frozen=True, tag="media"):
    """A picture or a sound. `data`: the file's bytes (base64 in JSON); `mime`: such as "image/png"."""

    kind: Literal["image", "audio"]
    mime: str
    data: bytes


class Reasoning(Wire, frozen=True, tag="reasoning"):
    """What a model thought aloud."""

    text: str


class ToolCall(Wire, frozen=True, tag="tool_call"):
    """A tool that a model wants called. `arguments`: JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


class ToolResult(Wire, frozen=True, tag="tool_result"):
    """What the call `id` gave."""

    id: str
    text: str
    failed: bool = False


Part = Text | Media | Reasoning | ToolCall | ToolResult


class Turn(Wire, frozen=True):
    """What one side says."""

    role: Role
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, role: Role, text: str) -> Turn:
        """A turn of text alone."""
        return cls(role, (Text(text),) if text else ())

    def plain(self) -> Turn:
        """The same turn, with its texts as one where it has no other parts."""
        return Turn.of(self.role, self.text) if all(isinstance(part, Text) for part in self.parts) else self

    @property
    def text(self) -> str:
        """The visible text of its parts."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Sampling(Wire, frozen=True, omit_defaults=True):
    """How tokens are chosen, in llama.cpp's terms; `temperature` 0 is greedy. None: left open.

    Names and limits are those of `limits.SAMPLING`. What is left open is, in this order, what is kept for the model,
    what a person set for all, what the model's publisher recommends, and the engine's own default.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    penalty_last_n: int | None = None
    seed: int | None = None  # repeats an answer, given the same tokens in the KV cache and no company
    logit_bias: dict[str, float] = field(
        default_factory=dict
    )  # token id (as text, JSON knows no others) -> added to its logit

    def over(self, below: Sampling) -> Sampling:
        """These values, and where one is left open that of `below`."""
        values: dict[str, Any] = below.chosen() | self.chosen()
        return Sampling(**values)

    def chosen(self) -> dict[str, Any]:
        """The values that are not left open, by name."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None and value != {}}

    def check(self, tokens: int | None = None) -> None:
        """Raise `SlmDeskError("bad_request")` for a value out of range; `tokens`: the size of the vocabulary."""
        for setting in SAMPLING:
            value = getattr(self, setting.key)
            anything = value is None or (setting.key == "seed" and value == ANY_SEED)
            if not anything and not in_range(value, setting.key):
                raise _out_of_range(setting.key, setting.limits())
        for token, bias in self.logit_bias.items():
            if not token.isdecimal() or (tokens is not None and int(token) >= tokens) or not is_number(bias):
                last = "" if tokens is None else f" from 0 to {tokens - 1}"
                raise _out_of_range("logit_bias", f"an object with token ids{last} and numbers")


class JsonSchema(Wire, frozen=True, omit_defaults=True, tag="json_schema"):
    """The answer is JSON that this schema allows.

    A schema that an engine cannot hold an answer to is refused. Not `exact`: keywords that it cannot enforce are left
    out instead, as for the arguments of a tool whose author did not ask for more.
    """

    definition: dict[str, Any]
    exact: bool = True

    def check(self) -> None:
        """Raise `SlmDeskError("schema_invalid")` for one that is nested too deeply to be sent on."""
        check_depth(self.definition)


class Grammar(Wire, frozen=True, tag="grammar"):
    """The answer follows a grammar, in llama.cpp's GBNF."""

    text: str


class Pieces(Wire, frozen=True, omit_defaults=True, tag="pieces"):
    """The answer is `before`, one of `choices`, `after`: a choice is a row of literal texts and JSON values.

    `repeat`: several choices may come, with `between` between two. `trigger`: text of the model's own may come first,
    or alone; what begins with this text is held to the choices (with `repeat`, text may follow, and more of them).
    `before` and a choice's first text together must begin with it. The text of a control token in `before`, `between`,
    `after` and texts of choices means that token, where the engine shows it to readers.
    """

    choices: tuple[tuple[str | JsonSchema, ...], ...]
    repeat: bool = False
    before: str = ""
    between: str = ""
    after: str = ""
    trigger: str = ""

    def check(self) -> None:
        """Raise `SlmDeskError("bad_request")` where there is nothing to choose, or the trigger begins no choice.

        And `schema_invalid` as `JsonSchema.check` does.
        """
        if not self.choices or not all(any(choice) for choice in self.choices):
            raise bad("A choice of pieces must hold at least one text or schema.")
        for choice in self.choices:
            first = choice[0] if isinstance(choice[0], str) else ""
            if not (self.before + first).startswith(self.trigger):
                raise bad(f"What begins with “{self.trigger}” must be how each choice begins.")
            for piece in choice:
                if isinstance(piece, JsonSchema):
                    piece.check()


Shape = JsonSchema | Grammar | Pieces


class Tool(Wire, frozen=True):
    """A function that a model may call. `parameters`: the JSON Schema of its arguments.

    Not `strict`: what an engine cannot enforce of the schema is left out.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    strict: bool = False


class ToolChoice(Wire, frozen=True):
    """Whether tools are called. `name`: the one that must be, with `mode` "required". `parallel`: several at once."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str = ""
    parallel: bool = True


class Ask(Wire, frozen=True, omit_defaults=True):
    """One answer asked for: exactly one of `turns` (chat template applied) and `prompt` (raw text or tokens) is given.

    When the last turn is the assistant's, the model goes on with it. None, "" and 0: left open.
    """

    model: str = ""
    turns: tuple[Turn, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    suffix: str = ""  # what stands behind the gap that a raw prompt's answer fills
    id: str = ""  # names the answer for `cancel`
    sampling: Sampling = Sampling()
    max_tokens: int = 0  # 0: what is kept or set, else until the model ends or the context is full
    stop: tuple[str, ...] | None = None
    shape: Shape | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    apart: bool = False  # reasoning comes as `ReasoningDelta`; else as the model wrote it, marks and all
    logprobs: int | None = None  # how many alternatives of each token; None: no log probabilities at all
    prompt_logprobs: bool = (
        False  # of the prompt's tokens too, before the answer; the prefix cache is left aside
    )
    prompt_only: bool = False  # nothing is written: the answer ends where it would begin, with "length"
    template_options: dict[str, Any] = field(default_factory=dict)  # passed to the chat template
    overflow: Overflow = "refuse"  # where the prompt is longer than the context
    conversation: str = ""  # prefers the cache slot this conversation used before
    context_length: int = 0  # tokens to load the model with; 0: what is kept for it, or the setting's
    kept_instructions: bool = True  # begin with the model's own, where no turn holds any
    written: tuple[int, ...] = ()  # tokens of the answer that another engine gave out already

    def check(self) -> None:
        """Raise `SlmDeskError("bad_request")` where it makes no sense."""
        if bool(self.turns) == (self.prompt is not None):
            raise bad("Give either a conversation or a prompt.")
        if self.max_tokens < 0:
            raise bad("max_tokens must be a whole number, 0 or more.")
        if len(self.stop or ()) > MOST_STOPS:
            raise bad(f"stop must be a list of at most {MOST_STOPS} texts.")
        if isinstance(self.shape, JsonSchema | Pieces):
            self.shape.check()
        if self.suffix and not isinstance(self.prompt, str):
            raise bad("suffix goes with a prompt of text only.")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise bad(f"logprobs must be a whole number from 0 to {MOST_LOGPROBS}.")
        if self.prompt_logprobs and self.logprobs is None:
            raise bad("prompt_logprobs goes with logprobs only.")
        self._check_tools()
        self.sampling.check()

    def _check_tools(self) -> None:
        names = [tool.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise bad("Two tools have one name.")
        if self.tools and not self.turns:
            raise bad("Tools go with a conversation only.")
        if self.tool_choice.name and self.tool_choice.name not in names:
            raise bad(f"tool_choice names {self.tool_choice.name}, which is not among the tools.")
        if self.must_call and not self.tools:
            raise bad("tool_choice wants a call, and there are no tools.")
        if self.must_call and self.shape is not None:
            raise bad("A call that must be made and a shape of the answer exclude each other.")

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a tool call."""
        return self.tool_choice.mode == "required"

    @property
    def may_call(self) -> bool:
        """Whether the answer may be a tool call."""
        return bool(self.tools) and self.tool_choice.mode != "none"


def bad(message: str, hint: str = "") -> SlmDeskError:
    """The error of a request that makes no sense."""
    return SlmDeskError("bad_request", message, hint)


def _out_of_range(name: str, wanted: str) -> SlmDeskError:
    return bad(f"{name} is out of range.", f"Use {wanted}.")
