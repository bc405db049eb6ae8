"""The description of the APIs is valid, whole, and what the service does: requests made from it end in its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator

from slmdesk.serving.description import OPERATIONS
from tests.text_models import MEAN, RANK, TextShape, text_model

from .conftest import MODEL, Running, serve

EVERYDAY, MANY = 8, 450
SLOW_TO_ASK = {"/api/pull", "/api/blobs/{digest}"}
ANSWERS = {200, 201, 204}
TEXTS = {MEAN: "vectors", RANK: "ranking"}
ANSWERED = {
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/api/chat",
    "/api/generate",
    "/api/embed",
}
NEEDED = {
    "/v1/chat/completions": ("messages",),
    "/v1/completions": ("prompt",),
    "/v1/messages": ("messages",),
    "/v1/messages/count_tokens": ("messages",),
    "/v1/responses": ("input",),
    "/v1/embeddings": ("input",),
    "/v1/rerank": ("query", "documents"),
    "/rerank": ("query", "documents"),
    "/api/chat": ("messages",),
    "/api/generate": ("prompt",),
    "/api/embed": ("input",),
}
MODELS = {
    "embed": "vectors",
    "embeddings": "vectors",
    "rerank": "ranking",
}  # by the end of the path; else MODEL
OURS = {"model", "messages", "input", "prompt", "query", "documents", "max_tokens", "options", "name", "from"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Running]:
    """A service that asks nobody outside."""
    home = tmp_path_factory.mktemp("described") / "home"
    lasting_homes.add(str(home))
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "SLMDESK_SERVICE_REQUESTS_PER_MINUTE": "0"}
    texts = {
        kind: text_model(home.parent / f"{name}.gguf", TextShape("bert", kind))
        for kind, name in TEXTS.items()
    }
    given = [argument for path in texts.values() for argument in ("--model", str(path))]
    with serve(home, "--model", MODEL, *given, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def description(service: Running) -> dict[str, Any]:
    answer = service.ask("GET", "/openapi.json")
    assert answer.status == 200
    told = answer.json
    assert isinstance(told, dict)
    return told


def test_it_is_valid(description: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(description).validate()
    assert {"/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"} <= set(description["paths"])
    fields = description["components"]["schemas"]["ChatBody"]["properties"]
    assert {"messages", "tools", "response_format", "logprobs"} <= set(fields)


def _asked(case: Any, number: int) -> None:
    """Most generated requests would end at a model that is not there or at the first of twenty odd fields, or write
    for minutes: here most name a model, half have a question and only one or two odd fields, and all are short.
    """
    body = case.body
    if not isinstance(body, dict):
        return
    if number % 4:
        for name in {"model", "name", "from", "source"} & set(body) or {"model"}:
            body[name] = MODELS.get(case.path.rsplit("/", 1)[-1], MODEL)
    if number % 2:
        _sensible(case, number)
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if name in body or name == "max_tokens":
            body[name] = number % 5 + 1
    if case.path.startswith("/api/"):
        options = body["options"] if number % 2 == 0 and isinstance(body.get("options"), dict) else {}
        body["options"] = {**options, "num_predict": number % 5 + 1}
    for name in ("n", "best_of"):
        if isinstance(body.get(name), int | float):
            body[name] = number % 3 + 1


def _sensible(case: Any, number: int) -> None:
    """A question that can be answered, with one or two odd fields."""
    body = case.body
    odd = sorted(set(body) - OURS)
    kept = {odd[(number + each) % len(odd)] for each in range(number % 3)} if odd else set()
    for name in set(odd) - kept:
        del body[name]
    said = {
        "messages": [{"role": "user", "content": "What is a quant?"}],
        "input": "What is a quant?",
        "prompt": "A quant is",
        "query": "What is a quant?",
        "documents": ["A quant is a weight format.", "Bread and water."],
    }
    for name, value in said.items():
        if name in body or name in NEEDED.get(case.path, ()):
            body[name] = value


def _checked(case: Any, response: Any, schemas: dict[str, Any]) -> None:
    """It answered, or refused in the form of its API: never with a defect, nor in another's words."""
    body = json.dumps(case.body, default=str)[:1500]
    told = f"{case.method} {case.path} {body} -> {response.status_code}: {response.text[:500]}"
    assert response.status_code < 500 or response.status_code == 503, told
    if response.status_code in ANSWERS or case.method == "HEAD":
        return
    form = case.operation.definition.raw["tags"][0]
    error = response.json()
    missing = set(schemas[f"{form}_error"]["required"]) - set(error)
    assert not missing, told


def _fuzzed(
    description: dict[str, Any], service: Running, path: str, method: str, examples: int
) -> dict[int, int]:
    """How many requests had which status."""
    schema = schemathesis.openapi.from_dict(description)
    operation = schema[path][method]
    count = 0
    statuses: dict[int, int] = {}

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        nonlocal count
        count += 1
        _asked(case, count)
        response = case.call(base_url=service.url, timeout=120)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        _checked(case, response, description["components"]["schemas"])

    ask()
    assert count
    # Nothing is left under way, and the next one is answered.
    if service.process.poll() is not None:
        pytest.fail(f"the service ended with {service.process.returncode}")
    assert service.chat(max_tokens=1).status == 200
    slots = service.ask("GET", "/slots", headers=service.own)
    assert not [slot for slot in slots.json if slot["is_processing"] or slot["waiting"]]
    return statuses


def _operations() -> list[tuple[str, str]]:
    return sorted((path, method) for method, path in OPERATIONS)


@pytest.mark.parametrize(("path", "method"), _operations())
def test_what_is_made_from_it_is_answered(
    description: dict[str, Any], service: Running, path: str, method: str
) -> None:
    _fuzzed(description, service, path, method, 3 if path in SLOW_TO_ASK else EVERYDAY)


@pytest.mark.slow  # ten thousand requests
@pytest.mark.timeout(5400)
@pytest.mark.parametrize(("path", "method"), _operations())
def test_ten_thousand_requests_made_from_it(
    description: dict[str, Any], service: Running, path: str, method: str
) -> None:
    statuses = _fuzzed(description, service, path, method, 20 if path in SLOW_TO_ASK else MANY)
    print(method, path, statuses)
    if method == "POST" and path in ANSWERED:
        assert statuses.get(200, 0) > 50  # not all of it ended at the door
