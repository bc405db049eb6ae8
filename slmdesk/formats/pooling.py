"""How a model of texts comes to one vector a text, or to one score, read from its GGUF header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.purpose import ENCODERS, purpose_of

if TYPE_CHECKING:
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.formats.purpose import Purpose

Pooling = Literal["mean", "cls", "last", "rank"]

POOLING_NUMBERS: dict[Pooling, int] = {"mean": 1, "cls": 2, "last": 3, "rank": 4}
"""enum llama_pooling_type."""
_POOLINGS: dict[int, Pooling] = {number: pooling for pooling, number in POOLING_NUMBERS.items()}

# Trained so that the first numbers of a vector are a vector already (Matryoshka), as their publishers say. GGUF headers
# have no key for it: an architecture tells where all models of it are, else the name.
_SHORTENING = {"gemma-embedding", "jina-bert-v3", "nomic-bert-moe"}
_SHORTENING_NAMES = re.compile(
    r"(?i)qwen3[ ._-]?embedding|nomic[ ._-]embed[ ._-]text[ ._-]v1\.5|mxbai[ ._-]embed|matryoshka|modernbert[ ._-]embed"
    r"|arctic[ ._-]embed[ ._-][ml][ ._-]v(?:1\.5|2)|embeddinggemma|jina[ ._-]embeddings[ ._-]v[345]"
)


@dataclass(frozen=True, slots=True)
class TextModel:
    """What a model does with a text that it does not answer.

    `cached`: it reads from left to right, so a text can come in pieces; the others take each text in one step, and
    hold what the step needs for all of it. `shortens`: the first numbers of its vectors are vectors too.
    """

    purpose: Purpose
    pooling: Pooling
    cached: bool
    shortens: bool

    @classmethod
    def of(cls, header: GgufHeader) -> TextModel:
        """Raises `SlmDeskError("unsupported")` for a file that gives neither vectors nor scores."""
        purpose = purpose_of(header)
        if purpose not in {"embed", "rank"}:
            raise SlmDeskError(
                "unsupported",
                f"{header.path.name} gives no vectors.",
                "Choose an embedding model; its page in the catalog says that it makes embeddings.",
            )
        name = header.architecture
        # Most encoders were trained with the mean; the converter leaves the key out where the repository says nothing.
        pooling = _POOLINGS.get(header.number("pooling_type"), "mean")
        both_ways = name in ENCODERS or header.metadata.get(f"{name}.attention.causal") is False
        return cls(
            purpose=purpose,
            pooling=pooling,
            cached=not both_ways and pooling in {"last", "rank"},
            shortens=purpose == "embed" and _shortens(header),
        )


def _shortens(header: GgufHeader) -> bool:
    names = (header.metadata.get(key) for key in ("general.name", "general.basename"))
    told = " ".join(name for name in names if isinstance(name, str))
    return header.architecture in _SHORTENING or bool(_SHORTENING_NAMES.search(f"{told} {header.path.name}"))
