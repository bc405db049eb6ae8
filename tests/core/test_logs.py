"""Log files: what is hidden, how big they grow, and that a log never costs the program anything."""

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmdesk.core import logs
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths

_log = logging.getLogger("slmdesk.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    level = logging.getLogger().level
    known = set(logs._secrets)
    yield
    logs.release()
    logs._secrets.clear()
    logs._secrets.update(known)
    logging.captureWarnings(False)
    logging.getLogger().setLevel(level)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.DEF-123_456", "abc.DEF-123_456"),
        ("authorization: bearer c2VjcmV0c2VjcmV0==", "c2VjcmV0c2VjcmV0=="),
        ("using hf_AbCdEfGhIjKlMnOp for the hub", "hf_AbCdEfGhIjKlMnOp"),
        ("GET /v1/x?token=0123456789abcdef&page=2", "0123456789abcdef"),
        ('{"api_key": "sk-0123456789"}', "sk-0123456789"),
        ("password = hunter2hunter2", "hunter2hunter2"),
        ("proxy http://user:swordfish@proxy:8080/", "swordfish"),
    ],
)
def test_secrets_are_hidden_by_their_shape(text: str, secret: str) -> None:
    assert secret in text
    hidden = logs.redact(text)
    assert secret not in hidden
    assert "[hidden]" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "the bearer of news",
        "12 tokens/s",
        "token: a",
        "http://127.0.0.1:8765/v1",
        "C:\\Users\\hf_x",
        "secret",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert logs.redact(text) == text


def test_registered_secrets_are_hidden_wherever_they_stand() -> None:
    logs.register_secret("correct horse")
    logs.register_secret("correct horse battery")
    logs.register_secret("abc")
    logs.register_secret("")
    logs.register_secret(None)
    assert logs.redact("it is correct horse battery; abc") == "it is [hidden]; abc"


def test_file_holds_messages_and_tracebacks_without_secrets(paths: Paths) -> None:
    file = logs.configure(paths, "window", "info", redact=lambda: ["swordfish-1"])
    _log.debug("not this")
    _log.info("asked with %s", {"header": "Bearer 0123456789"})
    try:
        int("the word is swordfish-1")
    except ValueError:
        _log.exception("it failed")
    text = file.read_text("utf-8")
    assert file == paths.logs / "window.log"
    assert "not this" not in text
    assert "INFO    slmdesk.test: asked with" in text
    assert "Traceback" in text
    assert "'the word is [hidden]'" in text
    assert "swordfish-1" not in text
    assert "0123456789" not in text


def test_warnings_of_python_are_logged(paths: Paths) -> None:
    file = logs.configure(paths, "window", "warning")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("an old way", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "an old way" in file.read_text("utf-8")


def test_configuring_again_replaces_the_file(paths: Paths) -> None:
    first = logs.configure(paths, "window", "info")
    _log.info("one")
    second = logs.configure(paths, "service", "debug")
    _log.debug("two")
    assert "two" not in first.read_text("utf-8")
    assert "one" not in second.read_text("utf-8")
    assert "two" in second.read_text("utf-8")


def test_files_stay_bounded(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FILE_BYTES", 10_000)
    logs.configure(paths, "service", "info")
    for n in range(2000):
        _log.info("line %d %s", n, "x" * 50)
    files = sorted(path.name for path in paths.logs.iterdir())
    assert files == ["service.log", "service.log.1", "service.log.2", "service.log.3"]
    assert sum(path.stat().st_size for path in paths.logs.iterdir()) < 45_000
    assert "line 1999" in (paths.logs / "service.log").read_text("utf-8")


def test_file_that_cannot_be_renamed_is_written_on(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FILE_BYTES", 1000)
    file = logs.configure(paths, "engine", "info")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr("logging.handlers.os.rename", refuse)
    for n in range(100):
        _log.info("line %d", n)
    text = file.read_text("utf-8")
    assert "line 0" in text
    assert "line 99" in text


def test_unwritable_folder_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "logs").write_text("a file in the folder's place")
    paths = Paths.resolve({"SLMDESK_HOME": str(tmp_path / "home")})
    console = io.StringIO()
    logs.configure(paths, "window", "info", console=console)
    _log.info("still told")
    assert "still told" in console.getvalue()


def test_unknown_level_is_refused(paths: Paths) -> None:
    with pytest.raises(SlmDeskError) as caught:
        logs.configure(paths, "window", "loud")
    assert caught.value.code == "setting_invalid"
