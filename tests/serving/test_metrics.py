"""What the service counts and writes down of its requests: figures that a scraper reads, and never content."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

from slmdesk.inference.answers import Stop, Timings
from slmdesk.serving.metrics import Metrics

from .conftest import ENDLESS, MODEL, Running, free_port, serve, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

FILE = "slmdesk/desk-guide:F16"


def scraped(
    running: Running, accept: str = "text/plain"
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = running.ask("GET", "/metrics", headers={"Accept": accept})
    assert answer.status == 200
    parse: Callable[[str], Any] = (
        open_metrics if "openmetrics" in answer.headers["Content-Type"] else plain_metrics
    )
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(answer.body.decode())
        for sample in family.samples
    }


def value(figures: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


def test_each_request_and_token_is_counted(home: Path) -> None:
    with serve(home, "--model", MODEL) as running:
        usage = [running.chat(max_tokens=9).json["usage"] for _ in range(2)]
        stream = running.chat(max_tokens=9, stream=True, stream_options={"include_usage": True})
        usage.append(next(chunk["usage"] for chunk in reversed(stream.chunks) if chunk.get("usage")))
        assert running.chat(max_tokens="x").status == 400
        assert running.ask("GET", "/no/such/route").status == 404
        for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            now = scraped(running, accept)
            route = "/v1/chat/completions"
            assert value(now, "slmdesk_requests_total", method="POST", route=route, status="200") == 3
            assert value(now, "slmdesk_requests_total", method="POST", route=route, status="400") == 1
            assert value(now, "slmdesk_requests_total", method="GET", route="unknown", status="404") == 1
            assert value(now, "slmdesk_errors_total", code="invalid_type") == 1
            assert value(now, "slmdesk_request_seconds_count", route=route) == 4
            prompt = sum(one["prompt_tokens"] for one in usage)
            written = sum(one["completion_tokens"] for one in usage)
            cached = sum(one["prompt_tokens_details"]["cached_tokens"] for one in usage)
            assert value(now, "slmdesk_answers_total", model=FILE) == 3
            assert value(now, "slmdesk_prompt_tokens_total", model=FILE) == prompt
            assert value(now, "slmdesk_completion_tokens_total", model=FILE) == written
            assert value(now, "slmdesk_prefix_cache_tokens_total", model=FILE) == cached > 0
            assert value(now, "slmdesk_prefix_cache_hits_total", model=FILE) == 2
            assert value(now, "slmdesk_time_to_first_token_seconds_count", model=FILE) == 3
            gaps = value(now, "slmdesk_inter_token_seconds_count", model=FILE)
            assert 3 <= gaps <= written
            assert value(now, "slmdesk_inter_token_seconds_bucket", model=FILE, le="+Inf") == gaps
            assert value(now, "slmdesk_inter_token_seconds_sum", model=FILE) > 0
            assert value(now, "slmdesk_model_loaded", model=FILE) == 1
            assert value(now, "slmdesk_model_memory_bytes", model=FILE) > 10e6
            limit = value(now, "slmdesk_model_prefix_cache_limit_bytes", model=FILE)
            assert 0 <= value(now, "slmdesk_model_prefix_cache_bytes", model=FILE) <= limit
            assert limit > 1e6
            assert value(now, "slmdesk_model_slots", model=FILE) == 4
            assert value(now, "slmdesk_requests_active") == 1
            assert value(now, "slmdesk_connections") == 1


def test_tokens_that_were_guessed_ahead_are_counted() -> None:
    metrics = Metrics(tuple, int, int)
    for tried, right in ((7, 5), (4, 0)):
        timings = Timings(draft_tokens=tried, accepted_tokens=right)
        metrics.answer_ended("one", Stop("stop", timings=timings))
    text = metrics.written("text/plain")[0].decode()
    assert 'slmdesk_draft_tokens_total{model="one"} 11.0' in text
    assert 'slmdesk_draft_tokens_accepted_total{model="one"} 5.0' in text


def test_running_and_waiting_answers_are_seen(home: Path) -> None:
    settings = {"SLMDESK_ENGINE_PARALLEL": "1", "SLMDESK_SERVICE_MAX_WAITING": "1"}
    with serve(home, "--model", MODEL, env=settings) as running:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **ENDLESS, "stream": True}
        first, second = running.connection(), running.connection()
        for connection in (first, second):
            data = json.dumps(body)
            connection.request("POST", "/v1/chat/completions", data, {"Content-Type": "application/json"})
            until(lambda: running.status()["active"] == 1, "the first answer")
        until(lambda: running.status()["queued"] == 1, "the second one's wait")
        now = scraped(running)
        assert value(now, "slmdesk_model_answers_active", model=FILE) == 1
        assert value(now, "slmdesk_model_answers_waiting", model=FILE) == 1
        assert value(now, "slmdesk_requests_waiting") == 1
        slots = running.ask("GET", "/slots").json
        assert [(slot["model"], slot["is_processing"]) for slot in slots] == [(FILE, True)]
        # The queue is full: the third is told when to come again.
        third = running.chat()
        assert (third.status, third.error["code"]) == (503, "queue_full")
        assert int(third.headers["Retry-After"]) > 0
        for connection in (first, second):
            connection.close()
        until(lambda: running.status()["active"] == 0, "the end of both")
        assert running.chat(max_tokens=1).status == 200


def test_one_line_a_request_and_nothing_of_its_content(home: Path) -> None:
    with serve(home, "--model", MODEL, "--api-key", "a-key-of-mine") as running:
        secret = "Wolpertinger"
        body = {
            "model": f"{secret}-model",
            "messages": [{"role": "user", "content": f"{secret}?"}],
            "max_tokens": 5,
            "user": secret,
        }
        key = {"x-api-key": "a-key-of-mine"}
        usage = running.post(f"/v1/chat/completions?{secret}", body, key).json["usage"]
        assert running.post("/v1/chat/completions", body, {"x-api-key": secret}).status == 401
        assert running.ask("GET", "/v1/models", headers=running.own).status == 200
        log = (running.paths.logs / "service.log").read_text("utf-8")
        lines = [
            json.loads(line.partition(" request ")[2]) for line in log.splitlines() if " request {" in line
        ]
        answered, refused, listed = lines[-3:]
        assert answered["method"] == "POST"
        assert answered["path"] == "/v1/chat/completions"
        assert answered["status"] == 200
        assert answered["model"] == FILE
        assert answered["key"] == "api-key"
        assert answered["prompt_tokens"] == usage["prompt_tokens"]
        assert answered["completion_tokens"] == usage["completion_tokens"]
        assert 0 < answered["first_token_ms"] <= answered["ms"]
        assert (refused["status"], refused["error"], refused["key"]) == (401, "unauthorized", "")
        assert (listed["key"], listed["path"]) == ("slmdesk", "/v1/models")
        everything = "".join(path.read_text("utf-8", "replace") for path in running.paths.logs.iterdir())
        assert secret not in everything
        assert "a-key-of-mine" not in everything


@pytest.mark.slow
def test_prometheus_scrapes_it(home: Path, tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    with serve(home, "--model", MODEL, "--api-key", "a-key-of-mine") as running:
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            "- job_name: slmdesk\n"
            "  authorization: {credentials: a-key-of-mine}\n"
            f"  static_configs: [{{targets: ['{running.netloc}']}}]\n"
        )
        port = free_port()
        scraper = subprocess.Popen(
            [
                prometheus,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            key = {"x-api-key": "a-key-of-mine"}
            body = {"model": MODEL, "prompt": "Hi", "max_tokens": 4, "temperature": 0}
            written = running.post("/v1/completions", body, key).json["usage"]["completion_tokens"]

            def asked(query: str) -> list[Any]:
                address = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
                try:
                    with urllib.request.urlopen(address, timeout=10) as response:
                        found: list[Any] = json.load(response)["data"]["result"]
                        return found
                except OSError:
                    time.sleep(0.1)
                    return []

            def seen(query: str, expected: str) -> Callable[[], bool]:
                return lambda: [one["value"][1] for one in asked(query)] == [expected]

            until(seen('up{job="slmdesk"}', "1"), "a scrape", 60)
            until(seen("slmdesk_completion_tokens_total", str(written)), "the tokens", 60)
            until(seen("sum(slmdesk_time_to_first_token_seconds_count)", "1"), "the histogram", 60)
            assert asked("histogram_quantile(0.5, slmdesk_inter_token_seconds_bucket)")
        finally:
            scraper.terminate()
            scraper.wait(timeout=30)
