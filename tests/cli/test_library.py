"""`slmdesk import`, `verify`, `rm`, `list` and `show` as real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from slmdesk.application import Application
from slmdesk.library.created import CreatedModel

from .conftest import Program


def test_import_verify_remove_and_back(program: Program, desk_guide: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(desk_guide, mine / "Guide-F16.gguf")

    result = program.run("import", str(mine), "--as", "me/guide", "--json").result
    assert [(one["id"], one["mode"], one["skipped"]) for one in result["imported"]] == [
        ("me/guide", "in-place", False)
    ]
    shown = program.run("show", "me/guide", "--json").result
    assert (shown["path"], shown["in_place"], shown["state"]) == (
        str(mine / "Guide-F16.gguf"),
        True,
        "unverified",
    )
    assert program.run("import", str(mine), "--json").result["imported"][0]["skipped"] is True

    checked = program.run("verify", "me/guide", "--json").result
    assert checked["states"] == {"unverified": 1}
    assert len(checked["files"][0]["sha256"]) == 64
    assert checked["files"][0]["sha256"] in program.run("show", "me/guide").out

    removed = program.run("rm", "me/guide", "--json").result
    assert removed["forgotten"] == 1
    assert (mine / "Guide-F16.gguf").exists()
    assert program.run("show", "me/guide", "--json").error["code"] == "model_not_found"
    assert program.run("rm", "--undo", "--json").result["key"] == removed["key"]
    assert program.run("show", "me/guide", "--json").code == 0

    copied = program.run("import", str(desk_guide), "--copy", "--as", "me/copy", "--json")
    assert copied.events[-1]["event"] == "done"
    listed = program.run("list", "--sizes", "--json").result
    assert {model["id"] for model in listed["models"]} >= {"me/guide", "slmdesk/desk-guide"}
    assert listed["usage"]["volumes"][0]["free_bytes"] > 0


def test_a_damaged_file_fails_verify(program: Program, desk_guide: Path) -> None:
    folder = program.home / "models" / "p" / "m"
    folder.mkdir(parents=True)
    path = folder / "m-F16.gguf"
    shutil.copy(desk_guide, path)
    assert program.run("verify", "p/m").code == 0
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = program.run("verify", "--all", "--json")
    assert (result.code, result.error["code"]) == (1, "hash_wrong")
    told = program.run("list")
    assert "damaged" in told.out
    assert "SHA-256 differs" in told.err


def test_wrong_words(program: Program, tmp_path: Path) -> None:
    for words in (["verify"], ["rm"], ["import"], ["verify", "x", "--all"]):
        result = program.run(*words, "--json")
        assert (result.code, result.error["code"]) == (2, "usage")
    assert program.run("import", str(tmp_path / "none"), "--json").error["code"] == "import_nothing"
    assert program.run("rm", "slmdesk/desk-guide", "--json").error["code"] == "built_in_stays"
    assert program.run("rm", "--undo", "--json").error["code"] == "undo_gone"


def test_a_created_model_is_listed_removed_and_brought_back(program: Program) -> None:
    application = Application.build({"SLMDESK_HOME": str(program.home)})

    async def create() -> None:
        try:
            await application.created_models.create(CreatedModel("brief", "slmdesk/desk-guide"))
        finally:
            await application.close()

    asyncio.run(create())
    made = [{"name": "brief:latest", "base": "slmdesk/desk-guide:F16"}]
    assert program.run("list", "--json").result["created"] == made
    assert "brief:latest" in program.run("list").out
    removed = program.run("rm", "brief", "--json").result
    assert program.run("list", "--json").result["created"] == []
    assert program.run("rm", "--undo", "--json").result["key"] == removed["key"]
    assert program.run("list", "--json").result["created"] == made
