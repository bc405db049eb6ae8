"""What every engine can do, and how the one for a file is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path, PurePath

    from slmdesk.inference.answers import Delta, Sink, Stop
    from slmdesk.inference.asks import Ask
    from slmdesk.inference.loading import Facts, Loading
    from slmdesk.inference.steps import Step
    from slmdesk.inference.vectors import EmbedAsk, RankAsk, Scores, Vectors

Ability = Literal[
    "chat", "text", "grammar", "json_schema", "tools", "logprobs", "image", "audio", "embed", "rank"
]


class Engine(Protocol):
    """One loaded model. Used on the event loop that started it.

    `died` is done once the engine ended, whatever ended it: its result is None after `stop`, else the decoded error.
    """

    died: asyncio.Future[SlmDeskError | None]
    prefix_bytes: int
    """Memory that conversations take which had to leave its context; 0 where none are kept. `prefix_peak`: the most
    they took."""
    prefix_peak: int

    @property
    def facts(self) -> Facts:
        """What was loaded."""
        ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can be asked for."""
        ...

    @property
    def pid(self) -> int:
        """The process whose memory counts."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        ...

    @property
    def running(self) -> int:
        """Answers being written or waiting."""
        ...

    async def submit(self, ask: Ask, sink: Sink) -> int:
        """Ask for an answer; returns the tokens of the prompt.

        From then on `sink` hears every piece and, once, the `Stop`. Raises `SlmDeskError` where the engine refuses
        (`context_exceeded`, `bad_request`, `unsupported`, …; the sink is not called then), or what it died of.
        """
        ...

    def ask(self, ask: Ask) -> AsyncGenerator[Delta | Stop, None]:
        """`submit` as an iterator. Closing it cancels the answer."""
        ...

    async def cancel(self, ask_id: str) -> None:
        """End an answer within one step; its sink still hears `Stop("cancelled")`."""
        ...

    async def count(self, ask: Ask) -> int:
        """How many tokens the prompt has, chat template included. Raises `SlmDeskError`."""
        ...

    async def tokenize(self, text: str) -> list[int]:
        """The tokens of a text as it stands: nothing before or behind, control tokens' names as such tokens."""
        ...

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens by their names. Raises `SlmDeskError("bad_request")` for unknown ones."""
        ...

    async def embed(self, ask: EmbedAsk) -> Vectors:
        """One vector a text, of length 1. Cancelling gives up the work.

        Raises `SlmDeskError`: `unsupported` without that ability, `context_exceeded`, `bad_request`.
        """
        ...

    async def rank(self, ask: RankAsk) -> Scores:
        """How well each document answers the question. Cancelling and errors as for `embed`."""
        ...

    async def idle(self) -> bool:
        """Whether it has nothing to do. Raises `SlmDeskError`."""
        ...

    async def stop(self) -> None:
        """End it; running answers get `Stop("cancelled")`."""
        ...


class EngineKind(Protocol):
    """A runtime: which files it takes, and how to start it for one of them."""

    @property
    def name(self) -> str:
        """Such as "llama.cpp"."""
        ...

    def takes(self, path: PurePath, form: str = "") -> bool:
        """Whether the runtime answers from this file. `form` is its format where somebody looked inside ("gguf",
        "safetensors", …): another program's file may have any name. Without it the name tells. Nothing is read."""
        ...

    async def start(
        self,
        path: Path,
        model: str,
        loading: Loading,
        *,
        step: Step = "all",
        on_progress: Callable[[float], None] | None = None,
        log_path: Path | None = None,
    ) -> Engine:
        """Load the file and wait until it can answer; `model` names it in errors, `on_progress` hears 0 to 1.

        Cancelling ends the load. Raises the decoded `SlmDeskError` (`model_damaged`, `out_of_memory`, …).
        """
        ...


class EngineKinds:
    """The runtimes of this program, the preferred one first."""

    def __init__(self, kinds: Sequence[EngineKind]) -> None:
        self._kinds = tuple(kinds)

    def runs(self, path: PurePath, form: str = "") -> bool:
        """Whether some runtime answers from this file; `form` as in `EngineKind.takes`."""
        return any(kind.takes(path, form) for kind in self._kinds)

    def for_file(self, path: PurePath, form: str = "") -> EngineKind:
        """The runtime for a file. Raises `SlmDeskError("model_not_runnable")`."""
        for kind in self._kinds:
            if kind.takes(path, form):
                return kind
        raise SlmDeskError(
            "model_not_runnable",
            f"No engine here answers from {path.name}.",
            "Choose a GGUF file of this model, or make one on the Quantize page.",
        )
