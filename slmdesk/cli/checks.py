"""The checks of `slmdesk doctor`. None of them tells a secret, and none keeps the others from running."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from slmdesk import __version__
from slmdesk.cli import engine_checks
from slmdesk.cli.engine_checks import Check
from slmdesk.cli.main import has_display
from slmdesk.cli.safe_steps import told
from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import window_libraries
from slmdesk.toolchains.uv import find_uv

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from slmdesk.application import Application
    from slmdesk.core.gpus import Gpu

_LIBRARIES = ("llama-cpp-python", "PySide6-Essentials", "qasync", "aiohttp", "huggingface_hub", "keyring")
_LITTLE_SPACE = 2_000_000_000  # bytes
_QUESTION = "What is a quant?"


async def examine(
    application: Application, *, with_model: bool, self_test: bool = False
) -> AsyncIterator[Check]:
    """All checks, each as it is done. `self_test` makes the engine's self-test now instead of telling the last one."""
    for check in _versions():
        yield check
    async for check in _hardware(application):
        yield check
    for check in _folders(application):
        yield check
    for check in _settings(application):
        yield check
    yield await _guarded("Storage", "database", lambda: _database(application))
    yield await _guarded("Storage", "keyring", lambda: _keyring(application))
    for check in _toolchains(application):
        yield check
    yield _window()
    for check in await _library(application):
        yield check
    for check in _safe_steps(application):
        yield check
    yield await _guarded("Models", "service", lambda: _service(application))
    if with_model:
        yield await _guarded("Models", "model runtime", lambda: _runtime(application))
    async for check in engine_checks.examine(application.self_test, now=self_test):
        yield check


async def _guarded(group: str, name: str, check: Callable[[], Any]) -> Check:
    """Run one check; whatever it raises becomes its finding."""
    try:
        found: Check = await check()
    except SlmDeskError as error:
        return Check(group, name, "failed", error.message, error.hint, error.details)
    except Exception as error:  # noqa: BLE001 - a broken machine breaks checks in ways nobody foresaw
        return Check(group, name, "failed", f"{type(error).__name__}: {error}")
    return found


def _versions() -> Iterator[Check]:
    group = "Program"
    frozen = " (packaged)" if getattr(sys, "frozen", False) else ""
    yield Check(group, "SLM Desk", "note", f"{__version__}{frozen}")
    yield Check(group, "Python", "note", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Check(group, "system", "note", f"{platform.platform()} ({platform.machine()})")
    yield Check(group, "SQLite", "note", sqlite3.sqlite_version)
    for name in _LIBRARIES:
        try:
            yield Check(group, name, "note", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(group, name, "failed", "is not installed", "Install SLM Desk again.")


async def _hardware(application: Application) -> AsyncIterator[Check]:
    from slmdesk.core import hardware

    group = "Machine"
    try:
        machine = await asyncio.to_thread(hardware.probe)
    except Exception as error:  # noqa: BLE001 - drivers fail in ways nobody foresaw
        yield Check(group, "hardware", "failed", f"{type(error).__name__}: {error}")
        return
    cores = machine.cores
    counts = f"{cores.physical} cores, {cores.logical} threads"
    yield Check(group, "processor", "note", f"{machine.cpu_name} ({counts})")
    chosen: int = application.settings.get("engine.threads")
    threads = f"{chosen or cores.model_threads}, {'set in engine.threads' if chosen else cores.why}"
    yield Check(group, "model threads", "note", threads)
    yield Check(group, "features", "note", " ".join(machine.cpu_features))
    available = amounts.size(machine.memory_available)
    yield Check(group, "memory", "note", f"{amounts.size(machine.memory_total)}, {available} free")
    for check in await _gpus(application, machine.gpus):
        yield check
    for problem in machine.problems:
        yield Check(group, "hardware", "warning", problem)


async def _gpus(application: Application, present: Sequence[Gpu]) -> list[Check]:
    """The GPUs as a model would use them, asked of a child process."""
    from slmdesk.engines.device_report import report

    try:
        listing = await application.devices.now(fresh=True)
    except SlmDeskError as error:
        return [Check("Machine", "GPU", "warning", error.message, error.hint)]
    layers = int(application.settings.get("engine.gpu_layers"))
    lines = report(listing, present, gpu_layers=layers)
    details = listing.problem.details if listing.problem is not None else ""
    return [
        Check("Machine", line.name, line.tone, line.text, line.hint, details if line.name == "GPU" else "")
        for line in lines
    ]


def _folders(application: Application) -> Iterator[Check]:
    paths = application.paths
    for name in ("config", "data", "cache", "logs", "runtime", "models"):
        yield _folder(name, getattr(paths, name))
    model = paths.builtin_model
    if not model.is_file():
        yield Check("Folders", "resources", "failed", f"{model} is missing", "Install SLM Desk again.")


def _folder(name: str, folder: Path) -> Check:
    group = "Folders"
    hint = "Check its permissions, or set SLMDESK_HOME to another folder."
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        return Check(group, name, "failed", f"{existing} is a file, not a folder", hint)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(group, name, "failed", f"{folder} cannot be written: {error.strerror or error}", hint)
    missing = "" if folder == existing else ", not made yet"
    text = f"{folder} ({amounts.size(free)} free{missing})"
    if free < _LITTLE_SPACE:
        return Check(group, name, "warning", text, "There is little space left on this disk.")
    return Check(group, name, "ok", text)


def _settings(application: Application) -> Iterator[Check]:
    file = application.settings.path
    problems = application.settings.problems
    if not problems:
        where = str(file) if file.exists() else "every setting has its default"
        yield Check("Storage", "settings", "ok", where)
    for problem in problems:
        yield Check("Storage", "settings", "warning", problem.message, problem.hint)


def _toolchains(application: Application) -> Iterator[Check]:
    group = "Toolchains"
    try:
        found = [application.toolchains.status(name) for name in application.toolchains.names()]
        uv = str(find_uv())
    except SlmDeskError as error:
        yield Check(group, "toolchains", "warning", error.message, error.hint)
        return
    yield Check(group, "uv", "note", uv)
    for status in found:
        size = amounts.size(status.disk_bytes)
        if status.state == "ready":
            torch = status.packages.get("torch", "")
            yield Check(
                group, status.name, "ok", f"{status.version}, {size}{f', PyTorch {torch}' if torch else ''}"
            )
        elif status.problem is not None:
            yield Check(group, status.name, "warning", status.problem.message, status.problem.hint)
        else:
            why = "not made yet" if status.state == "missing" else "made for another version"
            yield Check(group, status.name, "note", f"{why}; made when first needed ({size})")


async def _database(application: Application) -> Check:
    path = application.paths.database
    existed = path.exists()
    # The first use also makes the file, as the first conversation would.
    broken = await application.database.check()
    if broken:
        hint = "Move the file away and put back a backup from the same folder."
        return Check("Storage", "database", "failed", f"{path} is damaged", hint, "\n".join(broken[:20]))
    conversations = await application.chats.conversations()
    size = f", {amounts.size(path.stat().st_size)}" if existed else ", made just now"
    return Check("Storage", "database", "ok", f"{path} (conversations: {len(conversations)}{size})")


async def _keyring(application: Application) -> Check:
    secrets = application.secrets
    persistent = await asyncio.to_thread(lambda: secrets.persistent)
    if persistent:
        return Check("Storage", "keyring", "ok", "secrets are kept in the keyring of this system")
    problem = secrets.problem
    text = problem.message if problem else "there is no keyring"
    return Check("Storage", "keyring", "warning", text, problem.hint if problem else "")


async def _library(application: Application) -> list[Check]:
    try:
        models = await application.library.models()
    except SlmDeskError as error:
        return [Check("Models", "library", "failed", error.message, error.hint)]
    files = [file for model in models for file in model.files]
    size = amounts.size(sum(file.size_bytes for file in files))
    found = [Check("Models", "library", "ok", f"models: {len(models)}, files: {len(files)}, {size}")]
    found += [
        Check("Models", "library", "warning", f"{file.id}: {file.problem.message}", file.problem.hint)
        for file in files
        if file.problem is not None
    ]
    return found


def _window() -> Check:
    try:
        import_module("PySide6.QtWidgets")
    except ImportError as error:
        hint = f"{window_libraries()} The terminal works without."
        return Check("Window", "Qt", "failed", str(error), hint)
    if not has_display(os.environ, sys.platform):
        return Check("Window", "display", "warning", "none; slmdesk chat works in the terminal")
    return Check("Window", "display", "ok", os.environ.get("QT_QPA_PLATFORM") or "present")


def _safe_steps(application: Application) -> Iterator[Check]:
    remembered = application.safe_steps.remembered()
    if not remembered:
        text = "none taken; engines run with everything this machine offers"
        yield Check("Models", "safe steps", "note", text)
    for entry in remembered:
        text, way_back = told(entry)
        yield Check("Models", "safe steps", "warning", text, way_back, entry.details)


async def _service(application: Application) -> Check:
    client = await application.connector.attached()
    if client is None:
        return Check("Models", "service", "note", "not running; it starts with the first question")
    status = await client.status()
    loaded = ", ".join(model.id for model in status.loaded) or "no model loaded"
    text = f"running for {status.uptime_s:.0f} s, version {status.version}, {loaded}"
    if status.version != __version__:
        hint = f"This is version {__version__}. Close all windows so that the service ends."
        return Check("Models", "service", "warning", text, hint)
    return Check("Models", "service", "ok", text)


async def _runtime(application: Application) -> Check:
    """Start a real engine with the built-in model and let it write a few words."""
    from slmdesk.engines.registry import KINDS
    from slmdesk.engines.safe_steps import ModelFile
    from slmdesk.inference.answers import Stop
    from slmdesk.inference.asks import Ask, Sampling, Turn
    from slmdesk.inference.loading import Loading

    path = application.paths.builtin_model
    engine = await KINDS.for_file(path).start(
        path,
        "slmdesk/desk-guide",
        Loading(context_length=512, parallel=1),
        step=application.safe_steps.step_for(ModelFile.of(path)),
        log_path=application.paths.logs / "engine.log",
    )
    try:
        question = Ask(
            id="doctor",
            turns=(Turn.of("user", _QUESTION),),
            max_tokens=48,
            sampling=Sampling(temperature=0.0),
        )
        text, end = "", Stop("error")
        async for piece in engine.ask(question):
            if isinstance(piece, Stop):
                end = piece
            else:
                text += str(piece)
    finally:
        await engine.stop()
    end.raise_error()
    loaded = engine.facts
    facts = (
        f"loaded {amounts.parameters(loaded.parameters)} in {loaded.load_seconds:.1f} s,"
        f" {amounts.size(loaded.memory_bytes)} of memory,"
        f" {end.usage.completion_tokens} tokens at {end.timings.tokens_per_s:.0f}/s"
    )
    if not text.strip():
        return Check("Models", "model runtime", "failed", "the built-in model wrote nothing", details=facts)
    return Check("Models", "model runtime", "ok", facts, details=text)
