"""A GGUF of a model's folder, made by llama.cpp's own converter in its toolchain.

The folder is checked first, weights and all; the converter runs in a child process that can be ended with all it
started; its file gets its name only when its header says that it is whole. The folder is only read.
"""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.space import MARGIN_BYTES, existing_parent
from slmdesk.formats import gguf
from slmdesk.quantize.finite import check_finite
from slmdesk.quantize.hf_folder import HfFolder, examine
from slmdesk.quantize.hf_projector import examine_projector
from slmdesk.quantize.planning import MAKING
from slmdesk.toolchains.toolchains import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.toolchains.toolchains import Toolchain, Toolchains

    # Done, in all, and what is being done.
    Heard = Callable[[float, float, str], None]

TOOLCHAIN = "convert"
SCRIPT = "convert_hf_to_gguf.py"
_NAMING = "bitnet_names.py"  # runs the script with the names that transformers gives to a BitNet's tensors
_REGISTRY = "conversion/__init__.py"
_SHIPPED = "convert-architectures.txt"  # the same names, known before the toolchain is there
_SHIPPED_PROJECTORS = "convert-projectors.txt"
_PARTIAL = ".partial"

# Shares of the time: making the toolchain counts apart.
_CHECKED, _PREPARED = 0.15, 0.35
_TENSOR = re.compile(r"INFO:(?:hf|lora)-to-gguf:(\S+),\s+\S+ --> \w+, shape")
_WRITING = re.compile(r"Writing:\s+(\d+)%")
_PROGRESS = re.compile(r"^[^\n]{0,80}?\d+%\||^[^\n]{0,80}?\d+(?:it|B|[kMG]i?B)? \[\d\d:\d\d")  # tqdm's bars
_CHAINED = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$",
    re.MULTILINE,
)
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b(?::|$)")

_MEMORY_HINT = "Close other programs and try again, or download a GGUF of this model."
# (pattern in what the converter says, code, message, hint); the first that matches counts. "toolchain" has words of
# its own.
_SIGNS: tuple[tuple[str, ErrorCode | Literal["toolchain"], str, str], ...] = (
    (
        r"Model (\S+) is not supported|Architecture '?(\S+?)'? not supported",
        "architecture_unsupported",
        "The model's architecture, {0}, is not one that llama.cpp's converter knows.",
        "Look for a GGUF of this model, or for a newer SLM Desk.",
    ),
    (
        r"BPE pre-tokenizer was not recognized",
        "tokenizer_unknown",
        "The model cuts text into tokens in a way that this release of llama.cpp does not know.",
        "Look for a GGUF of this model, or for a newer SLM Desk.",
    ),
    (
        r"code from the model's folder is not run",
        "remote_code_refused",
        "The model cannot be converted without running code that comes with it, which is never done here.",
        "Download a GGUF of this model.",
    ),
    (
        r"No space left on device|Errno 28|not enough space on the disk",
        "disk_full",
        "The disk became full while the model was converted.",
        "Free some space on that disk and try again.",
    ),
    (
        r"MemoryError|can't allocate memory|[Cc]annot allocate memory|bad_alloc|paging file is too small",
        "out_of_memory",
        "There was not enough memory to convert the model.",
        _MEMORY_HINT,
    ),
    (
        r"(?m)^ModuleNotFoundError: (.*)|^ImportError: ((?!.*requires the).*)|(DLL load failed.*)",
        "toolchain",
        "{0}",
        "",
    ),
    (
        r"Tokenizer class (\S+) does not exist",
        "tokenizer_damaged",
        "tokenizer_config.json names a tokenizer that nobody here knows: {0}.",
        "Compare tokenizer_config.json with the publisher's; it may have been changed by hand.",
    ),
    (
        r"[Cc]ouldn't instantiate the backend tokenizer|(?:data did not match|expected) .* at line \d+ column \d+",
        "tokenizer_damaged",
        "The tokenizer's files are there, and no tokenizer can be made of them.",
        "Download tokenizer.json and tokenizer_config.json again, both from one revision of the model.",
    ),
    (
        r"File not found: .*tokenizer|Can't load tokenizer|Cannot find .*tokenizer",
        "tokenizer_missing",
        "The model's tokenizer cannot be read.",
        "Download the whole folder again; with some models it is in the repository of the base model.",
    ),
    (
        r"Can not map tensor '([^']+)'",
        "tensor_unknown",
        "The tensor {0} does not belong to the model's architecture as llama.cpp knows it.",
        "It may be an adapter, or of a newer release; look for a GGUF of this model.",
    ),
    (
        r"Quant (?:method is not yet supported:|format) \W?([\w.-]+)|(multiple config groups)|(3-bit gptq) deq",
        "weights_type_unsupported",
        "The weights are packed in a way that llama.cpp's converter cannot read: {0}.",
        "Choose the model in F16, BF16 or F32.",
    ),
)


@dataclass(frozen=True, slots=True)
class Converted:
    """What came of it. `warnings`: what a person should know of the result."""

    path: Path
    bytes: int
    out_type: str
    warnings: tuple[str, ...]


class Converter:
    """Makes GGUF files of safetensors folders; its toolchain is made when it is first needed."""

    def __init__(self, toolchains: Toolchains, shipped: Path) -> None:
        """`shipped`: the folder of the program's toolchain resources."""
        self._toolchains = toolchains
        self._shipped = shipped

    async def __call__(self, folder: Path, target: Path, heard: Heard) -> None:
        """`convert` with what a job needs."""
        await self.convert(folder, target, heard)

    async def supported(self) -> frozenset[str]:
        """The architectures the converter knows: from its source where it is there, else from the list shipped."""
        return await asyncio.to_thread(self._known, _SHIPPED, "TEXT_MODEL_MAP")

    async def examine(self, folder: Path, *, insist: bool = False) -> HfFolder:
        """What the folder holds. Raises as `hf_folder.examine`."""
        known = await self.supported()
        return await asyncio.to_thread(examine, folder, known, insist=insist)

    async def convert(
        self,
        folder: Path,
        target: Path,
        heard: Heard,
        *,
        out_type: str = "",
        name: str = "",
        insist: bool = False,
        projector: bool = False,
        log: Callable[[str], None] | None = None,
    ) -> Converted:
        """Write `target`. `out_type` "f16", "bf16", "f32", "q8_0", or "" for the one in which nothing is lost; `name`
        "" is what the folder says. `projector`: what lets the model see or hear, in place of the model. Cancelling
        ends the converter and removes what it wrote.

        Raises `SlmDeskError`: as `examine`, `hf_projector.examine_projector` and `Toolchains.ensure`, and
        `weights_not_finite`, `disk_full`, `out_of_memory`, `tokenizer_unknown`, `tokenizer_missing`,
        `tokenizer_damaged`, `tensor_unknown`, `weights_type_unsupported`, `toolchain_damaged`, `source_changed`,
        `convert_failed`.
        """
        # The converter runs in a folder of its own, where a relative path means another place.
        folder, target = await asyncio.to_thread(lambda: (folder.absolute(), target.absolute()))
        if projector:
            source = await asyncio.to_thread(examine_projector, folder, await self.projectors())
        else:
            source = await self.examine(folder, insist=insist)
        written = out_type or source.out_type
        await asyncio.to_thread(check_space, target, source.converted_bytes(written))
        toolchain = await self.toolchain(heard, log)
        before = await asyncio.to_thread(_stamps, source)
        await _check_weights(source, heard)
        arguments = [str(source.path), "--outtype", written]
        arguments += ["--model-name", name] if name else []
        arguments += ["--mmproj"] if projector else []
        command = [str(toolchain.source / SCRIPT), *arguments]
        if source.newer_bitnet:
            command = [str(self._shipped / _NAMING), *command]
        # The converter gives a projector's file a name that says so, where it has none.
        partial = target.with_name(f"{'mmproj-' if projector else ''}{target.name}{_PARTIAL}")
        size = await run_converter(
            toolchain,
            [*command, "--outfile", str(partial)],
            partial,
            target,
            source.tensors,
            heard,
            log,
            unchanged=lambda: _check_unchanged(source, before),
        )
        return Converted(target, size, written, source.warnings)

    async def projectors(self) -> frozenset[str]:
        """The architectures of which the converter makes a projector."""
        return await asyncio.to_thread(self._known, _SHIPPED_PROJECTORS, "MMPROJ_MODEL_MAP")

    async def toolchain(self, heard: Heard, log: Callable[[str], None] | None) -> Toolchain:
        """The toolchain, made now where it is not there. Raises as `Toolchains.ensure`."""
        return await self._toolchains.ensure(
            TOOLCHAIN, lambda done, total, words: heard(0.0, 1.0, _of_toolchain(done, total, words)), log
        )

    def _known(self, shipped: str, table: str) -> frozenset[str]:
        with suppress(SlmDeskError):
            return architectures(self._toolchains.get(TOOLCHAIN).source / _REGISTRY, table)
        return frozenset((self._shipped / shipped).read_text(encoding="utf-8").split())


def architectures(registry: Path, table: str = "TEXT_MODEL_MAP") -> frozenset[str]:
    """The names in one of the converter's own lists, read without running it.

    Raises `SlmDeskError("toolchain_damaged")` where the list is not there.
    """
    try:
        tree = ast.parse(registry.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(TOOLCHAIN, f"{registry.name} cannot be read") from error
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == table and node.value:
            return frozenset(ast.literal_eval(node.value))
    raise damaged(TOOLCHAIN, f"{registry.name} lists no architectures")


async def _check_weights(source: HfFolder, heard: Heard) -> None:
    stopped: list[bool] = []
    loop = asyncio.get_running_loop()
    total = max(1, source.bytes)

    def came(count: int) -> None:
        if not stopped:
            share = _CHECKED * count / total
            loop.call_soon_threadsafe(heard, share, 1.0, "checking the weights")

    files = dict(zip(source.files, source.headers.values(), strict=True))
    try:
        await asyncio.to_thread(check_finite, files, came, lambda: bool(stopped))
    finally:
        stopped.append(True)


async def run_converter(  # noqa: PLR0917
    toolchain: Toolchain,
    command: Sequence[str],
    partial: Path,
    target: Path,
    tensors: int,
    heard: Heard,
    log: Callable[[str], None] | None,
    *,
    unchanged: Callable[[], None],
) -> int:
    """Run a script of llama.cpp that writes `partial`, made of so many `tensors`; the file gets its name `target` once
    its header says that all of it is there, and `unchanged()` raised nothing. Its bytes.

    Raises `SlmDeskError` as `decode`, and `convert_failed`, `file_unwritable`.
    """
    try:
        await asyncio.to_thread(_clear, partial)
        await _run(toolchain, command, tensors, heard, log)
        heard(0.99, 1.0, "checking the file")
        size = await asyncio.to_thread(_checked, partial)
        await asyncio.to_thread(unchanged)
        await asyncio.to_thread(_move, partial, target)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_clear_quietly, partial))
        raise
    heard(1.0, 1.0, "converted")
    return size


async def _run(
    toolchain: Toolchain,
    command: Sequence[str],
    tensors: int,
    heard: Heard,
    log: Callable[[str], None] | None,
) -> None:
    prepared: set[str] = set()
    last_words = ""

    def take(line: str) -> None:
        nonlocal last_words
        if match := _WRITING.search(line):
            share = _PREPARED + (0.98 - _PREPARED) * int(match[1]) / 100
            heard(share, 1.0, "writing")
            return
        if match := _TENSOR.search(line):
            prepared.add(match[1])
            share = _CHECKED + (_PREPARED - _CHECKED) * min(1.0, len(prepared) / max(tensors, 1))
            heard(share, 1.0, match[1])
        if log is not None and line != last_words:
            last_words = line
            log(line)

    child = await toolchain.start(Path(command[0]), command[1:], on_stderr=take)
    try:
        await child.stdout.read()
        code = await child.wait()
    finally:
        await child.terminate_tree(1.0)
    if code != 0:
        raise decode(code, child.stderr_tail)


def decode(code: int, lines: Sequence[str]) -> SlmDeskError:
    """What a failed converter means to a person."""
    text = "\n".join(line for line in lines if not _PROGRESS.search(line))
    details = text[-6000:]
    said = _last_words(text)
    for pattern, name, message, hint in _SIGNS:
        if match := re.search(pattern, said):
            found = next((group for group in match.groups() if group), "")
            if name == "toolchain":
                return damaged(TOOLCHAIN, found)
            return SlmDeskError(name, message.format(found[:120]), hint, details=details)
    if code in {-9, 137, 0xC0000017, 0xC000012D}:
        return SlmDeskError(
            "out_of_memory",
            "The converter was ended by the system, most likely because memory ran out.",
            _MEMORY_HINT,
            details=details,
        )
    last = _reason(said)
    return SlmDeskError(
        "convert_failed",
        f"The model could not be converted: {last[:200].rstrip('.') or f'the converter ended with {code}'}.",
        "See the details; a GGUF of this model may exist already.",
        details=details,
    )


def _last_words(text: str) -> str:
    """What was said from the last exception on, without the lines of its code: one way of reading a tokenizer fails,
    the next is tried, and only what the last one says is the reason."""
    last = _CHAINED.split(text)[-1]
    return "\n".join(line for line in last.split("\n") if not line.startswith((" ", "Traceback ")))


def _reason(said: str) -> str:
    """The line with the exception; without one the last that is no message of progress."""
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    for line in reversed(lines):
        if _EXCEPTION.match(line):
            return line
    return next((line for line in reversed(lines) if not line.startswith(("INFO:", "DEBUG:"))), "")


def _of_toolchain(done: float, total: float, words: str) -> str:
    return f"{MAKING}, {100 * done / total if total else 0:.0f} %: {words}"


def check_space(target: Path, count: int) -> None:
    """Make the target's folder. Raises `SlmDeskError`: `disk_full` where `count` bytes are not free there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(existing_parent(target.parent)).free
    except OSError as error:
        raise writing_error(target, error) from error
    needed = count + MARGIN_BYTES
    if free < needed:
        raise SlmDeskError(
            "disk_full",
            f"{amounts.size(needed)} are needed in {target.parent}; {amounts.size(free)} are free there.",
            f"Free {amounts.size(needed - free)} on that disk.",
        )


def _checked(partial: Path) -> int:
    """Bytes of the file, once its header says that all of it is there."""
    header = gguf.read_header(partial)
    gguf.check(header)
    if not header.tensors:
        raise SlmDeskError("convert_failed", "The converter wrote a file without weights.", "Try again.")
    return header.file_bytes


def _stamps(source: HfFolder) -> list[tuple[int, int]]:
    try:
        status = [file.stat() for file in (source.path / "config.json", *source.files)]
    except OSError as error:
        raise SlmDeskError(
            "source_missing", f"{source.path} is not there any more.", "Check that its disk is connected."
        ) from error
    return [(entry.st_size, entry.st_mtime_ns) for entry in status]


def _check_unchanged(source: HfFolder, before: list[tuple[int, int]]) -> None:
    if _stamps(source) != before:
        raise SlmDeskError(
            "source_changed",
            f"{source.path.name} was changed while it was being converted.",
            "Start again when nothing writes to it any more.",
        )


def _clear(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError as error:
        raise writing_error(partial, error) from error


def _clear_quietly(partial: Path) -> None:
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def _move(partial: Path, target: Path) -> None:
    try:
        partial.replace(target)
    except OSError as error:
        raise writing_error(target, error) from error
