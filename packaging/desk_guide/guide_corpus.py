"""The questions and answers Desk Guide is trained on, read from `corpus/*.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORPUS_FOLDER = HERE / "corpus"
TOPICS_FILE = HERE / "topics.txt"
UNSEEN_FILE = HERE / "unseen.toml"
RESOURCES = HERE.parent.parent / "resources" / "desk-guide"
GGUF_FILE = RESOURCES / "desk-guide-F16.gguf"

#: Sentence patterns by the kind of phrase they take; a question lists phrases under the kind's name.
PATTERNS: dict[str, tuple[str, ...]] = {
    "what": (
        "what is {x}",
        "what's {x}",
        "what are {x}",
        "what does {x} mean",
        "explain {x}",
        "{x} meaning",
        "{x}",
        "define {x}",
        "definition of {x}",
        "what do you know about {x}",
        "tell me about {x}",
        "{x} explained",
        "i do not understand {x}",
        "can you explain {x}",
        "describe {x} briefly",
        "what exactly is {x}",
        "{x} in simple words",
        "what is meant by {x}",
        "help me understand {x}",
        "what is {x} for",
        "how does {x} work",
        "how do {x} work",
        "meaning of {x}",
        "give me a short explanation of {x}",
        "i keep seeing {x}, what is it",
        "what is this {x} thing",
        "{x} for beginners",
        "why do people talk about {x}",
        "what's the point of {x}",
        "what does the term {x} stand for",
        "could you describe {x}",
        "{x} definition",
        "i read about {x}, what is that",
        "never heard of {x}",
        "info on {x}",
        "more about {x}",
        "what do {x} do",
        "what does {x} do",
        "explain to me what {x} is",
        "so what is {x} really",
        "why is {x} important",
        "what should i know about {x}",
        "basics of {x}",
        "wat is {x}",
        "what do they mean by {x}",
    ),
    "how": (
        "how do i {x}",
        "how to {x}",
        "how can i {x}",
        "i want to {x}",
        "i'd like to {x}",
        "where can i {x}",
        "is there a way to {x}",
        "can i {x}",
        "what is the way to {x}",
        "steps to {x}",
        "show me how to {x}",
        "help me {x}",
        "{x}",
        "i need to {x}, how",
        "what do i do to {x}",
        "is it possible to {x}",
        "where do i {x}",
        "how does one {x}",
        "could you tell me how to {x}",
        "{x} how",
        "please help me to {x}",
        "how would i {x}",
        "where do i go to {x}",
        "what is the easiest way to {x}",
        "trying to {x}",
        "how should i {x}",
        "i can't find how to {x}",
        "am i able to {x}",
        "let me {x}",
        "what must i do to {x}",
        "way to {x}",
        "do you know how to {x}",
        "i would like to {x}",
        "need to {x}",
        "what steps do i take to {x}",
        "does the program let me {x}",
        "how do you {x}",
        "{x} please",
        "i wish to {x}",
        "can you {x} for me",
    ),
    "which": (
        "which model {x}",
        "best model {x}",
        "what model should i use {x}",
        "recommend a model {x}",
        "model {x}",
        "suggest a model {x}",
        "good model {x}",
        "what do you recommend {x}",
        "which one should i take {x}",
        "what should i choose {x}",
        "what is good {x}",
        "which slm {x}",
        "i need a model {x}",
        "what works best {x}",
        "any recommendation {x}",
        "which llm is best {x}",
        "looking for a model {x}",
        "what is the right model {x}",
        "which model would you pick {x}",
        "what to download {x}",
        "model recommendation {x}",
        "{x}, which model",
        "{x}, what do you advise",
        "is there a good model {x}",
        "a decent model {x}",
    ),
    "err": (
        "{x}",
        "{x}, what now",
        "help, {x}",
        "i get this error: {x}",
        "it says {x}",
        "{x}, what should i do",
        "why does it say {x}",
        "how do i fix this: {x}",
        "{x} error",
        "what does {x} mean",
        "error {x}",
        "i see {x}, what now",
        "suddenly {x}",
        "problem: {x}",
        "{x}, how do i fix it",
        "{x} why",
        "{x} how to solve",
        "the program tells me {x}",
        "what can i do, {x}",
        "fix {x}",
        "message {x}",
        "i have a problem, {x}",
        "what causes this: {x}",
        "{x}, please help",
        "the app shows {x}",
        "why {x}",
        "solution for {x}",
        "what to do when {x}",
        "what to do if {x}",
        "every time {x}",
        "reason for {x}",
    ),
    "cmd": (
        "what does {x} do",
        "{x}",
        "{x} usage",
        "{x} command",
        "how do i use {x}",
        "explain the {x} command",
        "command {x}",
        "what is {x} for",
        "example of {x}",
        "when would i use {x}",
        "what does the command {x} do",
        "how does {x} work",
        "{x} in the terminal",
        "tell me about {x} on the command line",
        "{x} options",
        "how to use {x} in a shell",
        "what is the {x} command for",
        "{x} cli",
        "syntax of {x}",
        "show me {x}",
        "purpose of {x}",
        "{x} on the command line",
        "can you explain {x} in the terminal",
    ),
    "title": (
        "{x}",
        "{x}",
        "explain {x}",
        "tell me about {x}",
        "question about {x}",
        "i want to know about {x}",
        "{x} please",
        "i need information on {x}",
        "something about {x}",
        "and {x}",
        "what about {x}",
        "can you tell me {x}",
        "i'm asking about {x}",
        "my question is about {x}",
        "{x}, how does that go",
        "{x}, what do i do",
        "{x} info",
        "could you explain {x}",
        "i don't get {x}",
        "not sure about {x}",
        "help with {x}",
        "more on {x}",
    ),
    "vs": (
        "{a} vs {b}",
        "{a} or {b}",
        "difference between {a} and {b}",
        "is {a} better than {b}",
        "which is better {a} or {b}",
        "{a} compared to {b}",
        "should i use {a} or {b}",
        "compare {a} and {b}",
        "{a} versus {b}",
        "what is the difference between {a} and {b}",
        "how does {a} differ from {b}",
        "{a} against {b}",
        "do i want {a} or {b}",
        "{a} {b} difference",
        "what separates {a} from {b}",
        "why {a} and not {b}",
        "when {a} and when {b}",
        "choose between {a} and {b}",
        "is {a} the same as {b}",
        "how do {a} and {b} compare",
        "what should i take, {a} or {b}",
    ),
}


@dataclass(frozen=True)
class Question:
    """One subject: its phrasings, those kept out of training, its answer, and what a right answer must hold."""

    id: str
    ask: tuple[str, ...]
    heldout: tuple[str, ...]
    answer: str
    keywords: tuple[tuple[str, ...], ...]
    phrases: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def patterned(self) -> list[str]:
        """Phrasings made from the patterns and this question's own phrases."""
        made: list[str] = []
        for kind, phrases in self.phrases.items():
            for phrase in phrases:
                for pattern in PATTERNS[kind]:
                    if kind == "vs":
                        a, b = phrase
                        made.append(pattern.format(a=a, b=b))
                        made.append(pattern.format(a=b, b=a))
                    else:
                        made.append(pattern.format(x=phrase))
        return made


def plain(text: str) -> str:
    """A phrasing without case, punctuation and double spaces: two phrasings equal in this form are the same."""
    return " ".join(re.findall(r"[a-z0-9_+]+", text.lower()))


def is_right(answer: str, keywords: tuple[tuple[str, ...], ...]) -> bool:
    """Whether the answer holds, for every keyword, one of its alternatives (case ignored)."""
    low = answer.lower()
    return all(any(word.lower() in low for word in words) for words in keywords)


def load_questions(folder: Path = CORPUS_FOLDER) -> list[Question]:
    """All questions, ordered by file and place in it, with the phrasings the `wordings` files add.

    Raises ValueError for a question with unknown or missing fields.
    """
    more: dict[str, list[str]] = {}
    for path in sorted(folder.glob("wordings*.toml")):
        for key, texts in tomllib.loads(path.read_text(encoding="utf-8"))["wordings"].items():
            more.setdefault(key, []).extend(texts)
    titles = load_topics()
    questions: list[Question] = []
    for path in sorted(folder.glob("*.toml")):
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("question", [])
        questions += [
            _question(entry, more.pop(entry["id"], []), titles.get(entry["id"]), path) for entry in entries
        ]
    if more:
        raise ValueError(f"wordings: no such question: {sorted(more)}")
    return _told_apart(questions)


def _told_apart(questions: list[Question]) -> list[Question]:
    """Without the phrasings that are kept out somewhere, and with each one at the first subject that has it."""
    taken = {plain(text) for question in questions for text in question.heldout}
    apart = []
    for question in questions:
        ask = []
        for text in question.ask:
            if (form := plain(text)) not in taken:
                taken.add(form)
                ask.append(text)
        apart.append(replace(question, ask=tuple(ask)))
    return apart


def _question(entry: dict[str, Any], more: list[str], title: str | None, path: Path) -> Question:
    known = {"id", "ask", "heldout", "answer", "keywords", *PATTERNS} - {"title"}
    missing = {"id", "ask", "heldout", "answer", "keywords"} - entry.keys()
    unknown = entry.keys() - known
    if missing or unknown:
        raise ValueError(
            f"{path.name}: {entry.get('id')}: missing {sorted(missing)}, unknown {sorted(unknown)}"
        )
    return Question(
        id=entry["id"],
        ask=(*entry["ask"], *more),
        heldout=tuple(entry["heldout"]),
        answer=entry["answer"],
        keywords=tuple(tuple(k) if isinstance(k, list) else (k,) for k in entry["keywords"]),
        phrases={kind: tuple(entry[kind]) for kind in PATTERNS if kind in entry} | _titled(title),
    )


def _titled(title: str | None) -> dict[str, tuple[str, ...]]:
    return {} if title is None else {"title": (title[:1].lower() + title[1:],)}


@dataclass(frozen=True)
class Elsewhere:
    """Templates and nouns for questions outside the guide's subjects."""

    templates: tuple[str, ...]
    nouns: tuple[str, ...]
    doings: tuple[str, ...]
    doing_templates: tuple[str, ...]


def load_elsewhere(folder: Path = CORPUS_FOLDER) -> Elsewhere:
    """The material for questions the guide must decline."""
    data = tomllib.loads((folder / "unknown.toml").read_text(encoding="utf-8"))["elsewhere"]
    return Elsewhere(
        templates=tuple(data["templates"]),
        nouns=tuple(data["nouns"]),
        doings=tuple(data["doings"]),
        doing_templates=tuple(data["doing_templates"]),
    )


def load_topics(path: Path = TOPICS_FILE) -> dict[str, str]:
    """Topic id to title."""
    pairs = (line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {key.strip(): title.strip() for key, title in pairs}
