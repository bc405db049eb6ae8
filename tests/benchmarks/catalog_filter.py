"""Searching a catalog of 100 000 models at every keystroke. Prints one JSON line.

`python tests/benchmarks/catalog_filter.py [--entries N]`: words are typed letter by letter, with filters and sorts
changing in between, as a person does. The bar is 16 ms a keystroke.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from sys import path as search_path

search_path.insert(0, str(Path(__file__).resolve().parents[2]))

from slmdesk.catalog.index import CatalogIndex
from slmdesk.catalog.records import FORMATS, SORTS, CatalogEntry, CatalogQuery, Format, Kind

BAR_MS = 16.0
FAMILIES = (
    "Qwen3",
    "Qwen2.5",
    "Llama-3.2",
    "Llama-3.1",
    "Mistral",
    "Phi-4-mini",
    "gemma-3",
    "SmolLM2",
    "granite-3.3",
    "OLMo-2",
    "Falcon3",
    "LFM2",
    "DeepSeek-R1-Distill",
    "TinyLlama",
    "stablelm",
    "bloom",
    "exaone",
)
ENDINGS = (
    "Instruct",
    "it",
    "chat",
    "base",
    "GGUF",
    "Instruct-GGUF",
    "onnx",
    "4bit",
    "coder",
    "finetune",
    "merged",
)
TYPED = (
    "qwen3 0.6b gguf",
    "llama-3.2-1b-instruct",
    "gemma",
    "phi-4-mini",
    "bartowski/",
    "qwne3 instrcut",
    "mistral 7b",
    "smollm",
    "e",
    "deepseek r1",
    "nothing like this",
)


def made_up(count: int, seed: int = 7) -> list[CatalogEntry]:
    """Names as hubs hold them; every one is different."""
    draw = random.Random(seed)
    publishers = [
        f"{''.join(draw.choices('abcdefghijklmnoprstuvw', k=draw.randint(4, 11)))}" for _ in range(4000)
    ]
    publishers += ["bartowski", "unsloth", "lmstudio-community", "Qwen", "meta-llama", "google"] * 100
    licences = ("apache-2.0", "mit", "llama3.2", "gemma", "other", "cc-by-nc-4.0")
    kinds: tuple[Kind | None, ...] = ("instruct", "base", None)
    entries = {}
    while len(entries) < count:
        size = draw.choice((0.27, 0.5, 0.6, 1, 1.5, 1.7, 3, 4, 7, 8, 12, 14, 24, 27, 70))
        own = "".join(draw.choices("abcdefghiklmnoprstuvyz", k=draw.randint(0, 7)))
        name = "-".join(filter(None, (draw.choice(FAMILIES), f"{size}B", own, draw.choice(ENDINGS))))
        formats: tuple[Format, ...] = tuple(draw.sample(FORMATS, draw.randint(1, 2)))
        entry = CatalogEntry(
            f"{draw.choice(publishers)}/{name}",
            int(size * 1e9),
            formats,
            draw.choice(licences),
            "text-generation",
            draw.choice(kinds),
            draw.random() < 0.05,
            int(draw.paretovariate(0.6)),
            draw.randint(0, 900),
            draw.randint(0, 99),
            f"202{draw.randint(3, 6)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
        )
        entries[entry.id] = entry
    return list(entries.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    count = parser.parse_args().entries
    entries = made_up(count)
    begun = time.perf_counter()
    index = CatalogIndex(entries)
    build_s = time.perf_counter() - begun
    begun = time.perf_counter()
    index.search(CatalogQuery("qwne"))  # the first misspelled word makes the table of letter pairs
    first_fuzzy_s = time.perf_counter() - begun
    draw = random.Random(11)
    times: list[tuple[float, str]] = []
    processor: list[float] = []  # without the waits that other programs cause
    for words in TYPED:
        for length in range(len(words) + 1):
            query = CatalogQuery(words[:length], sort=draw.choice(SORTS))
            if draw.random() < 0.5:
                query = CatalogQuery(
                    words[:length],
                    (draw.choice(FORMATS),),
                    ("micro", "small"),
                    sort=draw.choice(SORTS),
                    licences=("mit", "apache-2.0"),
                    gated=False,
                    fits=True,
                    memory=16_000_000_000,
                )
            begun, begun_cpu = time.perf_counter(), time.thread_time()
            index.search(query)
            processor.append((time.thread_time() - begun_cpu) * 1000)
            times.append(((time.perf_counter() - begun) * 1000, query.text))
    found = index.search(CatalogQuery("bartowski qwen3 0.6b")).total
    every = sorted(took for took, _ in times)
    worst_ms, worst = max(times)
    print(
        json.dumps(
            {
                "benchmark": "catalog_filter",
                "entries": count,
                "keystrokes": len(times),
                "median_ms": round(statistics.median(every), 2),
                "p99_ms": round(every[int(len(every) * 0.99) - 1], 2),
                "max_ms": round(worst_ms, 2),
                "max_processor_ms": round(max(processor), 2),
                "worst_text": worst,
                "bar_ms": BAR_MS,
                "ratio": round(every[int(len(every) * 0.99) - 1] / BAR_MS, 3),
                "build_s": round(build_s, 2),
                "first_misspelled_s": round(first_fuzzy_s, 2),
                "found": found,
            }
        )
    )
    return 0 if worst_ms <= BAR_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
