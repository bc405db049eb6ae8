"""What every room's tests share: a home of their own, the built-in model, and nothing left running."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from hypothesis import HealthCheck, settings

from slmdesk.core.paths import HOME_VARIABLE, STARTER_VARIABLE, Paths
from tests import real_models

# How fast an example is made or runs is the machine's business, and several tests share it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# A shell that runs the tests in its background hands on that Ctrl-C is ignored, and every child would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An installation may have the starter or not. Tests say so with the fixture `starter`; all others run without.
os.environ.setdefault(STARTER_VARIABLE, "")

ROOT = Path(__file__).resolve().parents[1]
_GRACE_S = 5.0  # for what was told to end and is still ending


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder for this test alone; SLMDESK_HOME names it, for this process and its children."""
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    return folder


@pytest.fixture
def paths(home: Path) -> Paths:
    """The program's folders below `home`, made."""
    paths = Paths.resolve()
    paths.ensure()
    return paths


@pytest.fixture(scope="session")
def desk_guide() -> Path:
    """The built-in model's GGUF."""
    path = Paths.resolve({}).builtin_model
    assert path.is_file(), f"the built-in model is missing: {path}"
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct Q4_1, the starter: a real model (Llama shape, BPE, ChatML, 8 k context). Read only."""
    return real_models.smollm2()


@pytest.fixture
def starter(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter is there for this test and its child processes: ask for it before anything that starts some."""
    monkeypatch.setenv(STARTER_VARIABLE, str(smollm2))
    return smollm2


@pytest.fixture(scope="session")
def gemma() -> Path:
    """Gemma 3 270M Q4_K_M: sliding window, 262 k vocabulary, no chat template. Read only."""
    return real_models.gemma()


@pytest.fixture(scope="session")
def architectures() -> ModuleType:
    """The module that writes made-up models of many architectures."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("tests.benchmarks.architectures")


@pytest.fixture
def no_real_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU of the machine that runs the tests is seen: only stand-ins are."""
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture(scope="session")
def endless_model(desk_guide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model without an end of turn: it writes until its context is full or somebody stops it."""
    return _without_end(desk_guide, tmp_path_factory.mktemp("endless") / "endless.gguf")


@pytest.fixture(scope="session")
def endless_thinker(thinker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and all it writes is thought aloud."""
    return _without_end(thinker, tmp_path_factory.mktemp("endless") / "endless-thinker.gguf")


def _without_end(model: Path, path: Path) -> Path:
    data = bytearray(model.read_bytes().replace(b"<|im_end|>", b"<|im_on_|>"))
    key = b"tokenizer.ggml.eos_token_id"
    value = data.index(key) + len(key) + 4  # behind the key stands the value's type
    data[value : value + 4] = (1).to_bytes(4, "little")  # the begin of a text, which never comes in one
    path.write_bytes(data)
    return path


# As DeepSeek R1's template does, it takes the reasoning out of earlier answers and opens that of the next one.
_OPENING_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] | trim"
    " + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def thinker(desk_guide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model with a template that opens the reasoning: all it writes is thought aloud."""
    path = tmp_path_factory.mktemp("thinker") / "thinker.gguf"
    command = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--chat-template", _OPENING_TEMPLATE]
    subprocess.run([*command, str(desk_guide), str(path)], check=True, capture_output=True, timeout=120)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The window's tests last: once there is a QApplication, every test pays for its events."""
    items.sort(key=lambda item: "gui" in item.path.parts)


@pytest.fixture(scope="session")
def lasting_homes() -> set[str]:
    """Homes whose service may go on after a test: add one here where a wider fixture ends it."""
    return set()


@pytest.fixture(scope="session", autouse=True)
def _remember_where_threads_start() -> Iterator[None]:
    start = threading.Thread.start

    def remembering(thread: threading.Thread) -> None:
        thread.started_at = traceback.format_stack(limit=6)[:-1]  # type: ignore[attr-defined]
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", remembering)
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind(lasting_homes: set[str], _remember_where_threads_start: None) -> Iterator[None]:
    """Fails a test that leaves a thread or a child process running, and says where the thread was started."""
    threads_before = set(threading.enumerate())
    children_before = set(psutil.Process().children(recursive=True))
    yield
    deadline = time.monotonic() + _GRACE_S
    while True:
        threads = [t for t in threading.enumerate() if t not in threads_before and _counts(t)]
        children = [c for c in _children() if c not in children_before and not _spared(c, lasting_homes)]
        if not threads and not children:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    told = [f"thread {t.name}, started at\n{''.join(getattr(t, 'started_at', ['?']))}" for t in threads]
    told += [_told(child) for child in children]
    for child in children:
        child.kill()
    pytest.fail("the test left running: " + "; ".join(told))


def _counts(thread: threading.Thread) -> bool:
    # A loop's default executor ends with the loop, which may live longer than a test.
    return not thread.daemon and not thread.name.startswith("asyncio_")


def _children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _spared(child: psutil.Process, homes: set[str]) -> bool:
    if not homes:
        return False
    try:
        return child.environ().get(HOME_VARIABLE, "") in homes
    except psutil.Error:
        return False


def _told(child: psutil.Process) -> str:
    try:
        return f"process {child.pid}: {' '.join(child.cmdline())[:200]}"
    except psutil.Error:
        return f"process {child.pid}"
