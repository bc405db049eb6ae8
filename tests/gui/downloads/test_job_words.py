"""What is said of jobs and amounts."""

from __future__ import annotations

import time

import pytest

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import Job, JobState
from slmdesk.gui.downloads import words
from slmdesk.gui.job_watch import summary


def job(state: JobState = "running", **more: object) -> Job:
    given: dict[str, object] = {"done": 1.2e9, "total": 2.5e9, **more}
    return Job("1", str(given.pop("kind", "download")), state, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (999, "999 bytes"),
        (12_300, "12 kB"),
        (4_700_000, "4.7 MB"),
        (335e6, "335 MB"),
        (999.9e6, "1.0 GB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_sizes(count: float, said: str) -> None:
    assert amounts.size(count) == said


def test_amounts_share_their_unit_where_they_can() -> None:
    assert amounts.of(1.2e9, 2.5e9) == "1.2 of 2.5 GB"
    assert amounts.of(450e6, 2.5e9) == "450 MB of 2.5 GB"
    assert [amounts.duration(seconds) for seconds in (0.2, 45, 185, 7_800)] == [
        "1 s",
        "45 s",
        "3 min",
        "2 h 10 min",
    ]
    assert amounts.tokens(8192) == "8 k"
    assert amounts.tokens(100) == "100"


def test_a_job_says_what_happens_now() -> None:
    assert words.now_words(job(detail="downloading a.gguf")) == "Downloading a.gguf, 1.2 of 2.5 GB"
    assert words.now_words(job(detail="Trying again in 4 s.")) == "Trying again in 4 s"
    assert words.now_words(job("paused")) == "Paused at 1.2 of 2.5 GB"
    assert words.now_words(job("queued", done=0.0)) == "Waits for its turn"
    assert words.now_words(job(wish="pause")) == "Pausing"
    assert words.now_words(job(wish="cancel")) == "Clearing away"


def test_a_waiting_job_says_why_and_when_it_goes_on() -> None:
    error = SlmDeskError("hub_unreachable", "The hub cannot be reached.", "Check the network.")
    told = words.problem_words(job("paused", error=error, resume_at=time.time() + 30.4))
    assert told == "The hub cannot be reached. Check the network. It goes on by itself in 30 s."
    assert words.problem_words(job(error=error)) == "", "a job that runs again has no problem"


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        ("licence_not_accepted", "page"),
        ("token_missing", "token"),
        ("offline", "online"),
        ("files_missing", "catalog"),
        ("disk_full", "retry"),
    ],
)
def test_a_failed_job_offers_the_one_thing_that_helps(code: str, helps: str) -> None:
    assert words.help_for(SlmDeskError(code, "x", "y")) == helps


def test_only_a_model_can_be_chatted_with() -> None:
    files = ["/m/mmproj-F16.gguf", "/m/imatrix.gguf", "/m/model-Q4_0.gguf"]
    assert words.runnable(job("done", result={"files": files})) == "/m/model-Q4_0.gguf"
    assert words.runnable(job("done", result={"files": ["/m/model.safetensors"]})) == ""
    assert words.source(job("done", result={"files": ["/m/model.safetensors"]})) == "/m/model.safetensors"


def test_what_an_import_brought_can_be_chatted_with_and_quantized() -> None:
    brought = {"folder": "/m/local/tiny", "files": ["tiny.gguf"], "paths": ["/elsewhere/tiny.gguf"]}
    failed = {"paths": ["/elsewhere/bad.gguf"], "problem": {"code": "not_gguf"}}
    done = job("done", kind="import", result={"imported": [failed, brought], "failed": 1})
    assert words.runnable(done) == words.source(done) == "/elsewhere/tiny.gguf"
    skipped = job("done", kind="import", result={"imported": [{"skipped": True}], "failed": 0})
    assert words.runnable(skipped) == ""


def test_what_was_quantized_can_be_chatted_with_and_shown() -> None:
    quants = [{"quant": "Q4_0", "path": ""}, {"quant": "Q8_0", "path": "/m/a/one-Q8_0.gguf"}]
    done = job("done", kind="quantize", result={"quants": quants})
    assert words.runnable(done) == "/m/a/one-Q8_0.gguf"
    assert words.folder(done).replace("\\", "/") == "/m/a"


def test_each_kind_of_job_has_an_icon_of_its_own() -> None:
    kinds = ("download", "import", "quantize", "verify")
    assert len({words.running_icon(job(kind=kind)) for kind in kinds}) == len(kinds)


def test_the_strip_tells_the_whole_of_all_downloads() -> None:
    running = job(rate=10e6, detail="x")
    waiting = job("queued", done=0.0, total=0.7e9)
    told = summary([running, waiting])
    assert told.words == "2 downloads 38%, 3 min"
    assert summary([job("failed")]).words == "1 download failed"
    assert summary([job("failed")]).tone == "bad"
    assert summary([job("done")]).words == ""
    error = SlmDeskError("disk_full", "Full.", "")
    assert summary([job("paused", error=error), job("failed")]).words == "1 download waiting"


def test_the_strip_says_of_one_job_what_its_row_says() -> None:
    one = Job("1", "quantize", "running", done=30.0, total=180.0, rate=0.25, remaining=200.0)
    assert summary([one]).words == "1 quantization 17%, 3 min"
