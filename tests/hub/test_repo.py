"""What a hub says of a repository, read once for everybody: real answers, and what no sound hub would send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.hub.access import HubAccess
from slmdesk.hub.repo import PICKLE_ENDINGS, RepoFile, RepoInfo, ask_repo, is_pickle, repo_info
from tests.hub import LoopbackHub

HASH = "ab" * 32
GIT = "cd" * 20


async def test_a_repository_as_a_hub_describes_it(tmp_path: Path) -> None:
    with LoopbackHub({"maker/small": {"small-Q8_0.gguf": b"GGUF" * 1000, "README.md": b"# Small"}}) as server:
        settings = Settings(tmp_path / "settings.toml", {"HF_ENDPOINT": server.url})
        hub = HubAccess(settings, Secrets(), {"HF_ENDPOINT": server.url})
        try:
            info = repo_info(await ask_repo(hub, "maker/small"))
            again = repo_info(await ask_repo(hub, "maker/small", info.revision))
        finally:
            await hub.close()
    assert again == info
    assert (info.id, len(info.revision), info.gate, info.private) == ("maker/small", 40, "", False)
    weights, card = info.file("small-Q8_0.gguf"), info.file("README.md")
    assert weights is not None
    assert card is not None
    assert (weights.size, len(weights.sha256), weights.flagged) == (4000, 64, False)
    assert (card.size, card.sha256, len(card.oid)) == (7, "", 40)
    assert info.file("other.gguf") is None


def entry(**told: Any) -> RepoFile | None:
    return repo_info({"siblings": [{"rfilename": "a.gguf", **told}]}).file("a.gguf")


@pytest.mark.parametrize(
    ("told", "size", "sized"),
    [
        ({"size": 12}, 12, True),
        ({"size": 0}, 0, True),
        ({"size": 12, "lfs": {"size": 900}}, 900, True),
        ({}, 0, False),
        ({"size": -1}, 0, False),
        ({"size": True}, 0, False),
        ({"size": 1 << 47}, 0, False),
        ({"size": "12"}, 0, False),
    ],
)
def test_sizes(told: dict[str, Any], size: int, sized: bool) -> None:
    found = entry(**told)
    assert found is not None
    assert (found.size, found.sized) == (size, sized)


def test_only_hashes_count_as_such() -> None:
    assert entry(lfs={"sha256": HASH.upper()}, blobId=GIT) == RepoFile(
        "a.gguf", 0, sha256=HASH, oid=GIT, sized=False
    )
    assert entry(lfs={"sha256": HASH[:-1]}, blobId="x" * 40) == RepoFile("a.gguf", 0, sized=False)


@pytest.mark.parametrize(
    ("said", "level", "flagged"),
    [
        ("unsafe", "unsafe", True),
        ("infected", "unsafe", True),
        ("suspicious", "suspicious", True),
        ("caution", "suspicious", True),
        ("queued", "queued", False),
        ("error", "error", False),
    ],
)
def test_what_scanners_say(said: str, level: str, flagged: bool) -> None:
    info = repo_info(
        {
            "siblings": [{"rfilename": "a.gguf"}, {"rfilename": "b.gguf"}],
            "securityRepoStatus": {"scansDone": True, "filesWithIssues": [{"path": "a.gguf", "level": said}]},
        }
    )
    assert [(file.level, file.flagged) for file in info.files] == [(level, flagged), ("", False)]
    assert info.scanned is True


def test_licence_and_gate() -> None:
    card = {"license": ["mit", "apache-2.0"]}
    info = repo_info({"gated": "manual", "private": True, "cardData": card})
    assert (info.gate, info.private, info.licence) == ("manual", True, "mit, apache-2.0")
    assert repo_info({"gated": True, "cardData": {"license": 5}}) == RepoInfo(gate="auto")


def test_pickles_are_told_by_their_ending() -> None:
    assert all(
        is_pickle(f"folder/model{ending}") and is_pickle(f"M{ending.upper()}") for ending in PICKLE_ENDINGS
    )
    assert not any(is_pickle(name) for name in ("model.safetensors", "model.gguf", "bin", "a.bin.json", ""))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("id", "sha", "siblings", "gated", "private", "cardData", "securityRepoStatus")


@given(data=JSON | st.dictionaries(st.sampled_from(KEYS), JSON | st.lists(JSON, max_size=3)))
def test_nothing_a_hub_sends_raises(data: Any) -> None:
    info = repo_info(data)
    assert all(file.path and file.size >= 0 for file in info.files)
