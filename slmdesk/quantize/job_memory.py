"""What a job of this room keeps in its row, to go on from: how far each quant and each step is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import field

from slmdesk.core.errors import SlmDeskError  # noqa: TC001 - the codec reads it
from slmdesk.inference.wire import Record, Wire
from slmdesk.quantize.protocol import Quality

if TYPE_CHECKING:
    from slmdesk.quantize.planning import QuantizeStep
    from slmdesk.quantize.protocol import Speed

QuantState = Literal["", "written", "checked", "placed", "failed"]
StepState = Literal["", "running", "done"]
Milestone = Literal["fetch", "convert"]


class StepMemory(Record, omit_defaults=True):
    """A step as it was planned, and how far it is. `took`: seconds."""

    name: str
    quant: str
    reckoned: float
    seconds: float
    error: float | None
    state: StepState = ""
    took: float | None = None

    @classmethod
    def of(cls, step: QuantizeStep) -> StepMemory:
        """One that is still to be done."""
        return cls(step.name, step.quant, step.reckoned, step.seconds, step.error)

    def is_of(self, step: QuantizeStep) -> bool:
        """Whether this is how far that step is."""
        return (self.name, self.quant) == (step.name, step.quant)


class WrittenFile(Wire, frozen=True):
    """A file of a quant, in the hidden folder."""

    name: str
    sha256: str


class Measured(Quality, omit_defaults=True):
    """What a model was worth over a text."""

    text: str = ""
    text_sha256: str = ""
    chunks: int | None = None

    def take(self, found: Quality | Speed) -> None:
        """Note what a child measured."""
        for name in found.__struct_fields__:
            setattr(self, name, getattr(found, name))


class QuantMemory(Measured, omit_defaults=True):
    """One quant: written into the hidden folder, checked, placed under its final names, measured. None: not known yet.

    `quant` where its name in the job is another; `files` None: it was not made by this job. `spared`: types of tensors
    that could not have what was meant for them.
    """

    state: QuantState = ""
    quant: str = ""
    path: str = ""
    paths: tuple[str, ...] = ()
    files: tuple[WrittenFile, ...] | None = None
    size_bytes: int = 0
    forecast_bytes: int | None = None
    bits_per_weight: float | None = None
    imatrix: bool | None = None
    source_perplexity: float | None = None
    prompt_tokens_s: float | None = None
    generation_tokens_s: float | None = None
    first_token_seconds: float | None = None
    load_seconds: float | None = None
    peak_memory_bytes: int | None = None
    quantize_seconds: float | None = None
    fallbacks: list[list[str]] | None = None
    spared: dict[str, str] = field(default_factory=dict)
    error: SlmDeskError | None = None


class JobMemory(Record, omit_defaults=True):
    """The whole. `fingerprint`: of the source; `matrix`: the importance matrix that was computed or found."""

    quants: dict[str, QuantMemory] = field(default_factory=dict)
    matrix: str = ""
    done: list[Milestone] = field(default_factory=list)
    fingerprint: str = ""
    steps: list[StepMemory] = field(default_factory=list)
    measured_source: Measured | None = None
