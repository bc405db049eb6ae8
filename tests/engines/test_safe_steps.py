"""What is remembered of steps that mended a fault, and when it counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.llama_library import library_folder
from slmdesk.engines.fingerprint import Build, Fingerprint, build_in, fingerprint
from slmdesk.engines.safe_steps import ModelFile, SafeSteps, ladder, next_step, safe_steps_in

if TYPE_CHECKING:
    from pathlib import Path

_HERE = Fingerprint("A processor", "avx2 amx_tile", "a driver 1", "0.3 abc")
_WHY = SlmDeskError("engine_crashed", "The engine stopped.", "", details="exit status -11")


@pytest.fixture
def steps(tmp_path: Path) -> SafeSteps:
    return SafeSteps(tmp_path / "safe-steps.json", _HERE)


def _model(tmp_path: Path, name: str, size: int = 10) -> ModelFile:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    return ModelFile.of(file)


def test_steps_that_change_nothing_are_left_out() -> None:
    everything = ladder(Build("", variants=True, gpu_part=True), gpu_layers=-1, flash_attention=True)
    assert everything == ("all", "no_gpu", "no_extra_buffers", "no_flash_attention", "plain_cpu")
    assert ladder(Build(), gpu_layers=-1, flash_attention=False) == ("all", "no_extra_buffers")
    assert ladder(Build(gpu_part=True), gpu_layers=0, flash_attention=False) == ("all", "no_extra_buffers")
    assert next_step("all", everything) == "no_gpu"
    assert next_step("no_gpu", ("all", "no_extra_buffers")) == "no_extra_buffers"
    assert next_step("plain_cpu", everything) is None


def test_one_model_keeps_its_step_to_itself_and_two_tell_on_the_machine(
    steps: SafeSteps, tmp_path: Path
) -> None:
    one, two, copy = _model(tmp_path, "one"), _model(tmp_path, "two", 11), _model(tmp_path, "b/one")
    steps.remember_model("p/one", one, "no_flash_attention", _WHY)
    steps.remember_model("p/one", copy, "no_flash_attention", _WHY)
    assert steps.step_for(one) == "no_flash_attention"
    assert steps.step_for(two) == "all"
    assert steps.machine_step() == "all"

    steps.remember_model("p/two", two, "no_extra_buffers", _WHY)
    assert steps.machine_step() == "no_extra_buffers"
    assert steps.step_for(_model(tmp_path, "three", 12)) == "no_extra_buffers"
    assert steps.step_for(one) == "no_flash_attention"
    first, *others = steps.remembered()
    assert (first.scope, first.step) == ("machine", "no_extra_buffers")
    assert "p/one" in first.why
    assert "p/two" in first.why
    assert len(others) == 3


def test_another_process_sees_it_and_every_way_back_works(steps: SafeSteps, tmp_path: Path) -> None:
    one, two = _model(tmp_path, "one"), _model(tmp_path, "two", 11)
    elsewhere = SafeSteps(tmp_path / "safe-steps.json", _HERE)
    steps.remember_machine("no_gpu", _WHY)
    steps.remember_model("p/one", one, "plain_cpu", _WHY)
    assert [entry.key for entry in elsewhere.remembered()] == ["machine", one.path]
    assert elsewhere.step_for(two) == "no_gpu"
    assert elsewhere.forget("machine")
    assert not elsewhere.forget("machine")
    assert steps.step_for(two) == "all"
    assert steps.step_for(one) == "plain_cpu"
    steps.remember_model("p/two", two, "plain_cpu", _WHY)
    assert steps.forget("machine")  # what two models made count: both of them
    assert elsewhere.remembered() == []
    steps.remember_machine("no_gpu", _WHY)
    gone = elsewhere.forget_all()
    assert [entry.step for entry in gone] == ["no_gpu"]
    assert steps.machine_step() == "all"
    elsewhere.put_back(gone)
    assert steps.machine_step() == "no_gpu"


def test_a_new_file_of_the_model_begins_anew(steps: SafeSteps, tmp_path: Path) -> None:
    steps.remember_model("p/one", _model(tmp_path, "one"), "no_gpu", _WHY)
    assert steps.step_for(_model(tmp_path, "one", 20)) == "all"


def test_an_update_tries_everything_anew_and_going_back_knows_again(steps: SafeSteps, tmp_path: Path) -> None:
    steps.remember_machine("no_extra_buffers", _WHY)
    for name in ("processor", "features", "drivers", "build"):
        changed = Fingerprint(**{**_HERE.to_json(), name: "another"})
        updated = SafeSteps(tmp_path / "safe-steps.json", changed)
        assert updated.machine_step() == "all"
        updated.remember_machine("plain_cpu", _WHY)
    assert SafeSteps(tmp_path / "safe-steps.json", _HERE).machine_step() == "no_extra_buffers"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"machines": 1}',
        '{"machines": [1]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_ignored_with_a_warning(
    steps: SafeSteps, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    file = tmp_path / "safe-steps.json"
    file.write_text(text, encoding="utf-8")
    assert steps.machine_step() == "all"
    assert "ignored" in caplog.text
    steps.remember_machine("no_gpu", _WHY)
    assert SafeSteps(file, _HERE).machine_step() == "no_gpu"


def test_a_damaged_entry_does_not_take_the_others_along(steps: SafeSteps, tmp_path: Path) -> None:
    file = tmp_path / "safe-steps.json"
    steps.remember_machine("no_gpu", _WHY)
    stored = json.loads(file.read_text(encoding="utf-8"))
    entries = stored["machines"][0]["remembered"]
    entries += [None, {"step": "warp"}, {**entries[0], "when": "now"}, {**entries[0], "file": {"path": 1}}]
    file.write_text(json.dumps(stored), encoding="utf-8")
    assert [entry.step for entry in SafeSteps(file, _HERE).remembered()] == ["no_gpu"]


def test_the_fingerprint_is_of_this_machine_and_changes_with_the_build(tmp_path: Path) -> None:
    here = fingerprint()
    assert here == fingerprint()
    assert here.processor
    assert here.build.startswith("0.3.")
    folder = library_folder()
    assert folder is not None
    for name in ("libllama.so", "libggml.so"):
        (tmp_path / name).write_bytes(b"library")
    plain = build_in(tmp_path, "1")
    assert (plain.variants, plain.gpu_part) == (False, False)
    (tmp_path / "libggml-cpu-haswell.so").write_bytes(b"part")
    (tmp_path / "ggml-vulkan.dll").write_bytes(b"part")
    more = build_in(tmp_path, "1")
    assert more.variants
    assert more.gpu_part
    assert more.identity != plain.identity
    (tmp_path / "libllama.so").write_bytes(b"another library")
    assert build_in(tmp_path, "1").identity != more.identity


def test_the_store_lies_in_the_data_folder(tmp_path: Path) -> None:
    safe_steps_in(tmp_path).remember_machine("no_gpu", _WHY)
    assert safe_steps_in(tmp_path).machine_step() == "no_gpu"
