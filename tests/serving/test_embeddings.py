"""`/v1/embeddings` and `/v1/rerank` of a real service, and what the models say they are for."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from slmdesk.inference.vectors import Scores, Vectors
from slmdesk.serving.dialects.openai_embeddings import (
    EmbeddingsAsked,
    RerankAsked,
    read_embeddings,
    read_rerank,
    write_embeddings,
    write_rerank,
)
from slmdesk.serving.request_errors import RequestError
from tests.serving.conftest import MODEL, Answer, Running, serve, until
from tests.text_models import LAST, MEAN, RANK, TextShape, text_model

BERT, QWEN, JUDGE = "acme/sentences", "acme/Qwen3-Embedding", "acme/judge"
TEXTS = ["the cat sat on the mat", "paris is the capital of france", "bread and water"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Running]:
    """A service whose library has an embedding model, one whose vectors may be shortened, and a reranker."""
    home = tmp_path_factory.mktemp("texts")
    lasting_homes.add(str(home))
    folder = home / "models"
    text_model(folder / BERT / "sentences-F16.gguf", TextShape("bert", MEAN))
    text_model(folder / QWEN / "Qwen3-Embedding-F16.gguf", TextShape("qwen3", LAST))
    text_model(folder / JUDGE / "judge-F16.gguf", TextShape("bert", RANK))
    with serve(home) as running:
        yield running


def embed(service: Running, **fields: Any) -> Answer:
    request = {"model": BERT, "input": TEXTS, **fields}
    return service.post("/v1/embeddings", {key: value for key, value in request.items() if value != "absent"})


def vectors_of(answer: Answer) -> list[list[float]]:
    assert answer.status == 200, answer.body
    entries = answer.json["data"]
    assert [entry["index"] for entry in entries] == list(range(len(entries)))
    assert {entry["object"] for entry in entries} == {"embedding"}
    return [entry["embedding"] for entry in entries]


def product(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_vectors(texts: Running) -> None:
    answer = embed(texts)
    found = vectors_of(answer)
    assert [len(row) for row in found] == [64] * 3
    assert all(abs(product(row, row) - 1) < 1e-5 for row in found)
    assert answer.json["object"] == "list"
    assert answer.json["model"] == BERT
    usage = answer.json["usage"]
    assert usage["prompt_tokens"] == usage["total_tokens"] > 3 * len(TEXTS)
    alone = vectors_of(embed(texts, input=TEXTS[1]))
    assert product(alone[0], found[1]) > 0.9999
    assert product(found[0], found[1]) < 0.99


def test_base64_holds_the_same_numbers(texts: Running) -> None:
    found = vectors_of(embed(texts, encoding_format="float"))
    packed = [base64.b64decode(text) for text in vectors_of(embed(texts, encoding_format="base64"))]  # type: ignore[arg-type]
    assert [array("f", data).tolist() for data in packed] == found


def test_tokens_are_an_input_too(texts: Running) -> None:
    one = vectors_of(embed(texts, input=[2, 50, 79, 3]))
    several = vectors_of(embed(texts, input=[[2, 50, 79, 3], [2, 80, 3]]))
    assert (len(one), len(several)) == (1, 2)
    assert product(one[0], several[0]) > 0.9999
    assert product(one[0], vectors_of(embed(texts, input="the cat"))[0]) > 0.9999


def test_vectors_are_shortened_where_the_model_was_trained_for_it(texts: Running) -> None:
    whole = vectors_of(embed(texts, model=QWEN))[0]
    short = vectors_of(embed(texts, model=QWEN, dimensions=16))[0]
    assert len(short) == 16
    assert abs(product(short, short) - 1) < 1e-5
    scale = short[0] / whole[0]
    assert all(abs(a - scale * b) < 1e-5 for a, b in zip(short, whole[:16], strict=True))
    assert len(vectors_of(embed(texts, dimensions=64.0))[0]) == 64  # all that it has
    refused = embed(texts, dimensions=16)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (
        400,
        "dimensions",
        "unsupported",
    )
    refused = embed(texts, model=QWEN, dimensions=65)
    assert (refused.status, refused.error["param"]) == (400, "dimensions")
    assert "64" in refused.error["message"]


def test_a_text_too_long_is_refused_by_its_number_or_cut(texts: Running) -> None:
    long = "cat " * 400
    refused = embed(texts, input=["cat", long])
    assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
    assert "Text 2 has 402 tokens; the model takes 256" in refused.error["message"]
    answer = embed(texts, input=["cat", long], truncate=True)
    assert answer.json["usage"]["prompt_tokens"] == 3 + 256


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": []}, "input", "invalid_value"),
        ({"input": "absent"}, "input", "missing_field"),
        ({"input": None}, "input", "missing_field"),
        ({"input": 7}, "input", "invalid_type"),
        ({"input": ["a", 7]}, "input[1]", "invalid_type"),
        ({"input": ["a", []]}, "input[1]", "invalid_type"),
        ({"input": [{"image": "x"}]}, "input[0]", "unsupported"),
        ({"input": ["a"] * 2049}, "input", "invalid_value"),
        ({"input": [[True]]}, "input[0]", "invalid_type"),
        ({"model": ""}, "model", "invalid_value"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"dimensions": "8"}, "dimensions", "invalid_type"),
    ],
)
def test_what_is_refused(texts: Running, fields: dict[str, Any], param: str, code: str) -> None:
    answer = embed(texts, **fields)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)


def test_a_model_is_asked_for_what_it_does(texts: Running) -> None:
    for model in (MODEL, JUDGE):
        answer = embed(texts, model=model)
        assert (answer.status, answer.error["code"]) == (400, "unsupported")
        assert "no embedding model" in answer.error["message"]
    for model in (MODEL, BERT):
        answer = texts.post("/v1/rerank", {"model": model, "query": "a", "documents": ["b"]})
        assert (answer.status, answer.error["code"]) == (400, "unsupported")
    for model, word in ((BERT, "/v1/embeddings"), (JUDGE, "/v1/rerank")):
        answer = texts.chat(model=model)
        assert (answer.status, answer.error["code"]) == (400, "model_not_chat")
        assert word in answer.error["message"]
        answer = texts.post("/v1/completions", {"model": model, "prompt": "Hello"})
        assert (answer.status, answer.error["code"]) == (400, "model_not_chat")
    assert texts.status(MODEL) == {}, "a refusal loaded the model"


def test_a_chat_is_refused_also_while_the_model_is_loaded(texts: Running) -> None:
    vectors_of(embed(texts))
    status = texts.status(BERT)
    assert (status["state"], status["serves"]) == ("ready", "embed")
    answer = texts.chat(model=BERT)
    assert (answer.status, answer.error["code"]) == (400, "model_not_chat")
    vectors_of(embed(texts))
    assert texts.status(BERT)["pid"] == status["pid"]


def test_models_say_what_they_are_for(texts: Running) -> None:
    entries = {entry["id"]: entry for entry in texts.ask("GET", "/v1/models").json["data"]}
    purposes = {name: entries[name]["purpose"] for name in (MODEL, BERT, QWEN, JUDGE)}
    assert purposes == {MODEL: "chat", BERT: "embed", QWEN: "embed", JUDGE: "rank"}
    assert all(entries[name]["problem"] is None for name in purposes)


def test_documents_are_ranked(texts: Running) -> None:
    documents: list[Any] = ["the cat", {"text": "a house by the river"}, "dog", "night and day"]
    request = {"model": JUDGE, "query": "one cat", "documents": documents}
    answer = texts.post("/v1/rerank", request)
    assert answer.status == 200
    results = answer.json["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert len(set(scores)) == 4
    assert "document" not in results[0]
    assert answer.json["usage"]["total_tokens"] > 0
    best = texts.post("/rerank", {**request, "top_n": 2, "return_documents": True}).json["results"]
    assert [result["index"] for result in best] == [result["index"] for result in results[:2]]
    given = [document if isinstance(document, str) else document["text"] for document in documents]
    assert [result["document"]["text"] for result in best] == [given[result["index"]] for result in best]
    raw = texts.post("/v1/rerank", {**request, "raw_scores": True}).json["results"]
    assert [result["index"] for result in raw] == [result["index"] for result in results]
    assert raw[0]["relevance_score"] != results[0]["relevance_score"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"documents": []}, "documents", "invalid_value"),
        ({"documents": None}, "documents", "missing_field"),
        ({"documents": ["a", 7]}, "documents[1]", "invalid_type"),
        ({"documents": [{"image": "x"}]}, "documents[0]", "unsupported"),
        ({"query": " "}, "query", "invalid_value"),
        ({"query": None}, "query", "missing_field"),
        ({"top_n": 0}, "top_n", "invalid_value"),
        ({"model": None}, "model", "missing_field"),
    ],
)
def test_what_is_refused_of_a_ranking(fields: dict[str, Any], param: str, code: str) -> None:
    request = {"model": JUDGE, "query": "a", "documents": ["b"], **fields}
    with pytest.raises(RequestError) as caught:
        read_rerank(json.dumps(request).encode())
    assert (caught.value.param, caught.value.code) == (param, code)


def test_an_embedding_model_named_at_the_start_is_loaded_then(tmp_path: Path) -> None:
    path = text_model(tmp_path / "given.gguf", TextShape("nomic-bert", MEAN))
    with serve(tmp_path / "home", "--model", str(path)) as running:
        assert running.status(str(path))["state"] == "ready"
        assert len(vectors_of(embed(running, model=str(path)))) == 3


def test_ollamas_paths_give_the_same_vectors(texts: Running) -> None:
    found = vectors_of(embed(texts))
    answer = texts.post("/api/embed", {"model": BERT, "input": TEXTS})
    assert answer.status == 200
    assert answer.json["embeddings"] == found
    assert answer.json["model"] == BERT
    assert answer.json["prompt_eval_count"] == embed(texts).json["usage"]["prompt_tokens"]
    assert answer.json["total_duration"] > 0
    old = texts.post("/api/embeddings", {"model": BERT, "prompt": TEXTS[1]}).json["embedding"]
    assert product(old, found[1]) > 0.9999
    short = texts.post("/api/embed", {"model": QWEN, "input": "cat", "dimensions": 8}).json["embeddings"]
    assert [len(row) for row in short] == [8]
    # What is too long is cut there, unless a client says otherwise.
    long = {"model": BERT, "input": "cat " * 400}
    assert texts.post("/api/embed", long).json["prompt_eval_count"] == 256
    refused = texts.post("/api/embed", {**long, "truncate": False})
    assert refused.status == 400
    assert "Text 1 has 402 tokens" in refused.json["error"]
    assert texts.post("/api/embed", {"model": BERT, "input": []}).json["embeddings"] == []
    assert texts.post("/api/embed", {"model": BERT}).status == 400
    assert texts.post("/api/embed", {"model": MODEL, "input": "a"}).status == 400
    shown = texts.post("/api/show", {"model": BERT}).json
    assert shown["capabilities"] == ["embedding"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_vectors_are_made_though_native_code_ends_the_engine(tmp_path: Path) -> None:
    """The next engine is started a step safer, and makes all of them."""
    path = text_model(tmp_path / "given.gguf", TextShape("bert", MEAN))
    with serve(tmp_path / "home", "--model", str(path)) as running, ThreadPoolExecutor(1) as aside:
        pid = running.status(str(path))["pid"]
        texts = [f"{word} " * 200 for word in ("water", "bread")] * 400
        asked = aside.submit(embed, running, model=str(path), input=texts)
        until(lambda: running.status(str(path))["active"] == 1, "the request at the engine")
        os.kill(pid, signal.SIGSEGV)
        found = vectors_of(asked.result(timeout=120))
        assert len(found) == 800
        assert product(found[0], found[798]) > 0.9999
        assert product(found[1], found[799]) > 0.9999
        assert running.status(str(path))["pid"] != pid


def test_reading_and_writing_without_a_service() -> None:
    asked = read_embeddings(
        b'{"model": " m ", "input": "a", "encoding_format": null, "user": "x", "dimensions": 2.0}'
    )
    assert asked == EmbeddingsAsked("m", ("a",), dimensions=2)
    data = array("f", [0.6, 0.8, 1.0, 0.0]).tobytes()
    told = json.loads(write_embeddings(asked, Vectors(2, data, (3, 4))))
    assert told["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert told["data"][1]["embedding"] == [1.0, 0.0]
    ranking = RerankAsked("m", "q", ("a", "b", "c"), top_n=2)
    told = json.loads(write_rerank(ranking, Scores((0.5, 0.9, 0.5), (1, 1, 1))))
    assert [result["index"] for result in told["results"]] == [1, 0]
