"""What the service and an engine say to each other.

An engine is a child process that runs one loaded model. It reads one `EngineSpec` as a JSON line on stdin, prints
JSON lines on stdout (`progress` while loading, then one `ready` or one `error`), and serves HTTP on a loopback port
behind its own bearer token until its stdin closes.

Answers of all requests travel together: one long-lived `GET /events` carries one JSON line a step of the batch loop,
with the new text and token of every running request in it, so that sixteen streams cost one write and one read a
step. The tokens are kept by the parent: should the engine die, another one goes on behind them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from slmdesk.inference.steps import Step

FinishReason = Literal["stop", "length", "cancelled", "error"]
CacheType = Literal["f16", "q8_0", "q4_0"]


class Wire:
    """JSON codec of the dataclasses below: unknown keys are ignored, so either side may be newer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True, slots=True)
class EngineSpec(Wire):
    """How to load one model. Counts are tokens; 0 means "the engine decides"."""

    model_path: str
    model_id: str
    context_length: int = 0  # what one conversation may use; 0: the model's own, at most 8192
    parallel: int = 4  # conversations answered at once; they share the cache
    contexts: int = 1  # how many of that length the cache should hold, as far as memory allows
    cache_cells: int = 0  # cells of the KV cache shared by all conversations; 0: decided from the above
    threads: int = 0  # 0: physical cores
    batch: int = 512  # tokens of prompt evaluated in one step
    gpu_layers: int = (
        -1
    )  # -1: as many as fit the GPU; 0: no part for a GPU is loaded, so no driver is touched
    cache_type: CacheType = "f16"
    flash_attention: bool = True
    token: str = ""  # bearer token that callers must show
    safe_step: Step = "all"  # what native code is left out, see safe_steps
    template: str = ""  # of Ollama, in Go's form: goes before the file's own where it says something else
    adapters: tuple[str, ...] = ()  # files (LoRA) that change the model, all of them in full strength


@dataclass(frozen=True, slots=True)
class EngineReady(Wire):
    """The one ready line: where to reach the engine, and what was loaded."""

    port: int
    pid: int
    context_length: int
    parallel: int
    cache_cells: int
    vocabulary: int
    parameters: int
    architecture: str
    description: str
    has_chat_template: bool
    load_seconds: float
    memory_bytes: int  # resident memory of the process after the load, its cache counted as full
    file_bytes: int
    chat_form: str = ""  # `ChatForm.name` of what stands in for a template that the file does not have
    layers: int = 0  # of the model, the output counted as one
    gpu_layers: int = 0  # of those, the ones a GPU has
    device: str = ""  # the GPU's name, "" where there is none in use
    device_bytes: int = 0  # allocated there
    notes: tuple[str, ...] = ()  # sentences for a person: what of the spec could not be done


@dataclass(frozen=True, slots=True)
class Sampling(Wire):
    """llama.cpp's sampler chain. `temperature` 0 is greedy."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    seed: int | None = None  # repeats an answer, given the same tokens in the KV cache and no company
    grammar: str | None = None  # GBNF
    json_schema: dict[str, Any] | None = None  # turned into a grammar where grammar is None
    logit_bias: dict[str, float] = field(default_factory=dict)  # token id (as text) -> added to its logit


@dataclass(frozen=True, slots=True)
class GenerateRequest(Wire):
    """One answer asked of an engine: exactly one of `messages` (chat template applied) and `prompt` (raw text)."""

    id: str
    messages: list[dict[str, Any]] | None = None
    prompt: str | None = None
    max_tokens: int = 0  # 0: until the model ends or the context is full
    stop: list[str] = field(default_factory=list)
    sampling: dict[str, Any] = field(default_factory=dict)  # fields of Sampling
    template_options: dict[str, Any] = field(default_factory=dict)  # passed to the chat template
    conversation: str = ""  # prefers the cache slot this conversation used before
    written: list[int] = field(
        default_factory=list
    )  # tokens of the answer that another engine gave out already


@dataclass(frozen=True, slots=True)
class Timings(Wire):
    """Measured in the engine. Seconds; rates are tokens a second (0.0 where nothing was counted)."""

    queue_s: float = 0.0
    prompt_s: float = 0.0
    first_token_s: float = 0.0  # from the request's arrival at the engine
    generate_s: float = 0.0
    prompt_tokens_per_s: float = 0.0
    tokens_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished(Wire):
    """The end of one answer."""

    reason: FinishReason
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, found in the KV cache
    completion_tokens: int = 0
    timings: dict[str, float] = field(default_factory=dict)  # fields of Timings
    error: dict[str, str] | None = None  # SlmDeskError.to_json()
    written: list[int] = field(default_factory=list)  # the answer's tokens, where its engine died
