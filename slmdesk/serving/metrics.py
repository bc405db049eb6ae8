"""What the service counts, for Prometheus. Lives on the event loop, so nothing is locked and each count is cheap."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from slmdesk import __version__
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import Stop
from slmdesk.serving.entries import public_name
from slmdesk.serving.records import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    from slmdesk.inference.answers import Delta, Sink
    from slmdesk.serving.entries import LoadedModel
    from slmdesk.serving.records import RequestRecord

# Upper ends, seconds.
_WHOLE = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_GAP = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The counts of one service. `models` tells what is loaded, `connections` and `waiting` how many there are."""

    def __init__(
        self,
        models: Callable[[], Iterable[LoadedModel]],
        connections: Callable[[], int],
        waiting: Callable[[], int],
    ) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "slmdesk_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._errors = Counter(
            "slmdesk_errors", "Errors by their code, those inside a stream too.", ("code",), registry=registry
        )
        self._seconds = Histogram(
            "slmdesk_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_WHOLE,
            registry=registry,
        )
        self._prompt = _tokens("slmdesk_prompt_tokens", "Tokens of prompts, cached ones too.", registry)
        self._cached = _tokens(
            "slmdesk_prefix_cache_tokens", "Tokens of prompts that were found in the prefix cache.", registry
        )
        self._hits = _tokens(
            "slmdesk_prefix_cache_hits", "Answers whose prompt began as one before.", registry
        )
        self._answers = _tokens("slmdesk_answers", "Answers that were written to their end.", registry)
        self._written = _tokens("slmdesk_completion_tokens", "Tokens that were written.", registry)
        self._drafted = _tokens("slmdesk_draft_tokens", "Tokens that were guessed ahead and tried.", registry)
        self._accepted = _tokens(
            "slmdesk_draft_tokens_accepted", "Of those, the ones that were right.", registry
        )
        self._first = Histogram(
            "slmdesk_time_to_first_token_seconds",
            "From the head of a request to the first piece of its answer, a load included.",
            ("model",),
            buckets=_FIRST,
            registry=registry,
        )
        self._gaps = _Gaps()
        registry.register(self._gaps)
        registry.register(_Now(models, connections, waiting, lambda: self.active))
        ProcessCollector(registry=registry)
        self.active = 0  # requests being answered

    def written(self, accept: str) -> tuple[bytes, str]:
        """All of it in the form that the scraper asks for, and that form's content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def request_ended(self, record: RequestRecord, route: str) -> None:
        """A request is over; `route` is the pattern of its path."""
        self._requests.labels(record.method, route, str(record.status)).inc()
        self._seconds.labels(route).observe(time.perf_counter() - record.began)
        if record.error:
            self._errors.labels(record.error).inc()

    def first_text(self, model: str, seconds: float) -> None:
        """The first piece of an answer is here."""
        self._first.labels(model).observe(seconds)

    def answer_ended(self, model: str, stop: Stop) -> None:
        """An answer is whole, or was cut at its limit."""
        usage = stop.usage
        self._answers.labels(model).inc()
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._written.labels(model).inc(usage.completion_tokens)
        self._drafted.labels(model).inc(stop.timings.draft_tokens)
        self._accepted.labels(model).inc(stop.timings.accepted_tokens)
        if usage.cached_tokens:
            self._cached.labels(model).inc(usage.cached_tokens)
            self._hits.labels(model).inc()

    def gaps(self, model: str) -> list[float]:
        """The histogram of gaps between the pieces of a model's answers: counts, then their sum in seconds."""
        return self._gaps.of(model)


class Watched:
    """One answer of a request, on its way to `sink`: when its pieces come, and what it took."""

    def __init__(self, sink: Sink, record: RequestRecord, model: str) -> None:
        self._sink = sink
        self._record = record
        self._model = record.model = public_name(model)
        self._gaps = record.metrics.gaps(self._model)
        self._last = 0.0

    def take(self, piece: Delta | Stop) -> None:
        """The engine's sink."""
        now = time.perf_counter()
        if self._last:
            if not isinstance(piece, Stop):
                gap = now - self._last
                self._gaps[bisect_left(_GAP, gap)] += 1
                self._gaps[-1] += gap
        elif not isinstance(piece, Stop):
            record = self._record
            seconds = now - record.began
            if record.first_token_s is None:
                record.first_token_s = seconds
            record.metrics.first_text(self._model, seconds)
        self._last = now
        self._sink(piece)

    def ended(self, stop: Stop) -> None:
        """The answer is whole."""
        self._record.count(stop)
        self._record.metrics.answer_ended(self._model, stop)


def watch(sink: Sink, model: str) -> Watched | None:
    """Watch one answer of the request that is being answered; None where there is none, as in a test."""
    record = CURRENT.get()
    return Watched(sink, record, model) if record is not None else None


def failed(error: BaseException) -> None:
    """An answer of the current request failed, maybe behind its headers."""
    record = CURRENT.get()
    if record is not None and not record.error:
        record.error = error.code if isinstance(error, SlmDeskError) else "unexpected"


class _Gaps(Collector):
    """A histogram that each token may afford: one search and two additions."""

    def __init__(self) -> None:
        self._models: dict[str, list[float]] = {}

    def of(self, model: str) -> list[float]:
        """Counts, one a bucket and one above, then the sum."""
        return self._models.setdefault(model, [0.0] * (len(_GAP) + 2))

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "slmdesk_inter_token_seconds", "Between two pieces of an answer.", labels=("model",)
        )
        for model, (*counts, total) in self._models.items():
            reached, buckets = 0.0, []
            for end, count in zip((*map(str, map(float, _GAP)), "+Inf"), counts, strict=True):
                reached += count
                buckets.append((end, reached))
            family.add_metric((model,), buckets, total)
        yield family


class _Now(Collector):
    """What is so at the moment of the scrape."""

    def __init__(
        self,
        models: Callable[[], Iterable[LoadedModel]],
        connections: Callable[[], int],
        waiting: Callable[[], int],
        active: Callable[[], int],
    ) -> None:
        self._models = models
        self._numbers = (
            ("slmdesk_connections", "Open connections.", connections),
            ("slmdesk_requests_active", "Requests being answered, this one too.", active),
            ("slmdesk_requests_waiting", "Questions that wait for a model or a slot.", waiting),
        )

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily("slmdesk_build_info", "Which program this is.", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        for name, words, number in self._numbers:
            yield GaugeMetricFamily(name, words, value=number())
        families = {
            "loaded": _per_model("slmdesk_model_loaded", "1 for a model that is ready."),
            "memory": _per_model("slmdesk_model_memory_bytes", "Resident memory of a model's engine."),
            "prefixes": _per_model(
                "slmdesk_model_prefix_cache_bytes", "Of that, what its prefix cache holds."
            ),
            "most_prefixes": _per_model(
                "slmdesk_model_prefix_cache_limit_bytes", "What a model's prefix cache may hold at most."
            ),
            "context": _per_model("slmdesk_model_context_tokens", "Context of a loaded model."),
            "slots": _per_model("slmdesk_model_slots", "Answers that a model writes at once."),
            "active": _per_model("slmdesk_model_answers_active", "Answers being written."),
            "waiting": _per_model("slmdesk_model_answers_waiting", "Answers that wait for a slot."),
        }
        for model in self._models():
            values = (
                int(model.state == "ready"),
                model.memory_bytes,
                model.prefix_bytes,
                model.most_prefix_bytes,
                model.context_length,
                model.parallel,
                model.active,
                model.queued,
            )
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric((public_name(model.id),), value)
        yield from families.values()


def _tokens(name: str, words: str, registry: CollectorRegistry) -> Counter:
    return Counter(name, words, ("model",), registry=registry)


def _per_model(name: str, words: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=("model",))
