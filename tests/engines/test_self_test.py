"""The self-test, with real children and real kernels: sound ones, and ones that a preloaded library breaks."""

import asyncio
import json
import logging
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.processes import self_command
from slmdesk.core.settings import Settings
from slmdesk.engines import self_test
from slmdesk.engines.llama.arithmetic.blocks import FAMILIES
from slmdesk.engines.llama.arithmetic.llama_shape import SmallModel
from slmdesk.engines.safe_steps import safe_steps_in
from slmdesk.engines.self_test import SelfTest
from slmdesk.engines.self_test_outcome import BOUNDS, FamilyResult, Outcome, StepResult
from slmdesk.formats.gguf import read_header
from slmdesk.inference.steps import Step
from tests.broken_kernels import DOT, TIMES_REPACKED, preload, preloads

FEW = ("F16", "Q8_0", "Q4_K", "Q6_K", "TQ2_0")


@pytest.fixture
def settings(paths: Paths) -> Settings:
    settings = Settings(paths.settings_file, {})
    settings.load()
    return settings


@pytest.fixture
def test(paths: Paths, settings: Settings) -> SelfTest:
    return SelfTest(paths, settings)


@pytest.fixture
def short(paths: Paths, settings: Settings) -> SelfTest:
    """One with a few kinds of weights."""
    return SelfTest(paths, settings, families=FEW)


def by_family(outcome: Outcome, step: int = 0) -> dict[str, FamilyResult]:
    return {result.family: result for result in outcome.steps[step].families}


@pytest.mark.parametrize("name", FAMILIES)
def test_dequantized_as_gguf_py_does(name: str) -> None:
    family = FAMILIES[name]
    kind = gguf.GGMLQuantizationType(family.ggml_type)
    assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (name, (family.numbers, family.size))
    data, numbers = family.weights(np.random.default_rng(3), 256, 512)
    assert numbers.shape == (256, 512)
    assert np.array_equal(gguf.quants.dequantize(data.reshape(256, -1), kind), numbers)
    # Sane ones: as large as a layer's weights are, and no side preferred.
    assert numbers.std() * 512**0.5 == pytest.approx(1, abs=0.01)
    assert abs(numbers.mean()) < 0.05 * numbers.std()


def test_the_same_families_on_both_sides() -> None:
    assert set(BOUNDS) == set(FAMILIES)


def test_the_model_is_a_gguf_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    SmallModel.random(FAMILIES["Q6_K"], 1).write(path)
    header = read_header(path)
    assert (header.architecture, header.file_bytes) == ("llama", path.stat().st_size)
    reader = gguf.GGUFReader(path)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_down.weight"] == "Q6_K"
    assert kinds["output_norm.weight"] == "F32"


async def test_every_family_computes_right_here(test: SelfTest, paths: Paths) -> None:
    assert await test.latest() is None
    heard: list[FamilyResult] = []
    started = time.monotonic()
    outcome = await test.run(on_family=lambda _, result: heard.append(result))
    print(f"the self-test took {outcome.seconds:.2f} s")
    assert [step.step for step in outcome.steps] == ["all"]
    assert outcome.holds
    assert list(outcome.steps[0].families) == heard
    assert [result.family for result in heard] == list(BOUNDS)
    for result in heard:
        assert result.verdict == "right", result
        # A kernel rounds somewhere: no error at all would mean that nothing was computed.
        assert 1e-5 < result.error < result.bound
    assert outcome.words == f"all {len(BOUNDS)} kinds of weights give the right numbers"
    assert 0 < outcome.seconds <= time.monotonic() - started
    assert await test.latest() == outcome
    assert safe_steps_in(paths.data).remembered() == []
    assert await test.run_if_due() is None


async def test_another_build_is_tested_anew(short: SelfTest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await short.run_if_due()
    assert first is not None
    assert await short.run_if_due() is None
    mark = self_test.fingerprint()
    monkeypatch.setattr(self_test, "fingerprint", lambda: type(mark)(mark.processor, "", "", "another build"))
    assert await short.latest() is None
    second = await short.run_if_due()
    assert second is not None
    monkeypatch.undo()
    assert await short.latest() == first


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # one that has just ended
            if "self-test" in child.cmdline():
                found.append(child)
    return found


async def test_it_gives_way_to_other_work_and_begins_again(
    short: SelfTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    looks: list[bool] = []

    def idle_s() -> float:
        """Something else begins when the child is seen for the first time, and is over some looks later."""
        looks.append(bool(children()))
        busy = any(looks) and len(looks) - looks.index(True) < 5
        return 0.0 if busy else 100.0

    outcome = await short.run_when_idle(idle_s, after_s=0.1)
    assert outcome is not None
    assert outcome.holds
    assert sum("gave way" in record.message for record in caplog.records) == 1
    assert await short.run_when_idle(lambda: 100.0, after_s=0.1) is None  # made already


async def test_one_at_a_time(paths: Paths, settings: Settings) -> None:
    one, other = (SelfTest(paths, settings, families=FEW) for _ in range(2))
    first = asyncio.create_task(one.run())
    while not children():
        await asyncio.sleep(0.01)
    assert await other.run_if_due() is None
    asked = await other.run()  # waits for its turn
    assert first.done()
    assert (await first).when < asked.when


async def test_cancelled_it_leaves_nothing(short: SelfTest, paths: Paths) -> None:
    task = asyncio.create_task(short.run())
    while not children():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []
    assert await short.latest() is None
    assert (await short.run()).holds  # the lock is free again


@preloads
async def test_a_crash_in_repacked_weights_chooses_the_step_without(
    short: SelfTest, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preload(tmp_path, monkeypatch, f"#define BREAK raise(SIGSEGV);\n{TIMES_REPACKED}")
    outcome = await short.run()
    assert [step.step for step in outcome.steps] == ["all", "no_extra_buffers"]
    assert outcome.holds
    found = by_family(outcome)
    assert {name for name, result in found.items() if result.verdict != "right"} == {"Q4_K"}
    assert (found["Q4_K"].verdict, found["Q4_K"].work) == ("crashed", "one token")
    assert "exit status -11, access violation" in found["Q4_K"].words
    assert found["Q6_K"].verdict == "right"  # what came behind the crash was tested, too
    steps = safe_steps_in(paths.data)
    assert steps.machine_step() == "no_extra_buffers"
    (remembered,) = steps.remembered()
    assert (remembered.scope, remembered.why) == ("machine", "In the self-test Q4_K failed.")
    assert "access violation" in remembered.details


@preloads
async def test_wrong_numbers_in_a_prompt_choose_the_step_without(
    short: SelfTest, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One number in sixteen is a quarter too large, in matrix products of several tokens only.
    wrong = "if (rows > 1) for (int r = 0; r < rows; ++r) for (int c = 0; c < columns; c += 16) s[r * bs + c] *= 1.25f;"
    preload(tmp_path, monkeypatch, f"#define BREAK {wrong}\n{TIMES_REPACKED}")
    outcome = await short.run()
    assert [step.step for step in outcome.steps] == ["all", "no_extra_buffers"]
    assert outcome.holds
    found = by_family(outcome)
    assert [name for name, result in found.items() if result.verdict != "right"] == ["Q4_K"]
    assert found["Q4_K"].verdict == "wrong"
    assert found["Q4_K"].bound < found["Q4_K"].error < 10
    assert found["Q4_K"].words.endswith("wrong in a prompt")
    assert safe_steps_in(paths.data).machine_step() == "no_extra_buffers"


@preloads
async def test_what_no_step_mends_is_told_and_slows_nothing_down(
    short: SelfTest, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preload(tmp_path, monkeypatch, DOT % ("tq2_0_q8_K", "tq2_0_q8_K", "*s = 0.0f / 0.0f;"))
    outcome = await short.run()
    assert not outcome.holds
    assert outcome.best.step == "all"
    assert [step.step for step in outcome.steps][:2] == ["all", "no_extra_buffers"]
    for step in outcome.steps:  # and everything else is right at each of them
        assert [result.family for result in step.failed] == ["TQ2_0"]
    assert by_family(outcome)["TQ2_0"].words.startswith("error no number at all")
    assert outcome.words == "TQ2_0 failed at every step"
    assert safe_steps_in(paths.data).remembered() == []
    assert await short.latest() == outcome  # and it is not tried again at every start


@pytest.mark.slow
@preloads
async def test_a_kernel_that_never_comes_back(
    short: SelfTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test, "_SILENCE_S", 10.0)  # a busy machine's child must not seem silent
    preload(tmp_path, monkeypatch, f"#define BREAK pause();\n{TIMES_REPACKED}")
    outcome = await short.run()
    found = by_family(outcome)
    assert (found["Q4_K"].verdict, found["Q4_K"].work) == ("silent", "one token")
    assert found["Q6_K"].verdict == "silent"  # nobody waits as long for each of the rest
    assert found["Q8_0"].verdict == "right"
    assert (outcome.best.step, outcome.holds) == ("no_extra_buffers", True)


@preloads
async def test_a_library_that_dies_at_its_start(
    short: SelfTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preload(tmp_path, monkeypatch, "void ggml_time_init(void) { raise(SIGILL); }")
    started = time.monotonic()
    outcome = await short.run()
    assert {result.verdict for result in outcome.best.families} == {"crashed"}
    assert {result.work for result in outcome.best.families} == {"its start"}
    assert "illegal instruction" in outcome.best.families[0].words
    assert time.monotonic() - started < 60  # one child a step, not one a family


@pytest.mark.skipif(sys.platform == "win32", reason="signals, and a shell's limits")
async def test_what_says_nothing_about_the_processor_is_no_fault(
    short: SelfTest, paths: Paths, settings: Settings
) -> None:
    """A test that is ended from outside, and one whose models find no room on the disk."""
    task = asyncio.create_task(short.run())
    while not children():
        await asyncio.sleep(0.01)
    for child in children():
        child.kill()
    with pytest.raises(SlmDeskError) as ended:
        await task
    assert ended.value.code == "self_test_ended"

    limited = ["bash", "-c", f"ulimit -f 200; exec {shlex.join(self_command('self-test'))}"]  # in kilobytes
    with pytest.raises(SlmDeskError) as full:
        await SelfTest(paths, settings, command=limited).run()
    assert full.value.code == "file_unwritable"
    assert "F16.gguf" in full.value.message
    assert await SelfTest(paths, settings, command=limited).run_when_idle(lambda: 9.0, after_s=1.0) is None

    assert safe_steps_in(paths.data).remembered() == []
    assert await short.latest() is None  # so it is tried again


async def test_damaged_notes_are_no_outcome(short: SelfTest, paths: Paths) -> None:
    for text in (
        "",
        "{}",
        '{"machines": 3}',
        '{"machines": [{"fingerprint": {}, "outcome": {"steps": []}}]}',
    ):
        (paths.data / "self-test.json").write_text(text)
        assert await short.latest() is None


def outcome_of(failing: dict[Step, set[str]]) -> Outcome:
    """What a test found: the steps that were tried, and the families that died at each."""

    def result(family: str, *, died: bool) -> FamilyResult:
        error = -1.0 if died else 0.01
        return FamilyResult(
            family, "processor", "crashed" if died else "right", error, 0.08, "a prompt", 0.1, "it died"
        )

    steps = [
        StepResult(step, tuple(result(family, died=family in names) for family in BOUNDS))
        for step, names in failing.items()
    ]
    return Outcome(1.0, 2.0, tuple(steps))


@pytest.mark.parametrize(
    ("failing", "best", "words"),
    [
        ({"all": set()}, "all", f"all {len(BOUNDS)} kinds of weights give the right numbers"),
        (
            {"all": {"Q4_K", "Q6_K"}, "no_extra_buffers": set()},
            "no_extra_buffers",
            (
                "Q4_K and Q6_K failed with everything this machine offers; all is right without the processor's "
                "extra buffers (AMX, repacked weights)"
            ),
        ),
        (
            {"all": set(BOUNDS) - {"F16", "F32"}, "no_gpu": set()},
            "no_gpu",
            "14 of 16 kinds of weights failed with everything this machine offers; all is right without the GPU",
        ),
        # A step that mends most of it is taken, though nothing mends all.
        (
            {"all": {"Q4_K", "TQ2_0"}, "no_extra_buffers": {"TQ2_0"}, "no_flash_attention": {"TQ2_0"}},
            "no_extra_buffers",
            "TQ2_0 failed at every step",
        ),
        ({"all": set(BOUNDS)}, "all", "Every kind of weights failed at every step"),
    ],
)
def test_the_step_that_is_chosen_and_the_words_for_it(
    failing: dict[Step, set[str]], best: Step, words: str
) -> None:
    outcome = outcome_of(failing)
    assert (outcome.best.step, outcome.words) == (best, words)
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
