"""Names from a hub on this disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.core.errors import SlmDeskError
from slmdesk.downloads.names import local_paths, repo_folder
from slmdesk.library.names import split_part


def one(path: str) -> str:
    return local_paths([path])[path]


@pytest.mark.parametrize(
    "path", ["model.gguf", "onnx/model.onnx", "Ünïcode ✓.gguf", ".gitattributes", "a..b.gguf"]
)
def test_ordinary_names_stay(path: str) -> None:
    assert one(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "C:/x",
        "c:x",
        "..\\x",
        "a\\..\\..\\x",
        "\\x",
        "a/.. /b",
        "...",
        "a/ /b",
    ],
)
def test_names_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(SlmDeskError) as caught:
        one(path)
    assert caught.value.code == "name_unsafe"


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("CON.gguf", "_CON.gguf"),
        ("aux", "_aux"),
        ("lpt1.tar.gz", "_lpt1.tar.gz"),
        ("nul/x.gguf", "_nul/x.gguf"),
        ("console.gguf", "console.gguf"),
        ('a<b>:"|?*.gguf', "a_b______.gguf"),
        ("ends with dot. ", "ends with dot"),
        ("a\x00b\x1b.gguf", "a_b_.gguf"),
        ("fdp\u202efugg.gguf", "fdp_fugg.gguf"),
    ],
)
def test_names_some_system_refuses_are_mended(path: str, local: str) -> None:
    assert one(path) == local


def test_long_names_are_shortened_and_parts_stay_together() -> None:
    stem = "very-long-name-" * 20
    parts = [f"{stem}Q4_K_M-0000{n}-of-00002.gguf" for n in (1, 2)]
    chosen = list(local_paths(parts).values())
    assert all(len(name.encode()) <= 200 for name in chosen)
    splits = [split_part(name.removesuffix(".gguf")) for name in chosen]
    assert splits[0] is not None
    assert splits[1] is not None
    assert splits[0][0] == splits[1][0]
    assert "Q4_K_M" in splits[0][0]
    assert (splits[0][1], splits[1][1]) == (1, 2)


def test_names_that_clash_on_some_system_are_told_apart() -> None:
    paths = [
        "Model.gguf",
        "model.GGUF",
        "MODEL.gguf",
        "A/x.bin",
        "a/x.BIN",
        "slmdesk.json",
        ".slmdesk-partial/x",
    ]
    chosen = local_paths(paths)
    folded = [name.casefold() for name in chosen.values()]
    assert len(set(folded)) == len(paths)
    assert chosen["Model.gguf"] == "Model.gguf"
    assert chosen["slmdesk.json"] != "slmdesk.json"
    assert not chosen[".slmdesk-partial/x"].startswith(".slmdesk-partial/")
    assert chosen["a/x.BIN"].startswith("A/")


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=8, unique=True))
def test_whatever_the_name_it_stays_inside(paths: list[str]) -> None:
    try:
        chosen = local_paths(paths)
    except SlmDeskError:
        return
    folded = {name.casefold() for name in chosen.values()}
    assert len(folded) == len(paths)
    for name in chosen.values():
        for part in name.split("/"):
            assert part not in {"", ".", ".."}
            assert not set(part) & set('<>:"|?*\\\0')
            assert len(part.encode()) <= 255
            assert part == part.rstrip(" .")


@pytest.mark.parametrize("repo", ["a/b", "Qwen/Qwen3-0.6B-GGUF", "a_b/c.d"])
def test_names_of_models(repo: str) -> None:
    assert "/".join(repo_folder(repo)) == repo


@pytest.mark.parametrize(
    "repo", ["a", "a/b/c", "../b", "a/..", "a/b..c", "/b", "a/", "a\\b/c", "a/-b", "C:/x"]
)
def test_what_is_no_name_of_a_model(repo: str) -> None:
    with pytest.raises(SlmDeskError) as caught:
        repo_folder(repo)
    assert caught.value.code == "name_invalid"
