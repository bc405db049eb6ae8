"""Makes one phrasing into the many ways a person may type it: typos, case, lost words, other words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_PREFIXES = (
    "hey, ",
    "hi, ",
    "hello, ",
    "please explain: ",
    "tell me, ",
    "please tell me, ",
    "question: ",
    "ok, ",
    "so ",
    "um, ",
    "sorry, ",
    "quick question, ",
    "and ",
    "but ",
    "well, ",
    "now ",
    "could you tell me, ",
    "i wonder, ",
    "one more thing, ",
    "also, ",
    "hi guide, ",
    "i am new, ",
    "stupid question, ",
    "just curious, ",
    "hmm ",
    "then ",
    "do you know, ",
    "can you tell me, ",
    "i want to know, ",
    "i would like to know, ",
    "for my laptop, ",
    "again, ",
)
_SUFFIXES = (
    " please",
    " pls",
    " in short",
    " exactly",
    " thanks",
    " briefly",
    " for a beginner",
    " in plain words",
    " then",
    " again",
    " here",
    " in this program",
    " in slm desk",
    " in simple terms",
    " actually",
    " anyway",
    " now",
    ", i am a beginner",
    ", can you tell me",
    ", any idea",
    " in a few words",
    " quickly",
    " by the way",
)
_SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("laptop", "computer", "machine", "pc", "notebook", "device"),
    ("model", "llm", "slm", "language model", "ai"),
    ("memory", "ram"),
    ("program", "application", "app", "software", "tool", "slm desk"),
    ("delete", "remove", "erase", "get rid of", "throw away"),
    ("download", "get", "fetch", "pull"),
    ("conversation", "chat", "thread", "dialog"),
    ("answer", "reply", "response", "output"),
    ("message", "question", "prompt"),
    ("change", "set", "adjust", "modify", "alter", "edit"),
    ("choose", "pick", "select", "take"),
    ("find", "locate", "look up", "search for"),
    ("stop", "abort", "cancel", "halt", "interrupt", "end"),
    ("start", "begin", "launch", "open"),
    ("show", "display", "see", "view"),
    ("use", "run", "work with"),
    ("file", "files"),
    ("folder", "directory"),
    ("setting", "option", "preference"),
    ("settings", "options", "preferences", "configuration"),
    ("quantize", "quantise", "compress", "shrink"),
    ("quantization", "quantisation", "quantizing"),
    ("quant", "quantization", "quant type", "quantisation"),
    ("licence", "license"),
    ("maths", "math", "mathematics"),
    ("colour", "color"),
    ("gpu", "graphics card", "video card"),
    ("graphics card", "gpu"),
    ("internet", "network", "web", "connection"),
    ("fast", "quick", "speedy"),
    ("slow", "sluggish"),
    ("faster", "quicker", "speedier"),
    ("big", "large", "huge"),
    ("bigger", "larger"),
    ("small", "little", "tiny"),
    ("smaller", "lighter"),
    ("good", "best", "decent", "suitable"),
    ("best", "top", "ideal", "right"),
    ("error", "fault", "problem", "failure", "message"),
    ("window", "interface", "screen"),
    ("explain", "describe", "clarify"),
    ("need", "require", "want"),
    ("difference", "distinction"),
    ("damaged", "broken", "corrupt", "corrupted"),
    ("password", "secret"),
    ("picture", "image", "photo"),
    ("gb", "gigabytes", "gigs", "gig"),
    ("text", "writing"),
    ("coding", "programming", "code", "writing code"),
    ("create", "make", "build", "produce"),
    ("speed", "performance"),
    ("quality", "accuracy"),
    ("disk", "drive", "ssd", "hard drive"),
    ("fix", "repair", "solve", "resolve"),
    ("how do i", "how can i", "what's the trick to", "any way to", "i'd love to", "teach me to"),
    ("what is", "what does it mean,", "what on earth is", "remind me what is", "clarify"),
    ("which", "what", "whcih"),
    ("why", "how come", "what is the reason"),
    ("happens", "goes on", "occurs", "is going to happen"),
    ("too big", "too large", "oversized", "too heavy"),
    ("write", "produce", "generate", "type"),
    ("writes", "produces", "generates", "outputs"),
    ("move", "transfer", "shift", "relocate", "migrate"),
    ("keep", "store", "hold", "save"),
    ("kept", "stored", "held", "saved"),
    ("check", "verify", "test", "validate", "inspect"),
    ("compare", "contrast", "weigh"),
    ("make", "create", "produce", "generate", "build"),
    ("load", "open", "start", "bring up"),
    ("limit", "cap", "restrict", "bound"),
    ("set", "change", "configure", "adjust", "specify"),
    ("rename", "retitle", "relabel"),
    ("copy", "grab", "duplicate"),
    ("export", "save", "write out", "dump"),
    ("import", "add", "bring in", "register"),
    ("install", "set up", "put"),
    ("update", "upgrade", "refresh"),
    ("resume", "continue", "carry on with", "pick up"),
    ("pause", "suspend", "hold", "halt"),
    ("cancel", "abort", "call off", "stop"),
    ("search", "look", "hunt", "browse"),
    ("meaning", "sense", "significance", "definition"),
    ("loss", "degradation", "drop", "penalty"),
    ("missing", "absent", "gone", "not there"),
    ("wrong", "incorrect", "false", "bad", "invalid"),
    ("shortcut", "hotkey", "key combination", "key"),
    ("key", "token", "credential"),
    ("command", "cmd", "subcommand"),
    ("terminal", "console", "shell", "command line"),
    ("processor", "cpu", "chip"),
    ("cpu", "processor"),
    ("users", "people", "clients", "persons"),
    ("document", "text", "file", "paper"),
    ("documents", "texts", "files", "papers", "pdfs"),
    ("story", "tale", "novel"),
    ("stories", "tales", "fiction", "novels"),
    ("private", "confidential", "secret", "personal"),
    ("sentence", "phrase", "line"),
    ("number", "amount", "count", "quantity"),
    ("kind", "type", "sort"),
    ("useful", "helpful", "worthwhile"),
    ("allowed", "permitted", "ok"),
    ("parameters", "params", "weights"),
    ("recommend", "suggest", "advise", "propose"),
    ("much", "many"),
    ("space", "room", "storage"),
    ("how", "hwo"),
    ("what is", "what's", "whats", "wat is", "what s"),
    ("do not", "don't", "dont"),
    ("cannot", "can't", "cant"),
    ("does not", "doesn't", "doesnt"),
    ("is not", "isn't", "isnt"),
    ("i am", "i'm", "im"),
    ("you", "u"),
    ("your", "ur"),
    ("are", "r"),
    ("my", "the", "this", "a"),
    ("the", "a", "my", "this"),
)
#: Words that carry nothing here. The model has to learn to read past what it does not know.
_FILLERS = (
    "really",
    "honestly",
    "maybe",
    "perhaps",
    "basically",
    "kinda",
    "somehow",
    "today",
    "again",
    "quickly",
    "nicely",
    "properly",
    "usually",
    "always",
    "ever",
    "even",
    "still",
    "yet",
    "already",
    "anyway",
    "roughly",
    "mostly",
    "folks",
    "guys",
    "friend",
    "mate",
    "buddy",
    "sir",
    "dude",
    "stuff",
    "thing",
    "things",
    "bit",
    "lot",
    "way",
    "kind",
    "sort",
    "simply",
    "just",
    "only",
    "else",
    "also",
    "too",
    "very",
    "quite",
    "pretty",
    "rather",
    "totally",
    "completely",
    "different",
    "same",
    "certain",
    "particular",
    "special",
    "general",
    "normal",
    "usual",
    "common",
    "typical",
    "new",
    "old",
    "whole",
    "entire",
    "single",
    "own",
    "other",
    "another",
    "some",
    "any",
    "every",
    "each",
    "all",
    "everyone",
    "somebody",
    "someone",
    "people",
    "user",
    "colleague",
    "boss",
    "brother",
    "office",
    "home",
    "work",
    "exactly",
    "suddenly",
    "finally",
    "first",
    "second",
    "next",
    "last",
    "later",
    "soon",
    "once",
    "twice",
    "often",
    "nowadays",
    "recently",
    "yesterday",
    "tomorrow",
    "currently",
    "possibly",
    "ideally",
    "sadly",
    "luckily",
    "weird",
    "strange",
    "funny",
    "fancy",
    "cool",
    "easy",
    "hard",
    "tricky",
    "difficult",
    "confusing",
    "important",
    "useful",
    "myself",
    "yourself",
    "itself",
    "inside",
    "outside",
    "around",
    "within",
    "without delay",
    "at all",
    "at once",
    "of course",
    "in fact",
    "for example",
    "for real",
    "as well",
    "right now",
    "these days",
    "sometimes",
    "supposedly",
)
_BY_WORD: dict[str, list[str]] = {}
for _group in _SYNONYMS:
    _first = _group[0]
    _BY_WORD.setdefault(_first, []).extend(w for w in _group if w != _first)
_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the is are was were be do does did i you it to of for in on at and or what how why where when which who"
        " can could should would will my me this that with from there one have has if so please tell explain mean"
        " means s am we they",
    )
)
_KEYS = {
    "a": "sq",
    "b": "vn",
    "c": "xv",
    "d": "sf",
    "e": "wr",
    "f": "dg",
    "g": "fh",
    "h": "gj",
    "i": "uo",
    "j": "hk",
    "k": "jl",
    "l": "k",
    "m": "n",
    "n": "bm",
    "o": "ip",
    "p": "o",
    "q": "wa",
    "r": "et",
    "s": "ad",
    "t": "ry",
    "u": "yi",
    "v": "cb",
    "w": "qe",
    "x": "zc",
    "y": "tu",
    "z": "x",
}


def vary(text: str, rng: random.Random) -> str:
    """One way of typing `text`; sometimes the text itself."""
    if rng.random() < 0.4:
        text = _synonyms(text, rng)
    roll = rng.random()
    if roll < 0.08:
        text = _keywords_only(text, rng)
    elif roll < 0.2:
        text = _drop_word(text, rng)
    if rng.random() < 0.15:
        text = _filler(text, rng)
    if rng.random() < 0.16:
        text = rng.choice(_PREFIXES) + text
    if rng.random() < 0.1:
        text = text + rng.choice(_SUFFIXES)
    if rng.random() < 0.3:
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            text = _typo(text, rng)
    return _surface(text, rng)


def _synonyms(text: str, rng: random.Random) -> str:
    present = [w for w in _BY_WORD if re.search(rf"\b{w}\b", text)]
    for word in rng.sample(present, min(len(present), rng.choice((1, 1, 2)))):
        text = re.sub(rf"\b{word}\b", rng.choice(_BY_WORD[word]), text, count=1)
    return text


def _keywords_only(text: str, rng: random.Random) -> str:
    words = [w for w in text.split() if w.lower().strip(",.:?") not in _STOP]
    if not words:
        return text
    if rng.random() < 0.3:
        rng.shuffle(words)
    return " ".join(words)


def _drop_word(text: str, rng: random.Random) -> str:
    words = text.split()
    # Only small words may go: what a question is about has to stay in it.
    small = [i for i, w in enumerate(words) if w.lower().strip(",.:?") in _STOP]
    if not small or len(words) < 3:
        return text
    del words[rng.choice(small)]
    return " ".join(words)


def _filler(text: str, rng: random.Random) -> str:
    words = text.split()
    words.insert(rng.randint(0, len(words)), rng.choice(_FILLERS))
    return " ".join(words)


def _typo(text: str, rng: random.Random) -> str:
    # Names such as q4_k_m stay as they are: one letter makes another of them.
    words = [
        m for m in re.finditer(r"[^\W\d_]{4,}", text) if not re.match(r"[\d_]", text[m.end() : m.end() + 1])
    ]
    places = [i for m in words for i in range(*m.span())]
    if not places:
        return text
    i = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2 and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 3:
        return text[:i] + rng.choice(_KEYS.get(text[i].lower(), "e")) + text[i + 1 :]
    spaces = [k for k, c in enumerate(text) if c == " "]
    if not spaces:
        return text
    k = rng.choice(spaces)
    return text[:k] + text[k + 1 :]


def _surface(text: str, rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.45:
        text = text.lower()
    elif roll < 0.93:
        text = text[:1].upper() + re.sub(r"\bi\b", "I", text[1:])
    elif roll < 0.97:
        text = text.upper()
    else:
        text = text.title()
    if rng.random() < 0.25:
        text = re.sub(r"[,.'!:]", "", text)
    if not text.endswith((".", "?", "!")):
        text += rng.choices(("?", "", ".", " ?", "??", "!"), weights=(40, 45, 8, 3, 2, 2))[0]
    return text
