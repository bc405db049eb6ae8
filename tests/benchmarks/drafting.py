"""One stream that repeats its input, with drafting and without, in turns in one run.

    python tests/benchmarks/drafting.py [--model FILE] [--tokens 160] [--rounds 3]

The model is asked to write code down again; greedy, so both must say the same. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from slmdesk.engines.host import LlamaEngine, start_engine  # noqa: E402
from slmdesk.engines.protocol import EngineSpec  # noqa: E402
from slmdesk.inference.answers import Stop  # noqa: E402
from slmdesk.inference.asks import Ask, Sampling, Turn  # noqa: E402
from slmdesk.inference.loading import Loading  # noqa: E402
from tests.real_models import smollm2  # noqa: E402

CODE = """\
def area(width, height):
    return width * height


def volume(width, height, depth):
    return width * height * depth


def perimeter(width, height):
    return 2 * (width + height)


def diagonal(width, height):
    return (width ** 2 + height ** 2) ** 0.5
"""
QUESTION = f"Here is some code:\n```python\n{CODE}```\nWrite the same code again, without any change."
BEGUN = "```python\n"


async def ask(engine: LlamaEngine, name: str, tokens: int) -> tuple[str, Stop]:
    """The answer and its end."""
    turns = (Turn.of("user", QUESTION), Turn.of("assistant", BEGUN))
    request = Ask(id=name, turns=turns, sampling=Sampling(temperature=0.0), max_tokens=tokens)
    pieces = [piece async for piece in engine.ask(request)]
    assert isinstance(pieces[-1], Stop)
    return "".join(piece for piece in pieces if isinstance(piece, str)), pieces[-1]


async def says_the_same(model: Path, tokens: int) -> bool:
    """Whether the answer is the same with and without, on one thread: several add up a long attention in another order
    for one token than for several, which is no matter of drafting."""
    texts = []
    for on in (True, False):
        loading = Loading(parallel=1, context_length=2048, threads=1, drafts=on)
        engine = await start_engine(EngineSpec(str(model), model.stem, loading))
        try:
            texts.append([(await ask(engine, f"{number}", tokens))[0] for number in range(2)])
        finally:
            await engine.stop()
    return texts[0] == texts[1]


async def measure(model: Path, tokens: int, rounds: int) -> dict[str, object]:
    """Rates of both in turns, with an engine each."""
    specs = [
        EngineSpec(str(model), model.stem, Loading(parallel=1, context_length=2048, drafts=on))
        for on in (True, False)
    ]
    engines = [await start_engine(spec) for spec in specs]
    rates: list[list[float]] = [[], []]
    try:
        for number in range(rounds + 1):
            for side, engine in enumerate(engines):
                _, stop = await ask(engine, f"{number}", tokens)
                if number:  # the first one reads the prompt and warms up
                    rates[side].append(stop.timings.tokens_per_s)
    finally:
        for engine in engines:
            await engine.stop()
    drafted, plain = (statistics.median(side) for side in rates)
    return {
        "benchmark": "drafting",
        "model": model.name,
        "drafted_tokens_per_s": round(drafted, 1),
        "plain_tokens_per_s": round(plain, 1),
        "ratio": round(drafted / plain, 3),
        "bar": 1.5,
        "same_text": await says_the_same(model, tokens),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(measure(args.model or smollm2(), args.tokens, args.rounds))))


if __name__ == "__main__":
    main()
