"""Checks the built-in list of models: that it is valid, and that stated parameters follow from the architecture.

Prints one line a finding and exits with 1 when there is any; with --all one line a model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from slmdesk.catalog.builtin import CatalogModel, Numbers

FOLDER = ROOT / "resources" / "catalog"
# Publishers round. Where a model sees pictures they count its picture encoder too, which the record does not describe.
TOLERANCE, TOLERANCE_WITH_PICTURES = 0.02, 0.12
_UNGATED = {"bert"}  # their feed-forward has two matrices, all others' three
_GATED_QUERIES = {"qwen35"}  # the query's matrix also makes the gate of the answer
_COMPRESSED = {"minicpm3"}  # queries, keys and values pass a narrow layer the record has no width of


def recount(model: CatalogModel) -> int | None:
    """Parameters as the sum of all matrices; None where the record does not say enough."""
    numbers = model.architecture
    if numbers is None or numbers.name in _COMPRESSED:
        return None
    table = numbers.vocabulary * numbers.embedding * (1 if numbers.tied else 2)
    if numbers.name == "bert":
        table += model.context_length * numbers.embedding
    attending = numbers.layers if numbers.attention_layers is None else len(numbers.attention_layers)
    return (
        table
        + attending * _attention(numbers)
        + (numbers.layers - attending) * _recurrent(numbers)
        + numbers.layers * (_feed_forward(numbers) + 2 * numbers.embedding)
    )


def tolerance(model: CatalogModel) -> float:
    """How far the sum may be from the stated number, as a share of it."""
    return TOLERANCE_WITH_PICTURES if "image" in model.modalities else TOLERANCE


def _attention(numbers: Numbers) -> int:
    queries = numbers.heads * numbers.head_size * (2 if numbers.name in _GATED_QUERIES else 1)
    keys, values = numbers.kv_heads * numbers.head_size, numbers.kv_heads * numbers.value_head_size
    return numbers.embedding * (queries + keys + values + numbers.heads * numbers.value_head_size)


def _recurrent(numbers: Numbers) -> int:
    part = numbers.recurrent
    if part is None:
        return 0
    if part.kind == "shortconv":
        return 4 * numbers.embedding**2 + part.kernel * numbers.embedding
    inner = part.heads * part.head_size
    mixed = 2 * part.groups * part.state  # B and C, or queries and keys
    moved = inner + mixed
    steps = part.heads * (1 if part.kind == "mamba2" else 2)
    return numbers.embedding * (moved + inner + steps) + part.kernel * moved + inner * numbers.embedding


def _feed_forward(numbers: Numbers) -> int:
    matrices = 2 if numbers.name in _UNGATED else 3
    wide = matrices * numbers.embedding * numbers.feed_forward
    experts = numbers.experts
    if experts is None:
        return wide
    routed = experts.count * (3 * numbers.embedding * experts.feed_forward + numbers.embedding)
    return routed + (wide if numbers.feed_forward != experts.feed_forward else 0)


def main() -> int:
    from slmdesk.catalog.builtin import load_builtin
    from slmdesk.core.errors import SlmDeskError

    try:
        models = load_builtin(FOLDER)
    except SlmDeskError as error:
        print(error.message)
        return 1
    findings = 0
    for model in models:
        counted = recount(model)
        off = counted / model.parameters - 1 if counted else 0.0
        findings += abs(off) > tolerance(model)
        if "--all" in sys.argv or abs(off) > tolerance(model):
            print(f"{model.id}: {model.parameters:,} stated, {counted or 0:,} counted ({off:+.1%})")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
