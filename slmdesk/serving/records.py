"""What is kept of a request while it is answered: for its line in the log and for the metrics. Never content."""

from __future__ import annotations

import json
import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.inference.answers import Stop
    from slmdesk.serving.metrics import Metrics

log = logging.getLogger(__name__)

_LONGEST = 200  # characters of a path in the log


@dataclass(slots=True)
class RequestRecord:
    """One request. `model` is the id that the asked name meant, never what was sent."""

    metrics: Metrics
    method: str
    path: str
    began: float = field(default_factory=time.perf_counter)  # seconds, a clock of its own
    key: str = ""
    status: int = 0
    model: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_token_s: float | None = None
    error: str = ""

    def count(self, stop: Stop) -> None:
        """Add what one answer took."""
        self.prompt_tokens += stop.usage.prompt_tokens
        self.cached_tokens += stop.usage.cached_tokens
        self.completion_tokens += stop.usage.completion_tokens

    def write(self) -> None:
        """The one line."""
        line: dict[str, object] = {
            "method": self.method[:20],
            "path": self.path[:_LONGEST],
            "status": self.status,
            "ms": round((time.perf_counter() - self.began) * 1000.0, 1),
            "key": self.key,
        }
        if self.model:
            line |= {
                "model": self.model,
                "prompt_tokens": self.prompt_tokens,
                "cached_tokens": self.cached_tokens,
                "completion_tokens": self.completion_tokens,
            }
        if self.first_token_s is not None:
            line["first_token_ms"] = round(self.first_token_s * 1000.0, 1)
        if self.error:
            line["error"] = self.error
        log.info("request %s", json.dumps(line))


CURRENT: ContextVar[RequestRecord | None] = ContextVar("record of the request", default=None)
"""The request that is being answered: set for each, and inherited by the tasks that answer it."""
