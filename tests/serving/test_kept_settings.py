"""What is kept for a model fills what a request leaves open, and decides how it is loaded. What is asked for wins."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.inference.asks import ANY_SEED, Ask, Sampling
from slmdesk.inference.limits import FITS
from slmdesk.inference.model_settings import ModelSettings
from slmdesk.library.library import Library
from slmdesk.memory.fit import calibration_in
from slmdesk.serving.defaults import Defaults
from slmdesk.serving.dialects import openai
from slmdesk.serving.models import Models
from tests.asking import turns

from .conftest import MODEL, Running, serve

ASKED = [{"role": "user", "content": "What is Q4_K_M?"}]


def filled(body: dict[str, Any], kept: ModelSettings, settings: Settings, **recommended: float) -> Ask:
    asked = openai.CHAT.read(json.dumps({"model": "m", "messages": ASKED, **body}).encode())
    return Defaults.of(settings, kept, recommended).fill(asked.ask)


def test_the_request_then_the_model_then_the_settings_then_the_publisher(paths: Paths) -> None:
    settings = Settings(paths.settings_file, {})
    settings.set("chat.top_k", 11)
    settings.set("chat.top_p", 0.6)
    settings.set("chat.max_tokens", 99)
    kept = ModelSettings(top_p=0.7, min_p=0.2, seed=5, stop=("kept",), system_prompt="Be brief.")
    question = filled({"min_p": 0.3}, kept, settings, top_k=3, repeat_penalty=1.1)
    assert question.sampling == Sampling(top_k=11, top_p=0.7, min_p=0.3, seed=5, repeat_penalty=1.1)
    assert (question.max_tokens, question.stop) == (99, ("kept",))
    assert question.turns == turns([{"role": "system", "content": "Be brief."}, *ASKED])
    # What a program says by name counts, also that there is to be nothing.
    named = {"seed": -1, "stop": [], "max_tokens": 4, "kept_instructions": False}
    question = filled(named, kept, settings)
    assert (question.sampling.seed, question.stop, question.max_tokens) == (ANY_SEED, (), 4)
    assert question.turns == turns(ASKED)
    own = [{"role": "system", "content": "Mine."}, *ASKED]
    assert filled({"messages": own}, kept, settings).turns == turns(own)
    assert filled({}, ModelSettings(system_prompt=""), settings).turns == turns(ASKED)


def test_a_setting_that_was_left_alone_is_no_choice(paths: Paths) -> None:
    question = filled({}, ModelSettings(), Settings(paths.settings_file, {}), temperature=0.3)
    assert (question.sampling, question.max_tokens, question.stop) == (Sampling(temperature=0.3), 0, ())


@pytest.fixture
def library(paths: Paths, smollm2: Path) -> Library:
    folder = paths.models / "p" / "m"
    folder.mkdir(parents=True)
    shutil.copy(smollm2, folder / "m-Q4_1.gguf")
    return Library(paths, Settings(paths.settings_file, {}))


@pytest.fixture
async def models(paths: Paths, library: Library) -> AsyncIterator[Models]:
    models = Models(library, Settings(paths.settings_file, {}), calibration=calibration_in(paths.data))
    yield models
    await models.stop()


async def test_a_model_is_loaded_as_it_is_kept_and_anew_after_a_change(
    models: Models, library: Library
) -> None:
    file = await library.resolve("p/m")
    library.kept.change(file, {"context_length": 768, "cache_type": "q8_0"})
    async with models.use("p/m", trusted=True) as held:
        assert held.engine.facts.context_length == 768
        first = held.engine.pid
        assert [model.outdated for model in models.describe()] == [False]
        library.kept.change(file, {"context_length": 1024})
        assert [model.outdated for model in models.describe()] == [True]
        # Whoever is answered goes on; who comes meanwhile shares the old one.
        async with models.use("p/m", trusted=True) as other:
            assert other.engine.pid == first
        assert held.engine.alive
    async with models.use("p/m", trusted=True) as held:
        assert (held.engine.facts.context_length, held.engine.pid != first) == (1024, True)
        assert [model.outdated for model in models.describe()] == [False]
    async with models.use("p/m", trusted=True, context_length=512) as held:  # asked for by name
        assert held.engine.facts.context_length == 512


async def test_as_long_as_fits_is_what_the_model_was_trained_with_where_there_is_room(
    models: Models, library: Library
) -> None:
    file = await library.resolve("p/m")
    library.kept.change(file, {"context_length": FITS})
    async with models.use("p/m", trusted=True) as held:
        assert held.engine.facts.context_length == file.context_length == 8192
        first = held.engine.pid
    async with models.use("p/m", trusted=True) as held:  # what is free is another number each time
        assert held.engine.pid == first


async def test_a_generation_config_beside_the_file_is_what_its_publisher_recommends(
    models: Models, library: Library
) -> None:
    file = await library.resolve("p/m")
    (file.path.parent / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "top_k": "x"}))
    async with models.use("p/m", trusted=True) as held:
        assert held.defaults.recommended == {"temperature": 0.7}


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("kept")
    lasting_homes.add(str(home))
    with serve(home) as running:
        yield running


async def test_programs_get_what_is_kept_at_once(own_service: Running) -> None:
    """A stop string and instructions, kept by another process while the service runs."""
    service, paths = own_service, own_service.paths
    library = Library(paths, Settings(paths.settings_file, {}))
    file = await library.resolve(MODEL)
    ask = {"max_tokens": 24, "temperature": 0}
    before = service.chat(**ask).json
    text = before["choices"][0]["message"]["content"]
    word = text.split()[3]
    library.kept.change(file, {"stop": [word], "system_prompt": "You know all about small language models."})
    after = service.chat(**ask).json
    assert after["choices"][0]["message"]["content"].find(word) == -1
    assert after["usage"]["prompt_tokens"] > before["usage"]["prompt_tokens"]
    plain = service.chat(**ask, stop=[], kept_instructions=False).json
    assert plain["choices"][0]["message"]["content"] == text
    library.kept.change(file, {"stop": None, "system_prompt": None, "max_tokens": 3})
    short = service.chat(temperature=0, max_tokens="absent").json
    assert (short["usage"]["completion_tokens"], short["choices"][0]["finish_reason"]) == (3, "length")
    library.kept.reset(file)
    assert service.chat(**ask).json["choices"][0]["message"]["content"] == text
