"""The official client of Ollama manages models: pulled from a hub on the loopback, copied, shown, kept, deleted."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ollama import Client, ResponseError

from slmdesk.application import Application
from tests.hub import LoopbackHub
from tests.quantize.adapters import write_adapter

from .conftest import MODEL, Running, serve, until

REPO = "acme/guide-GGUF"
BIG = "acme/big-GGUF"
COLD = {"temperature": 0, "num_predict": 6}
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    guide = (Path(__file__).parents[2] / "resources/desk-guide/desk-guide-F16.gguf").read_bytes()
    files = {"guide-F16.gguf": guide, "README.md": b"# Guide\n"}
    with LoopbackHub({REPO: files, BIG: {"big-F16.gguf": guide + bytes(64)}}) as hub:
        yield hub


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str], hub: LoopbackHub
) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("ollama")
    lasting_homes.add(str(home))
    keyring = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    with serve(home, env={"HF_ENDPOINT": hub.url, **keyring}) as running:
        yield running
    application = application_of(running)
    asyncio.run(ended(application))


async def ended(application: Application) -> None:
    """The process that downloads has ended."""
    try:
        await application.jobs.end_runner()
    finally:
        await application.close()


def application_of(running: Running) -> Application:
    return Application.look({**os.environ, "SLMDESK_HOME": str(running.paths.data.parent)})


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    client = Client(running.url, timeout=120)
    yield client
    client._client.close()


def names(client: Client) -> set[str | None]:
    return {model.model for model in client.list().models}


def test_a_model_is_pulled_asked_copied_and_deleted(client: Client, running: Running) -> None:
    steps = list(client.pull(f"hf.co/{REPO}:F16", stream=True))
    assert [steps[0].status, steps[-1].status] == ["pulling manifest", "success"]
    told = [step for step in steps if step.digest]
    assert {step.digest for step in told} == {told[0].digest}
    assert told[-1].completed == told[-1].total == file_of(running, REPO).stat().st_size
    assert [step.completed for step in told] == sorted(step.completed or 0 for step in told)
    assert REPO in names(client)
    digest = next(m.digest for m in client.list().models if m.model == REPO)
    assert told[0].digest == f"sha256:{digest}"
    # By the name it was pulled by, and again without a byte more.
    first = client.generate(f"hf.co/{REPO}:F16", "What is a quant?", options=COLD).response
    assert client.pull(REPO).status == "success"

    client.copy(f"hf.co/{REPO}:F16", "twin")
    assert "twin:latest" in names(client)
    assert client.generate("twin", "What is a quant?", options=COLD).response == first
    listed = [model["id"] for model in running.ask("GET", "/v1/models").json["data"]]
    assert "twin:latest" in listed
    chat = running.chat(model="twin:latest")
    assert chat.json["choices"][0]["message"]["content"]
    # Both have one engine, as nothing is loaded otherwise.
    assert len([m for m in client.ps().models if m.model in {REPO, "twin:latest"}]) == 1

    client.delete("twin")
    assert "twin:latest" not in names(client)
    client.delete(REPO)
    assert REPO not in names(client)
    assert client.ps().models == []
    with pytest.raises(ResponseError) as refused:
        client.generate("twin", "Hello")
    assert refused.value.status_code == 404


def file_of(running: Running, repo: str) -> Path:
    return next((running.paths.models / repo).glob("*.gguf"))


def test_what_was_deleted_is_brought_back(client: Client, running: Running) -> None:
    client.pull(REPO)
    client.copy(REPO, "again")
    client.delete(REPO)
    client.delete("again")
    application = application_of(running)

    async def undo() -> None:
        try:
            created, model, *_ = await application.trash.removed()
            assert created.title == "again:latest"
            for removed in (created, model):
                await application.trash.undo(removed.key)
        finally:
            await application.close()

    asyncio.run(undo())
    assert {REPO, "again:latest"} <= names(client)
    client.delete("again")


def test_a_client_that_goes_away_stops_nothing(client: Client, running: Running, hub: LoopbackHub) -> None:
    hub.faults.slow(f"{BIG}/*", 1_000_000)
    try:
        stream = client.pull(BIG, stream=True)
        next(step for step in stream if step.completed)
        stream.close()
        # Whoever asks again hears of the same job, further on.
        again = client.pull(BIG, stream=True)
        first = next(step for step in again if step.digest)
        assert first.completed
        again.close()
        client.delete(BIG)
        with pytest.raises(ResponseError):
            client.delete(BIG)
    finally:
        hub.faults.clear()
    assert not list((running.paths.models / BIG).glob("*.gguf"))


@pytest.mark.parametrize(
    ("name", "word"),
    [("acme/nothing", "nothing"), (f"{REPO}:Q4_K_M", "F16"), ("no name at all", "hf.co")],
)
def test_what_cannot_be_pulled_is_said_in_both_forms(client: Client, name: str, word: str) -> None:
    with pytest.raises(ResponseError, match=word):
        client.pull(name)
    with pytest.raises(ResponseError, match=word):
        list(client.pull(name, stream=True))


def test_the_offline_switch_closes_the_hub(client: Client, running: Running) -> None:
    running.paths.settings_file.write_text("[network]\noffline = true\n")
    try:
        client.generate(MODEL, "Hello", options=COLD)  # from this machine, and the settings are read again
        with pytest.raises(ResponseError, match="offline") as refused:
            client.pull("acme/other")
        assert refused.value.status_code == 503
        assert client.pull(MODEL).status == "success"
    finally:
        running.paths.settings_file.unlink()
        client.generate(MODEL, "Hello", options=COLD)


def test_names_that_are_none_and_files_of_the_machine_are_refused(client: Client, running: Running) -> None:
    secret = running.paths.data / "secret.gguf"
    shutil.copyfile(Path(__file__).parents[2] / "resources/desk-guide/desk-guide-F16.gguf", secret)
    for source in (str(secret), "../secret", "missing/model"):
        with pytest.raises(ResponseError) as refused:
            client.copy(source, "mine")
        assert refused.value.status_code == 404
        with pytest.raises(ResponseError):
            client.delete(source)
    assert secret.exists()
    for name in ("a b", "../up", "x.gguf", "", "a/b/c/d"):
        with pytest.raises(ResponseError):
            client.copy(MODEL, name)
    with pytest.raises(ResponseError) as taken:
        client.copy(MODEL, MODEL)
    assert taken.value.status_code == 409
    with pytest.raises(ResponseError, match="push"):
        client.push(MODEL)
    with pytest.raises(ResponseError, match="stays"):
        client.delete(MODEL)


def test_pages_change_no_models(running: Running) -> None:
    page = {"Origin": "http://localhost:3000"}
    for method, path, body in (
        ("POST", "/api/pull", {"model": REPO}),
        ("POST", "/api/copy", {"source": MODEL, "destination": "mine"}),
        ("DELETE", "/api/delete", {"model": MODEL}),
    ):
        assert running.ask(method, path, body, page).status == 401
        assert isinstance(running.ask(method, path, body, page).json["error"], str)


def left(client: Client, name: str) -> float:
    """Seconds that a loaded model still has."""
    (model,) = [model for model in client.ps().models if model.model == name]
    assert model.expires_at is not None
    return (model.expires_at - dt.datetime.now(dt.UTC)).total_seconds()


def test_a_model_is_kept_for_as_long_as_is_said(client: Client) -> None:
    client.generate(MODEL, "Hello", options=COLD)
    assert 1500 < left(client, id_of(client)) <= 1800  # the setting's half hour
    client.chat(MODEL, messages=[{"role": "user", "content": "Hello"}], options=COLD, keep_alive="1h30m")
    assert 5000 < left(client, id_of(client)) <= 5400
    client.generate(MODEL, "Hello", options=COLD)  # nothing said changes nothing
    assert left(client, id_of(client)) > 5000
    client.generate(MODEL, "", keep_alive=-1)
    assert left(client, id_of(client)) > 1e9
    (model,) = client.ps().models
    assert model.size
    assert model.size_vram is not None
    assert model.context_length
    client.generate(MODEL, "Hello", options=COLD, keep_alive=0)
    until(lambda: client.ps().models == [], "the model is unloaded")
    with pytest.raises(ResponseError, match="keep_alive"):
        client.generate(MODEL, "Hello", keep_alive="soon")


def id_of(client: Client) -> str:
    (model,) = client.ps().models
    assert model.model is not None
    return model.model


def test_a_model_is_created_of_another(client: Client, running: Running) -> None:
    before = client.chat(MODEL, messages=[{"role": "user", "content": "What is Q4_K_M?"}], options=COLD)
    statuses = [
        step.status
        for step in client.create(
            "guide:brief",
            from_=MODEL,
            system="You answer in one word.",
            parameters={
                "temperature": 0,
                "num_predict": 3,
                "stop": ["never said", "nor this"],
                "mirostat": 1,
            },
            messages=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}],
            license="MIT",
            stream=True,
        )
    ]
    assert statuses[-1] == "success"
    assert any("mirostat" in (status or "") for status in statuses)
    after = client.chat("guide:brief", messages=[{"role": "user", "content": "What is Q4_K_M?"}])
    assert (after.eval_count, after.done_reason) == (3, "length")
    # Its instructions and example messages are part of every prompt, in each API.
    assert (after.prompt_eval_count or 0) > (before.prompt_eval_count or 0) + 10
    openai = running.chat(model="guide:brief", max_tokens="absent").json
    assert openai["usage"]["prompt_tokens"] == after.prompt_eval_count
    assert openai["usage"]["completion_tokens"] == 3
    own = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "What is Q4_K_M?"}]
    assert (client.chat("guide:brief", messages=own).prompt_eval_count or 0) < (after.prompt_eval_count or 0)

    shown = client.show("guide:brief")
    assert shown.details is not None
    assert shown.details.parent_model
    assert (shown.license, shown.template) == ("MIT", "")
    assert "PARAMETER num_predict 3" in (shown.modelfile or "")
    assert 'stop                           "nor this"' in (shown.parameters or "")
    # What it says of itself makes the same model again, of itself too.
    client.create("guide:again", from_="guide:brief", parameters={"num_predict": 2})
    text = running.post("/api/create", {"model": "guide:text", "modelfile": shown.modelfile, "stream": False})
    assert (text.status, text.json) == (200, {"status": "success"})
    for name, tokens in (("guide:again", 2), ("guide:text", 3)):
        same = client.chat(name, messages=[{"role": "user", "content": "What is Q4_K_M?"}])
        assert (same.eval_count, same.prompt_eval_count) == (tokens, after.prompt_eval_count)
        client.delete(name)
    client.delete("guide:brief")


def test_a_context_and_a_template_of_its_own_take_an_engine_of_its_own(client: Client) -> None:
    client.generate(MODEL, "Hello", options=COLD)
    client.create(
        "short", from_=MODEL, parameters={"num_ctx": 512}, template="{{ .System }}Q: {{ .Prompt }}\nA:"
    )
    asked = client.generate("short", "What is a quant?", options=COLD)
    running = {model.model: model for model in client.ps().models}
    assert running["short:latest"].context_length == 512
    assert len(running) == 2
    raw = client.generate(MODEL, "Q: What is a quant?\nA:", raw=True, options=COLD)
    assert asked.response == raw.response
    client.create("short", from_=MODEL, parameters={"num_ctx": 256})  # in place of the other
    client.generate("short", "What is a quant?", options=COLD)
    assert {model.context_length for model in client.ps().models if model.model == "short:latest"} == {256}
    client.delete("short")
    assert len(client.ps().models) == 1


MODELFILES = [
    ("FROM slmdesk/desk-guide\nPARAMETER context_length 4", ["Line 2", "context_length", "num_ctx"]),
    ("FROM slmdesk/desk-guide\n\nTEMPRATURE 1", ["Line 3", "TEMPRATURE", "TEMPLATE"]),
    ("FROM slmdesk/desk-guide\nPARAMETER temperature hot", ["Line 2", "hot", "from 0 to 2"]),
    ("FROM slmdesk/desk-guide\nPARAMETER temperture 1", ["Line 2", "temperature"]),
    ("FROM slmdesk/desk-guide\nMESSAGE robot Hello", ["Line 2", "robot", "assistant"]),
    ('FROM slmdesk/desk-guide\n# note\nSYSTEM """never\nends', ["Line 3", "does not end"]),
    ("SYSTEM You are kind.", ["FROM"]),
    ("FROM slmdesk/desk-guide\nFROM other", ["Line 2", "second"]),
    ("FROM slmdesk/desk-guide\nADAPTER ./lora.gguf", ["ADAPTER", "/api/blobs"]),
    ("FROM slmdesk/no-such-model", ["no-such-model"]),
    ("FROM /etc/passwd", ["/etc/passwd"]),
]


@pytest.mark.parametrize(("text", "words"), MODELFILES, ids=[text[-18:] for text, _ in MODELFILES])
def test_what_is_wrong_in_a_modelfile_is_named(running: Running, text: str, words: list[str]) -> None:
    answer = running.post("/api/create", {"model": "broken", "modelfile": text, "stream": False})
    assert 400 <= answer.status < 500
    assert [word for word in words if word not in answer.json["error"]] == []
    assert all("broken" not in model["name"] for model in running.ask("GET", "/api/tags").json["models"])


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "from"),
        ({"from": MODEL, "parameters": {"max_tokens": 3}}, "num_predict"),
        ({"from": MODEL, "parameters": {"top_p": 7}}, "top_p"),
        ({"from": MODEL, "messages": [{"role": "tool", "content": ""}]}, "messages[0].role"),
        ({"from": MODEL, "adapters": {"x": "sha256:" + "0" * 64}}, "/api/blobs"),
        ({"from": MODEL, "adapters": {"x": "../up"}}, "SHA-256"),
        ({"files": {"a": "sha256:" + "0" * 64, "b": "sha256:" + "1" * 64}}, "2 files"),
        ({"from": MODEL, "quantize": "Q9"}, "Q9"),
    ],
)
def test_what_cannot_be_created_is_refused_by_name(
    running: Running, fields: dict[str, object], word: str
) -> None:
    answer = running.post("/api/create", {"model": "broken", "stream": False, **fields})
    assert 400 <= answer.status < 500
    assert word in answer.json["error"]


def test_a_file_that_is_sent_becomes_a_model(client: Client, running: Running, tmp_path: Path) -> None:
    sent = tmp_path / "sent.gguf"
    guide = Path(__file__).parents[2] / "resources/desk-guide/desk-guide-F16.gguf"
    sent.write_bytes(guide.read_bytes() + b"\0" * 32)
    digest = f"sha256:{hashlib.sha256(sent.read_bytes()).hexdigest()}"
    assert running.ask("HEAD", f"/api/blobs/{digest}").status == 404
    wrong = running.ask("POST", f"/api/blobs/sha256:{'0' * 64}", sent.read_bytes()[:100_000])
    assert (wrong.status, "not the content" in wrong.json["error"]) == (400, True)
    assert client.create_blob(sent) == digest
    assert running.ask("HEAD", f"/api/blobs/{digest}").status == 200
    client.create("sent", files={"sent.gguf": digest}, system="Be brief.")
    assert "sent:latest" in names(client)
    plain = client.generate(MODEL, "What is a quant?", system="Be brief.", options=COLD).response
    assert client.generate("sent", "What is a quant?", options=COLD).response == plain
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"no model at all")
    with pytest.raises(ResponseError, match="GGUF"):
        client.create("garbage", files={"garbage.gguf": client.create_blob(garbage)})
    client.delete("sent")
    client.delete("local/sent-weights")


def test_an_adapter_changes_a_created_model_and_must_belong_to_it(
    client: Client, running: Running, tmp_path: Path, smollm2: Path
) -> None:
    guide = Path(__file__).parents[2] / "resources/desk-guide/desk-guide-F16.gguf"
    weights = [f"blk.{block}.{name}.weight" for block in range(2) for name in ("attn_q", "ffn_down")]
    lora = write_adapter(tmp_path / "lora.gguf", guide, weights, strength=0.3)
    digest = client.create_blob(lora)
    client.create("changed", from_=MODEL, adapters={"lora.gguf": digest})
    plain = client.generate(MODEL, "What is a quant?", options=COLD).response
    assert client.generate("changed", "What is a quant?", options=COLD).response != plain
    assert client.generate(MODEL, "What is a quant?", options=COLD).response == plain
    other = write_adapter(tmp_path / "other.gguf", smollm2, ["blk.0.attn_q.weight"])
    with pytest.raises(ResponseError, match="another model"):
        client.create("wrong", from_=MODEL, adapters={"other.gguf": client.create_blob(other)})
    client.delete("changed")


@pytest.mark.slow
def test_a_quant_is_made_on_the_way(client: Client) -> None:
    client.create("small", from_=REPO if REPO in names(client) else pulled(client), quantize="q8_0")
    shown = client.show("small")
    assert shown.details is not None
    assert shown.details.quantization_level == "Q8_0"
    assert client.generate("small", "What is a quant?", options=COLD).response
    client.delete("small")


def pulled(client: Client) -> str:
    client.pull(REPO)
    return REPO
