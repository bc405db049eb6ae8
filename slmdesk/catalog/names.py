"""Reading what a person typed or pasted, and what a model's name says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.records import Kind

_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPO = re.compile(rf"^({_PART})/({_PART})$", re.ASCII)
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([BbMm])(?![A-Za-z0-9])")
_INSTRUCT = re.compile(
    r"(?i)(^|[-_. ])(instruct|it|chat|instruction|assistant|thinking|reasoning|distill|rlhf|dpo)"
    r"($|[-_. ])"
)
_BASE = re.compile(r"(?i)(^|[-_. ])(base|pt|pretrain(ed)?)($|[-_. ])")
_EMBEDDING_TASKS = {"feature-extraction", "sentence-similarity", "text-ranking"}
_NOT_REPOS = frozenset(
    (
        "api datasets spaces docs models collections settings papers blog join login organizations pricing "
        "tasks posts chat new search"
    ).split()
)

_PLACES = {"tree", "blob", "resolve", "raw", "commit"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed: words to search for, or one repository with perhaps a revision and a file.

    `bare` are words that may be the name of an old repository without a publisher ("gpt2"), as they name nothing
    else: where one model is wanted, the hub is asked for it.
    """

    words: str = ""
    repo: str = ""
    revision: str = ""
    file: str = ""
    bare: str = ""


def read(text: str) -> Wanted:
    """Understands `publisher/name`, hub addresses (model pages, trees, files), `hf.co/…`, `ollama run hf.co/…:Q`,
    `hf download …` lines and search addresses; everything else is words."""
    text = text.strip().strip("\"'<>")
    for command in (
        "ollama run ",
        "ollama pull ",
        "hf download ",
        "huggingface-cli download ",
        "git clone ",
        "slmdesk pull ",
    ):
        text = text.removeprefix(command).strip()
    address = (
        text
        if "://" in text
        else f"https://{text}"
        if re.match(r"^(www\.)?(hf\.co|huggingface\.co)/", text)
        else ""
    )
    if not address:
        first, _, rest = text.partition(" ")
        name, _, quant = first.partition(":")
        if _REPO.match(name) and (not rest or text.startswith(first + " -") or "." in rest.split("/")[-1]):
            return Wanted(repo=name, file=rest if not rest.startswith("-") else "", revision="", words=quant)
        words = " ".join(text.split())
        return Wanted(words=words, bare=name if is_bare(name) and not rest else "")
    try:
        parts = urlsplit(address)
    except ValueError:
        return Wanted(words=text)
    found = re.search(r"(?:^|&)search=([^&]*)", parts.query)
    segments = [unquote(part) for part in parts.path.split("/") if part]
    if len(segments) < 2 or segments[0] in _NOT_REPOS:
        words = unquote(found[1]).replace("+", " ") if found else " ".join(segments[1:] or segments)
        alone = segments[0].partition(":")[0] if len(segments) == 1 and not found else ""
        return Wanted(words=words, bare=alone if is_bare(alone) else "")
    if segments[1] in _PLACES and is_bare(segments[0]):  # gpt2/tree/main
        revision, file = (*segments[2:3], "")[0], "/".join(segments[3:])
        return Wanted(repo=segments[0], revision=revision, file=file)
    name, _, quant = segments[1].removesuffix(".git").partition(":")
    repo = f"{segments[0]}/{name}"
    if not _REPO.match(repo):
        return Wanted(words=" ".join(segments[:2]))
    if len(segments) > 3 and segments[2] in _PLACES:
        return Wanted(repo=repo, revision=segments[3], file="/".join(segments[4:]))
    return Wanted(repo=repo, words=quant)


def one_model(text: str) -> tuple[str, str, str] | None:
    """Repository, the quant or file that is meant ("" for the best), and revision, where one model is named; else None.

    Beside what `read` understands: `publisher/name/FILE`, and old names without a publisher.
    """
    found = read(text)
    if found.repo:
        return found.repo, found.file or found.words, found.revision
    if found.bare:
        return found.bare, found.words.rpartition(":")[2] if ":" in found.words else "", ""
    parts = text.strip().split("/", 2)
    repo = "/".join(parts[:2])
    return (repo, parts[2], "") if len(parts) > 2 and parts[2] and is_repo(repo) else None


def is_repo(text: str) -> bool:
    """Whether `text` is `publisher/name`, as hubs allow it."""
    return bool(_REPO.match(text)) and ".." not in text and "--" not in text


def is_bare(text: str) -> bool:
    """Whether `text` may name a repository without a publisher; the hub redirects to where it is now."""
    return bool(re.fullmatch(_PART, text, re.ASCII)) and text not in _NOT_REPOS and ".." not in text


def parameters_in(name: str) -> int:
    """The number of parameters a name tells ("Qwen3-0.6B" -> 600 000 000, "8x7B" -> 56 billion); 0 without one."""
    found = _SIZE.findall(name.partition("/")[2] or name)
    if not found:
        return 0
    times, number, unit = found[0]  # the first: "30B-A3B" has 3 billion active ones
    return int(float(number) * (1e9 if unit in "Bb" else 1e6)) * int(times or 1)


def kind_of(name: str, task: str, tags: Sequence[str]) -> Kind | None:
    """Whether a model was made to converse, only to go on with text, or to embed it; None when nothing says."""
    if task in _EMBEDDING_TASKS or "sentence-transformers" in tags:
        return "embedding"
    stem = name.partition("/")[2] or name
    if _BASE.search(stem):
        return "base"
    if _INSTRUCT.search(stem) or "conversational" in tags:
        return "instruct"
    return None
