"""Time to the first paint and memory of the window, against an empty PySide6 window with four tabs.

Both are fresh processes; they take turns, and a first pair that warms the disk's cache is not counted.

    python3 packaging/bootstrap.py uv run python tests/benchmarks/window_start.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent


def start(script: str, *words: str, home: str) -> dict[str, float]:
    """One fresh process. Seconds are counted from before it was asked for."""
    # With byte code kept, as on a machine where the program was started before.
    environment = {**os.environ, "SLMDESK_HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        environment["QT_QPA_PLATFORM"] = "offscreen"
    command = [sys.executable, str(HERE / script), *words, repr(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    ours: list[dict[str, float]] = []
    empty: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as home:
        for _ in range(options.rounds + 1):
            empty.append(start("empty_window.py", home=home))
            ours.append(start("desk_window.py", "start", home=home))
    pairs = list(zip(ours[1:], empty[1:], strict=True))
    print(
        json.dumps(
            {
                "benchmark": "window_start",
                "first_paint_s": round(median(a["first_paint_s"] for a, _ in pairs), 3),
                "empty_first_paint_s": round(median(b["first_paint_s"] for _, b in pairs), 3),
                "first_paint_ratio": round(
                    median(a["first_paint_s"] / b["first_paint_s"] for a, b in pairs), 2
                ),
                "peak_mb": round(median(a["peak_bytes"] for a, _ in pairs) / 1e6, 1),
                "empty_peak_mb": round(median(b["peak_bytes"] for _, b in pairs) / 1e6, 1),
                "peak_ratio": round(median(a["peak_bytes"] / b["peak_bytes"] for a, b in pairs), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
