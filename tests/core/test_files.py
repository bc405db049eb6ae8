"""Atomic writes and the window's state file."""

import os
import stat
import sys
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write, writing_error
from slmdesk.core.state import StateFile

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")


def test_write_makes_the_folder_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    atomic_write(path, "größer")
    assert path.read_bytes() == "größer".encode()
    atomic_write(path, b"\r\n\0")
    assert path.read_bytes() == b"\r\n\0"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


@posix
def test_private_file_is_private_even_if_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "service.json"
    path.write_text("old")
    path.chmod(0o644)
    atomic_write(path, "token", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_symbolic_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(real)
    atomic_write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_failure_keeps_the_old_content_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SlmDeskError) as caught:
        atomic_write(path, "new")
    assert caught.value.code == "disk_full"
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SlmDeskError) as caught:
        atomic_write(tmp_path / "file" / "below", "x")
    assert caught.value.code == "file_unwritable"
    assert writing_error(tmp_path, OSError(13, "Permission denied")).code == "file_unwritable"


def test_state_is_kept_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config" / "state.json"
    state = StateFile(path)
    assert state.get("tab") is None
    assert state.get("tab", "chat") == "chat"
    state.set("tab", "catalog")
    state.update({"size": [800, 600], "tab": "quantize"})
    assert StateFile(path).get("size") == [800, 600]
    assert StateFile(path).get("tab") == "quantize"
    state.set("size", None)
    assert StateFile(path).get("size", "none") == "none"


def test_same_value_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = StateFile(path)
    state.set("tab", "chat")
    path.unlink()
    state.set("tab", "chat")
    assert not path.exists()


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_damaged_state_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    state = StateFile(path)
    assert state.get("tab", "chat") == "chat"
    state.set("tab", "catalog")
    assert StateFile(path).get("tab") == "catalog"


def test_state_that_cannot_be_written_is_still_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    state = StateFile(tmp_path / "file" / "state.json")
    state.set("tab", "catalog")
    assert state.get("tab") == "catalog"
    assert "not kept" in caplog.text
