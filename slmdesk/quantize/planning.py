"""Before anything runs: how large each quant will be, how long each step takes, and what it needs."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core import amounts
from slmdesk.core.cores import worker_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.space import existing_parent
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import CHUNK, ForecastSpec, MatrixUse
from slmdesk.quantize.request import AUTO, NONE, Request
from slmdesk.quantize.source import SourceGguf, output_name, stem_of
from slmdesk.quantize.store import Pace
from slmdesk.quantize.targets import find_target
from slmdesk.quantize.texts import TextFile, calibration_text, measuring_text, own_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slmdesk.core.paths import Paths
    from slmdesk.memory.fit import Fit

MAKING = "making the converter"
"""How the words begin that are said while its toolchain is made."""
MEASURED_BELOW = 4_000_000_000  # parameters
_FLOPS_A_THREAD = 2.0e10  # a first guess, corrected by what steps really take
_READ_BYTES_S = 1.0e9
_CONVERTER_S, _CONVERTED_BYTES_S = 8.0, 2.0e8
_ROW_S = 2.0e-9  # seconds a logit takes to be compared
_OWN_BYTES = 150_000_000  # of a child process
_LARGEST_BUFFER, _SMALLEST_BUFFER = 8 << 30, 256 << 20


@dataclass(frozen=True, slots=True)
class QuantizeStep:
    """One piece of the work. `reckoned`: seconds of work in it as reckoned, `seconds`: as expected by experience."""

    name: str  # "convert", "imatrix", "quantize", "check", "measure", "speed"
    quant: str = ""
    reckoned: float = 0.0
    seconds: float = 0.0
    error: float | None = None  # median relative error of past forecasts of such steps


@dataclass(frozen=True, slots=True)
class QuantForecast:
    """What one target will be. `fallbacks`: tensors that get another type because of their shape, as
    (name, meant, given). `path` is where it will lie; `exists`: something lies there already."""

    quant: str
    path: str
    bytes: int
    bits_per_weight: float
    seconds: float
    error: float | None
    memory_bytes: int
    fallbacks: tuple[tuple[str, str, str], ...]
    needs_matrix: bool
    warning: str
    exists: bool
    types: dict[str, str]
    fit: Fit | None = None  # whether it will run here; None where nobody asked


@dataclass(frozen=True, slots=True)
class QuantizePlan:
    """The whole plan. `disk_bytes` includes what is temporary."""

    quants: tuple[QuantForecast, ...]
    steps: tuple[QuantizeStep, ...]
    seconds: float
    disk_bytes: int
    free_bytes: int
    warnings: tuple[str, ...]
    measured: bool
    text: str
    matrix: str  # what is said of the importance matrix
    estimated: bool = False  # of a folder that is converted first

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for quant, made in zip(data["quants"], self.quants, strict=True):
            del quant["types"]
            quant["fit"] = made.fit.to_json() if made.fit is not None else None
        return data


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go: the folder, and the name that patterns are filled with."""

    folder: Path
    name: str

    def stem(self, request: Request, quant: str) -> str:
        return output_name(request.pattern, {"name": self.name, "quant": quant})

    def final(self, request: Request, quant: str, parts: int) -> list[Path]:
        """The files a quant will be."""
        stem = self.stem(request, quant)
        if request.options.keep_split and parts > 1:
            return [self.folder / f"{stem}-{n:05}-of-{parts:05}.gguf" for n in range(1, parts + 1)]
        return [self.folder / f"{stem}.gguf"]


def place_for(request: Request, source: SourceGguf, home: Path) -> Destination:
    """`home` is the model's folder in the library, used where no output folder was asked for."""
    folder = Path(request.output).expanduser().absolute() if request.output else home
    return Destination(folder, stem_of(source.path, source.quant))


def matrix_name(place: Destination) -> str:
    return f"{place.name}.imatrix.gguf"


def matrix_use(request: Request, place: Destination, text: TextFile, path: str = "") -> MatrixUse | None:
    """The matrix as quants will name it; `path` "" while it is still to be computed."""
    if request.matrix == NONE:
        return None
    if request.matrix == AUTO:
        return MatrixUse(path, matrix_name(place), text.name)
    from slmdesk.quantize.matrix_file import read_matrix  # brings numpy

    own = Path(request.matrix).expanduser().absolute()
    datasets = read_matrix(own).datasets
    return MatrixUse(str(own), own.name, datasets[0] if datasets else "")


def buffer_bytes(available: int) -> int:
    """How much of one tensor llama.cpp may hold in memory."""
    return max(_SMALLEST_BUFFER, min(_LARGEST_BUFFER, available // 4))


async def forecast(
    request: Request,
    source: SourceGguf,
    place: Destination,
    paths: Paths,
    paces: Mapping[tuple[str, str], Pace],
) -> QuantizePlan:
    """Look at every target: llama.cpp's dry run in a child, and this machine's pace.

    Raises `imatrix_needed`, `text_too_short`, and what `host.run_child` raises.
    """
    check_request(request)
    check_patterns(request, source)
    text, calibration = (
        measuring_text(paths, source.header, request.text),
        calibration_text(paths, source.header, request.calibration_text),
    )
    use = matrix_use(request, place, calibration)
    found = await run_child(
        ForecastSpec(
            source=str(source.path),
            targets=list(request.targets),
            options=request.options,
            matrix=use,
            texts=(str(calibration.path), str(text.path)),
        )
    )
    measured = measured_by_default(request, source.parameters)
    if request.matrix == AUTO:
        check_length(source, calibration, found["tokens"][0])
    if measured:
        check_length(source, text, found["tokens"][1])
    threads = request.options.threads or worker_threads()
    reckoner = Reckoner(source.parameters, source.header.vocabulary, threads, paces, *found["tokens"])
    quants = tuple(_quant(request, source, place, entry, reckoner) for entry in found["quants"])
    steps = _steps(request, quants, found["quants"], reckoner, measured=measured)
    free = shutil.disk_usage(existing_parent(place.folder)).free
    experts = source.header.number("expert_count")
    warnings = [source.warning] if source.warning else []
    warnings += [q.warning for q in quants if q.warning and not (experts and q.quant == "MXFP4")]
    warnings += [
        f"{q.quant} becomes no smaller than its source: {amounts.size(q.bytes)} from {amounts.size(source.bytes)}."
        for q in quants
        if q.bytes >= source.bytes
    ]
    return QuantizePlan(
        quants=quants,
        steps=steps,
        seconds=sum(step.seconds for step in steps),
        disk_bytes=sum(quant.bytes for quant in quants),
        free_bytes=free,
        warnings=tuple(dict.fromkeys(warnings)),
        measured=measured,
        text=text.name,
        matrix=matrix_words(request),
    )


async def sizes(source: SourceGguf, quants: Iterable[str]) -> dict[str, int]:
    """Exact bytes of quants by llama.cpp's dry run, without times. Raises what `host.run_child` raises."""
    spec = ForecastSpec(str(source.path), list(quants), matrix=MatrixUse(), timed=False)
    found = await run_child(spec)
    return {str(entry["quant"]): int(entry["bytes"]) for entry in found["quants"]}


def matrix_words(request: Request) -> str:
    """Whether an importance matrix is used, and what that means for these quants."""
    wanting = [name for name in request.targets if find_target(name).wants_matrix]
    if request.matrix == AUTO:
        return "With an importance matrix, computed here: the weights that matter most are rounded with most care."
    if request.matrix != NONE:
        return f"With the importance matrix {Path(request.matrix).name}."
    if wanting:
        return f"Without an importance matrix: {', '.join(wanting)} would lose clearly less with one."
    return "Without an importance matrix: it is worth its time from Q4_0 down."


async def measuring_steps(
    source: SourceGguf,
    sizes: Mapping[str, int],
    text: TextFile,
    threads: int,
    paces: Mapping[tuple[str, str], Pace],
) -> tuple[QuantizeStep, ...]:
    """The steps of measuring quants that are there; `sizes`: their names and bytes. Raises `text_too_short`, and what
    `host.run_child` raises."""
    found = await run_child(ForecastSpec(str(source.path), [], texts=(str(text.path),)))
    check_length(source, text, found["tokens"][0])
    reckoner = Reckoner(
        source.parameters, source.header.vocabulary, threads or worker_threads(), paces, 0, found["tokens"][0]
    )
    return (
        reckoner.measure(len(sizes)),
        *(reckoner.speed(size, name) for name, size in sizes.items()),
    )


def check_length(source: SourceGguf, text: TextFile, tokens: int) -> None:
    """Raises `SlmDeskError("text_too_short")` where the text is less than what is evaluated at once, twice."""
    needed = 2 * min(CHUNK, source.header.context_length or CHUNK)
    if tokens < needed:
        raise SlmDeskError(
            "text_too_short",
            f"{text.path.name} has {tokens} tokens; at least {needed} are needed.",
            "Choose a longer text.",
        )


async def check_texts(request: Request, source: SourceGguf, paths: Paths) -> None:
    """Refuse texts of a person's own that are too short for what they are to be used for, before anything is made.

    Raises `text_too_short`, `text_unreadable`.
    """
    texts = []
    if request.text and measured_by_default(request, source.parameters):
        texts.append(measuring_text(paths, source.header, request.text))
    if request.calibration_text and request.matrix == AUTO:
        texts.append(calibration_text(paths, source.header, request.calibration_text))
    if texts:
        found = await run_child(
            ForecastSpec(str(source.path), [], texts=tuple(str(text.path) for text in texts))
        )
        for text, tokens in zip(texts, found["tokens"], strict=True):
            check_length(source, text, tokens)


def measured_by_default(request: Request, parameters: int) -> bool:
    """Whether what was lost is measured: where nobody said so, of models that take minutes, not hours."""
    return request.measure if request.measure is not None else parameters < MEASURED_BELOW


def convert_step(weights_bytes: int, paces: Mapping[tuple[str, str], Pace]) -> QuantizeStep:
    """How long a folder takes to become a GGUF: its libraries load, then every weight is read and written."""
    reckoned = _CONVERTER_S + weights_bytes / _CONVERTED_BYTES_S
    pace = paces.get(("convert", "")) or Pace()
    return QuantizeStep("convert", "", reckoned, pace.seconds(reckoned), pace.error)


def check_request(request: Request) -> None:
    """Refuse what cannot work, whatever the model. Raises `imatrix_needed`, `imatrix_missing`, `imatrix_unreadable`,
    `text_unreadable`, `text_too_short`."""
    for text in (request.text, request.calibration_text):
        if text:
            own_text(text)
    if request.matrix not in {AUTO, NONE}:
        from slmdesk.quantize.matrix_file import read_matrix

        read_matrix(Path(request.matrix).expanduser().absolute())
    needing = [name for name in request.targets if find_target(name).needs_matrix]
    if request.matrix == NONE and needing:
        raise SlmDeskError(
            "imatrix_needed",
            f"{', '.join(needing)} cannot be made without an importance matrix.",
            "Let it be computed.",
        )


def check_patterns(request: Request, source: SourceGguf) -> None:
    """Refuse an override for tensors that the model does not have. Raises `pattern_matches_nothing`."""
    names = [
        tensor.name
        for part in source.parts
        for tensor in read_header(part).tensors
        if len(tensor.shape) > 1  # a row alone is never quantized
    ]
    for pattern, kind in request.options.overrides:
        if not any(re.search(pattern, name) for name in names):
            ends = sorted({name.rpartition(".")[0].rpartition(".")[2] for name in names})
            raise SlmDeskError(
                "pattern_matches_nothing",
                f"“{pattern}={kind}” matches no tensor of {source.path.name} that is quantized.",
                f"There are: {', '.join(ends[:24])}.",
            )


class Reckoner:
    """Seconds of steps: the work in them, corrected by how such steps went here before."""

    def __init__(  # noqa: PLR0917
        self,
        parameters: int,
        vocabulary: int,
        threads: int,
        paces: Mapping[tuple[str, str], Pace],
        calibration_tokens: int,
        text_tokens: int,
    ) -> None:
        self._parameters = parameters
        self._vocabulary = vocabulary
        self._threads = threads
        self._paces = paces
        self._calibration = calibration_tokens // CHUNK * CHUNK
        self._text = text_tokens // CHUNK * CHUNK

    def step(self, name: str, quant: str, reckoned: float) -> QuantizeStep:
        pace = self._paces.get((name, quant)) or self._paces.get((name, "")) or Pace()
        return QuantizeStep(name, quant, reckoned, pace.seconds(reckoned), pace.error)

    def quantize(self, entry: Mapping[str, Any]) -> QuantizeStep:
        reckoned = float(entry["seconds"]) / self._threads + float(entry["starts"])
        return self.step("quantize", str(entry["quant"]), reckoned)

    def check(self, size: int, quant: str) -> QuantizeStep:
        return self.step("check", quant, 3 * size / _READ_BYTES_S)

    def matrix(self) -> QuantizeStep:
        return self.step("imatrix", "", self._evaluation(self._calibration))

    def measure(self, quants: int) -> QuantizeStep:
        compared = self._text / 2 * self._vocabulary * _ROW_S * quants
        return self.step("measure", "", self._evaluation(self._text) * (quants + 1) + compared)

    def speed(self, size: int, quant: str) -> QuantizeStep:
        return self.step("speed", quant, self._evaluation(2048) + 300 * size / 1e10)

    def _evaluation(self, tokens: int) -> float:
        return 2.0 * self._parameters * tokens / (_FLOPS_A_THREAD * self._threads)


def _quant(
    request: Request, source: SourceGguf, place: Destination, entry: Mapping[str, Any], reckoner: Reckoner
) -> QuantForecast:
    target = find_target(str(entry["quant"]))
    size = int(entry["bytes"])
    files = place.final(request, target.name, len(source.parts))
    step = reckoner.quantize(entry)
    return QuantForecast(
        quant=target.name,
        path=str(files[0]),
        bytes=size,
        bits_per_weight=size * 8 / max(source.parameters, 1),
        seconds=step.seconds,
        error=step.error,
        memory_bytes=min(int(entry["largest_bytes"]), _LARGEST_BUFFER) + _OWN_BYTES,
        fallbacks=tuple((str(a), str(b), str(c)) for a, b, c in entry["fallbacks"]),
        needs_matrix=target.needs_matrix,
        warning=target.warning,
        exists=any(file.exists() for file in files),
        types={str(name): str(kind) for name, kind in entry["types"].items()},
    )


def _steps(
    request: Request,
    quants: tuple[QuantForecast, ...],
    entries: list[Mapping[str, Any]],
    reckoner: Reckoner,
    *,
    measured: bool,
) -> tuple[QuantizeStep, ...]:
    steps: list[QuantizeStep] = []
    if request.matrix == AUTO:
        steps.append(reckoner.matrix())
    for quant, entry in zip(quants, entries, strict=True):
        steps += [reckoner.quantize(entry), reckoner.check(quant.bytes, quant.quant)]
    if measured:
        steps.append(reckoner.measure(len(quants)))
        steps += [reckoner.speed(quant.bytes, quant.quant) for quant in quants]
    return tuple(steps)
