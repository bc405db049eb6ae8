"""Where the program keeps its files."""

import stat
import sys
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths


def test_everything_lies_below_the_home(tmp_path: Path) -> None:
    paths = Paths.resolve({"SLMDESK_HOME": str(tmp_path / "portable")})
    assert not (tmp_path / "portable").exists()
    paths.ensure()
    for folder in (paths.config, paths.data, paths.cache, paths.logs, paths.runtime):
        assert folder.is_dir()
        assert tmp_path / "portable" in folder.parents
    for path in (paths.database, paths.settings_file, paths.state_file, paths.service_state, paths.models):
        assert tmp_path / "portable" in path.parents


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(SlmDeskError) as caught:
        Paths.resolve({"SLMDESK_HOME": str(tmp_path / "home")})
    assert caught.value.code == "home_invalid"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("x")
    with pytest.raises(SlmDeskError) as caught:
        Paths.resolve({"SLMDESK_HOME": str(tmp_path)}).ensure()
    assert caught.value.code == "folder_unwritable"


@pytest.mark.skipif(sys.platform != "linux", reason="XDG")
def test_runtime_folder_is_private_to_the_user(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert Paths.resolve({"XDG_RUNTIME_DIR": str(tmp_path / "run")}).runtime == tmp_path / "run" / "slmdesk"
    for environ in ({}, {"XDG_RUNTIME_DIR": str(tmp_path / "gone")}, {"XDG_RUNTIME_DIR": "relative"}):
        runtime = Paths.resolve(environ).runtime
        assert runtime.is_absolute()
        assert Path("/tmp") not in runtime.parents
        assert tmp_path not in runtime.parents


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_runtime_folder_is_closed_to_others(tmp_path: Path) -> None:
    paths = Paths.resolve({"SLMDESK_HOME": str(tmp_path / "home")})
    paths.ensure()
    assert stat.S_IMODE(paths.runtime.stat().st_mode) & 0o077 == 0


def test_resources_hold_the_built_in_model(desk_guide: Path) -> None:
    assert desk_guide.name == "desk-guide-F16.gguf"
    assert desk_guide.parent.name == "desk-guide"
