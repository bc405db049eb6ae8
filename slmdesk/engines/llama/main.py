"""`slmdesk engine`: one child process that loads one model and answers until its stdin closes.

stdin: an `EngineSpec` as one JSON line. stdout: JSON lines (`progress`, then `ready` or `error`); see `core/child.py`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core.child import begin, defect, reported
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines import failures
from slmdesk.engines.protocol import EngineReady, EngineSpec
from slmdesk.engines.safe_steps import at_step
from slmdesk.inference.loading import Facts
from slmdesk.inference.steps import holds
from slmdesk.inference.wire import decoded
from slmdesk.llama.tuning import SWITCH_INTERVAL, tune_native

if TYPE_CHECKING:
    from slmdesk.core.child import Tell
    from slmdesk.engines.families import ChatForm
    from slmdesk.engines.llama.sizing import Plan
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.formats.pooling import TextModel
    from slmdesk.inference.devices import Device
    from slmdesk.llama.context import Context
    from slmdesk.llama.model import Model
    from slmdesk.llama.native import Native
    from slmdesk.memory.offload import Split

_PROGRESS_EVERY = 0.05  # seconds between progress lines
_STACK = 64 * 1024 * 1024  # bytes; some tokenizers and grammars make llama.cpp recurse deeply


def main() -> int:
    """Run the engine. 0 after a clean end, 1 after an error that was reported on stdout."""
    line, tell = begin(stack_bytes=_STACK)  # ends also in the middle of a load: nothing needs saving
    if not line:
        return 0

    def work() -> None:
        asyncio.run(_Engine(_read_spec(line), tell).run())

    return reported(work, tell, _explained)


def _explained(error: Exception) -> SlmDeskError:
    if isinstance(error, MemoryError):
        return SlmDeskError("out_of_memory", "There is not enough memory to load the model.", "")
    failures.end_as_native(error)
    return defect("engine_crashed", "The engine could not start", error)


class _Engine:
    """Loads, says ready, serves."""

    def __init__(self, spec: EngineSpec, tell: Tell) -> None:
        self._spec = spec
        self._tell = tell
        self._last_progress = 0.0
        self._notes: list[str] = []  # what of the spec could not be done, in sentences
        self._texts: TextModel | None = None  # a model that does not answer

    async def run(self) -> None:
        started = time.perf_counter()
        header = _check_file(self._spec)
        self._texts = _text_model(header)
        tune_native()
        imports = threading.Thread(target=_import_ahead, daemon=True)
        imports.start()  # numpy and aiohttp take half a second; the model loads meanwhile
        from slmdesk.engines.llama.adapters import apply_adapters
        from slmdesk.engines.llama.residence import forget_peak
        from slmdesk.llama.native import Native

        wants_gpu = self._texts is None and self._spec.loading.gpu_layers != 0
        native = Native(self._spec.safe_step, gpu=wants_gpu)
        device = self._find_gpu(native) if wants_gpu else None
        try:
            model, context, sizes = self._prepare(native, header, device)
        except SlmDeskError as error:
            if device is None or error.code != "out_of_memory":
                raise
            # Another program may have taken the GPU's memory since it was asked.
            sys.stderr.write(f"gpu: {error}; going on without it\n")
            native.said.clear()
            native.buffers.sizes.clear()
            model, context, sizes = self._prepare(native, header, None)
        self._notes += apply_adapters(model, context, self._spec.loading.adapters)
        imports.join()
        forget_peak()
        serve = self._serve if self._texts is None else self._serve_texts
        await serve(model, context, sizes, header, time.perf_counter() - started)

    def _prepare(
        self, native: Native, header: GgufHeader, device: tuple[int, Device] | None
    ) -> tuple[Model, Context, Plan]:
        """Decide the sizes, load the model and open its context, with layers on the device."""
        from slmdesk.core.hardware import memory
        from slmdesk.engines.llama.sizing import plan
        from slmdesk.engines.llama.text_sizing import text_plan

        available = memory()[1]
        if self._texts is not None:
            sizes = text_plan(self._spec, header, self._texts, available=available)
        else:
            sizes = plan(
                self._spec, header, available=available, device=device[1] if device is not None else None
            )
        model = self._load(native, sizes, device[0] if device is not None else None)
        if sizes.split is not None or not holds(self._spec.safe_step, "no_extra_buffers"):
            _let_go(header, sizes.split)
        try:
            return model, self._open(model, sizes), sizes
        except SlmDeskError:
            model.close()
            raise

    def _find_gpu(self, native: Native) -> tuple[int, Device] | None:
        """The GPU that takes layers, and its address. The parent hears when drivers start and when they are done."""
        from slmdesk.core import llama_library
        from slmdesk.core.paths import Paths

        found = llama_library.find(Paths.resolve().backends)
        if not found.parts:
            return None
        self._tell({"event": "stage", "stage": "gpu"})
        chosen = native.open_best_gpu(found)
        self._tell({"event": "stage", "stage": "load"})
        return chosen

    def _load(self, native: Native, sizes: Plan, device: int | None) -> Model:
        from slmdesk.llama.model import Model

        try:
            model = Model(
                native,
                self._spec.model_path,
                gpu_layers=sizes.gpu_layers,
                device=device,
                step=self._spec.safe_step,
                on_progress=self._progress,
            )
        except SlmDeskError as error:
            raise failures.decode(None, list(native.said), self._spec.model_path, loading=True) from error
        if self._texts is None and (model.encodes_first or not model.generates_text):
            raise SlmDeskError(
                "model_not_chat",
                "This model does not write text from left to right, so it cannot chat.",
                "Choose a chat or instruct model.",
            )
        return model

    def _open(self, model: Model, sizes: Plan) -> Context:
        from slmdesk.formats.pooling import POOLING_NUMBERS
        from slmdesk.llama.context import Context

        texts = self._texts
        at_once = texts is not None and not texts.cached  # then each token is an output
        try:
            return Context(
                model,
                pooling=POOLING_NUMBERS[texts.pooling] if texts is not None else None,
                outputs=sizes.batch if at_once else 0,
                cells=sizes.cells,
                batch=sizes.batch,
                # A recurrent state is held for every sequence, so those models get no spare ones.
                sequences=sizes.slots if model.keeps_every_position else sizes.parallel,
                threads=sizes.threads,
                cache_type=self._spec.loading.cache_type,
                flash_attention=self._spec.loading.flash_attention,
                thrifty=not model.native.devices,  # a driver's threads write when they like
            )
        except SlmDeskError as error:
            lines = [*model.native.said, "failed to allocate"]
            raise failures.decode(None, lines, self._spec.model_path, loading=True) from error

    async def _serve(
        self, model: Model, context: Context, sizes: Plan, header: GgufHeader, load_seconds: float
    ) -> None:
        from slmdesk.engines.llama.loop import Worker
        from slmdesk.engines.llama.server import EngineServer
        from slmdesk.engines.llama.which_template import brought_template, own_template
        from slmdesk.formats.recommended import recommended_sampling

        brought = brought_template(model, self._spec.loading.template, self._notes)
        form = None if brought or model.chat_template() else _form(model, header)
        model.shown = _reasoning_marks(model)
        server = EngineServer(
            model,
            brought or own_template(model, form.template if form else model.chat_template() or ""),
            form=form,
            context_length=sizes.context_length,
            token=self._spec.token,
            recommended=recommended_sampling(header.metadata),
        )
        slots = sizes.slots if model.keeps_every_position else sizes.parallel
        worker = Worker(
            model,
            context,
            parallel=sizes.parallel,
            slots=slots,
            publish=server.publish,
            on_crash=_crash,
            on_prefixes=server.publish_prefixes,
            prefix_bytes=sizes.prefix_bytes,
            idle_cell_s=sizes.idle_cell_s,
            drafts=self._spec.loading.drafts,
        )
        port = await server.start(worker)
        worker.start()
        facts = replace(
            self._facts(model, context, sizes, header, load_seconds),
            has_chat_template=form is None,
            chat_form=form.name if form else "",
        )
        await self._ready(port, facts)

    async def _serve_texts(
        self, model: Model, context: Context, sizes: Plan, header: GgufHeader, load_seconds: float
    ) -> None:
        """The same for a model that makes vectors of texts, or ranks them."""
        from slmdesk.engines.llama.passages import Passages
        from slmdesk.engines.llama.text_jobs import TextWorker
        from slmdesk.engines.llama.text_server import TextServer

        kind = self._texts
        assert kind is not None
        ranks = kind.purpose == "rank"
        # Of several scores the first is a probability already (softmax over yes and no).
        server = TextServer(
            Passages(model, sizes.context_length, model.trained_context),
            kind.purpose,
            token=self._spec.token,
            as_odds=model.score_size == 1,
        )
        worker = TextWorker(
            context,
            width=model.score_size if ranks else model.vector_size,
            sequences=sizes.slots,
            pieces=kind.cached,
            on_crash=_crash,
        )
        port = await server.start(worker)
        worker.start()
        facts = replace(
            self._facts(model, context, sizes, header, load_seconds),
            serves="rank" if ranks else "embed",
            dimensions=0 if ranks else model.vector_size,
            pooling=kind.pooling,
            shortens=kind.shortens,
        )
        await self._ready(port, facts)

    def _facts(
        self, model: Model, context: Context, sizes: Plan, header: GgufHeader, load_seconds: float
    ) -> Facts:
        import psutil

        return Facts(
            context_length=sizes.context_length,
            parallel=sizes.parallel,
            cache_cells=context.cells,
            vocabulary=model.tokens,
            parameters=model.parameters,
            architecture=header.architecture,
            description=model.description,
            has_chat_template=False,
            load_seconds=round(load_seconds, 3),
            memory_bytes=psutil.Process().memory_info().rss + context.unused_bytes,
            file_bytes=header.file_bytes,
            prefix_bytes=sizes.prefix_bytes,
            layers=model.layers + 1,
            gpu_layers=sizes.gpu_layers,
            device=sizes.split.device_name if sizes.split is not None else "",
            device_bytes=model.native.buffers.on(sizes.split.device_name) if sizes.split is not None else 0,
            bos=model.special_text(model.bos),
            eos=model.special_text(model.eos),
            notes=tuple(self._notes),
        )

    async def _ready(self, port: int, facts: Facts) -> None:
        """Say it, and serve until the end."""
        gc.collect()
        gc.freeze()  # what the load left behind lives as long as the process; no collection need walk it again
        gc.set_threshold(20_000, 20, 50)
        sys.setswitchinterval(SWITCH_INTERVAL)
        ready = EngineReady(port, os.getpid(), facts)
        self._tell({"event": "ready", **ready.to_json()})
        await asyncio.Event().wait()  # the life line on stdin ends the process

    def _progress(self, fraction: float) -> None:
        now = time.monotonic()
        if fraction >= 1.0 or now - self._last_progress >= _PROGRESS_EVERY:
            self._last_progress = now
            self._tell({"event": "progress", "fraction": round(min(fraction, 1.0), 4)})


def _read_spec(line: str) -> EngineSpec:
    try:
        spec = decoded(line, EngineSpec)
    except SlmDeskError as error:
        raise SlmDeskError(
            "spec_invalid", f"The engine's settings cannot be read: {error.message}", ""
        ) from error
    return replace(spec, loading=at_step(spec.loading, spec.safe_step))


def _check_file(spec: EngineSpec) -> GgufHeader:
    """Read the header with our own reader first: what llama.cpp meets in a bad file may end the process."""
    from pathlib import Path

    from slmdesk.formats.gguf import check, duplicate_tokens
    from slmdesk.formats.purpose import not_for_chat, purpose_of
    from slmdesk.formats.split import read_whole

    path = Path(spec.model_path)
    header = read_whole(path)
    problem = not_for_chat(header)
    if problem is not None and purpose_of(header) == "other":
        raise problem
    check(header)
    twice = duplicate_tokens(path, header, most=1)
    if twice:
        raise SlmDeskError(
            "model_damaged",
            f"{path.name} is damaged: its vocabulary holds the token “{twice[0]}” twice.",
            "Download the file again, or choose another file of this model.",
        )
    return header


def _text_model(header: GgufHeader) -> TextModel | None:
    """What it does with texts, where it does not answer."""
    from slmdesk.formats.pooling import TextModel
    from slmdesk.formats.purpose import purpose_of

    return None if purpose_of(header) == "chat" else TextModel.of(header)


def _let_go(header: GgufHeader, split: Split | None) -> None:
    """Give back the pages of weights that were copied, so that the engine holds each weight once."""
    from slmdesk.engines.llama.residence import let_go_of_copied
    from slmdesk.formats.gguf import read_header
    from slmdesk.formats.split import parts_of

    parts = parts_of(header.path)
    headers = [header] if len(parts) == 1 else [read_header(part) for part in parts]
    moved = None if split is None else (lambda tensor: split.has(tensor.name))
    let_go_of_copied(headers, moved)


def _form(model: Model, header: GgufHeader) -> ChatForm:
    """How to speak to a model whose file has no template. The form's end marks end its answers from here on."""
    from slmdesk.engines.families import form_of_file

    form = form_of_file(header)
    model.also_ends = frozenset(token for mark in form.ends if (token := model.token_of(mark)) >= 0)
    return form


def _reasoning_marks(model: Model) -> frozenset[int]:
    """Control tokens between which the model thinks aloud or calls a tool: without them its answer could not be told
    apart."""
    from slmdesk.engines import reasoning
    from slmdesk.engines.tool_calls.forms import MARKS

    marks = reasoning.CONTROL_MARKS | MARKS
    if reasoning.CHANNEL in model.special_texts:
        marks |= reasoning.CHANNEL_MARKS
    return frozenset(model.token_of(mark) for mark in marks & model.special_texts)


def _import_ahead() -> None:
    try:
        import slmdesk.engines.llama.loop
        import slmdesk.engines.llama.server
        import slmdesk.engines.llama.templates  # noqa: F401
    except Exception:  # noqa: BLE001 - the same import on the main thread raises it where it can be reported
        traceback.print_exc()


def _crash() -> None:
    """The worker thread met a defect. Its answers have been told; give that a moment to leave, then end."""
    threading.Timer(0.5, lambda: os._exit(failures.CRASHED_EXIT)).start()
