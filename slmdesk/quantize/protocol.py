"""What is asked of the child process `slmdesk quantizer`: one operation a process, as one JSON line on its stdin.

It answers with JSON lines on stdout: `{"event": "progress", …}`, and last `{"event": "result", "result": {…}}` or
`{"event": "error", "error": {…}}`. Paths are text, sizes bytes, times seconds.
"""

from __future__ import annotations

from slmdesk.inference.wire import Record, Wire

STEP_VARIABLE = "_SLMDESK_SAFE_STEP"  # in the child's environment: what native code it leaves out
CHUNK = 512  # tokens evaluated together, as llama.cpp's own tools do


class Options(Wire, frozen=True):
    """How to quantize, beyond the target. Types are named as in `targets.TENSOR_TYPE_NUMBERS`; "" is llama.cpp's
    choice. `overrides`: pairs of a regular expression on tensor names and a type, the first that matches counts.
    """

    output_type: str = ""
    embedding_type: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    pure: bool = False
    keep_split: bool = False
    threads: int = 0  # 0: all this process may use


class MatrixUse(Wire, frozen=True):
    """An importance matrix as quantizing uses it. With `path` "" one that does not exist yet is reckoned with."""

    path: str = ""
    name: str = "imatrix.gguf"  # as it is written into the quant
    dataset: str = ""


class Spec(Wire, frozen=True, tag_field="op"):
    """What all operations share."""

    @property
    def op(self) -> str:
        """The operation's name."""
        return str(self.__struct_config__.tag)


class ForecastSpec(Spec, frozen=True, tag="forecast"):
    """llama.cpp's dry run for each target. `matrix` is None where none will be used."""

    source: str
    targets: list[str]
    options: Options = Options()
    matrix: MatrixUse | None = None
    texts: tuple[str, ...] = ()  # to be counted in tokens
    timed: bool = True  # whether seconds are wanted, too


class QuantizeSpec(Spec, frozen=True, tag="quantize"):
    """Write `source` as `target` into `folder`, under `name` (or `name-00001-of-…` with keep_split)."""

    source: str
    folder: str
    name: str
    target: str
    options: Options = Options()
    matrix: MatrixUse | None = None
    buffer_bytes: int = 0  # most of one tensor held in memory; 0: llama.cpp's choice


class CheckSpec(Spec, frozen=True, tag="check"):
    """See that a written quant is what was asked for and runs. `types`: tensor name to type, all of them. With
    `load_only` neither types nor hashes are looked at; with `vocabulary_only` nothing is computed either: llama.cpp
    opens all parts and reads their headers."""

    files: list[str]
    types: dict[str, str]
    threads: int = 0
    load_only: bool = False
    vocabulary_only: bool = False


class MatrixSpec(Spec, frozen=True, tag="matrix"):
    """Compute an importance matrix over a text and write it to `output`."""

    source: str
    text: str
    output: str
    dataset: str
    chunk: int = CHUNK
    most_chunks: int = 0  # 0: the whole text
    special: bool = False  # whether the text may spell control tokens, such as those of a chat
    threads: int = 0
    gpu_layers: int = -1


class QualitySpec(Spec, frozen=True, tag="quality"):
    """Perplexity of the source and each quant over a text, and how far each quant is from the source.

    `quants`: name to path. `state` is a file in which the work so far is kept, to go on from. `answers_only`: of a
    text in ChatML only the assistant's tokens are scored.
    """

    source: str
    quants: dict[str, str]
    text: str
    state: str
    chunk: int = CHUNK
    most_chunks: int = 0
    special: bool = False
    answers_only: bool = False
    threads: int = 0
    gpu_layers: int = -1


class Quality(Record, omit_defaults=True):
    """What measuring says of one model (see `child.divergence.summary`); of the source only the first three."""

    perplexity: float | None = None
    perplexity_error: float | None = None
    tokens_scored: int | None = None
    perplexity_ratio: float | None = None
    perplexity_ratio_error: float | None = None
    kld_mean: float | None = None
    kld_error: float | None = None
    kld_median: float | None = None
    kld_95: float | None = None
    kld_999: float | None = None
    top_1: float | None = None
    top_1_error: float | None = None


class QualityResult(Wire, frozen=True):
    """The result of a `QualitySpec`."""

    source: Quality
    quants: dict[str, Quality]
    chunks: int


class SpeedSpec(Spec, frozen=True, tag="speed"):
    """How quick one model is, and how much memory it takes."""

    path: str
    text: str
    threads: int = 0
    gpu_layers: int = -1


class Speed(Wire, frozen=True):
    """The result of a `SpeedSpec`: the first token comes after a prompt of 64 tokens."""

    load_seconds: float
    first_token_seconds: float
    prompt_tokens_s: float
    generation_tokens_s: float
    peak_memory_bytes: int


class CompareSpec(Spec, frozen=True, tag="compare"):
    """Greedy answers of several models to one prompt. `chat`: as a question in the model's chat format."""

    paths: list[str]
    prompt: str
    most_tokens: int = 128
    chat: bool = True
    threads: int = 0
    gpu_layers: int = -1


class RegroupSpec(Spec, frozen=True, tag="regroup"):
    """Split `source` into parts `name-00001-of-…` in `folder`; with neither limit join its parts into `name.gguf`."""

    source: str
    folder: str
    name: str
    max_bytes: int = 0
    max_tensors: int = 0
    metadata_first: bool = False


class MatrixMergeSpec(Spec, frozen=True, tag="matrix_merge"):
    """Add up importance matrices. `chunk`: tokens a call of the older files stands for, and where no file says it."""

    files: list[str]
    output: str
    chunk: int = CHUNK


class MatrixStatisticsSpec(Spec, frozen=True, tag="matrix_statistics"):
    """What an importance matrix holds; with `model` also which of its tensors it says nothing about."""

    path: str
    model: str = ""


class AdapterMergeSpec(Spec, frozen=True, tag="adapter_merge"):
    """Add adapters, pairs of a file and a scale, to the weights of `source`. `type`: what changed tensors become, ""
    for the types they have."""

    source: str
    adapters: list[tuple[str, float]]
    output: str
    type: str = "F16"
    threads: int = 0


AnySpec = (
    ForecastSpec
    | QuantizeSpec
    | CheckSpec
    | MatrixSpec
    | QualitySpec
    | SpeedSpec
    | CompareSpec
    | RegroupSpec
    | MatrixMergeSpec
    | MatrixStatisticsSpec
    | AdapterMergeSpec
)
