"""Download speed, SHA-256 included, against huggingface_hub's own download of the same file from the same server.

    python tests/benchmarks/download.py [--mb 1024] [--rounds 3] [--folder DIR]

Prints one JSON line. Both sides fetch over plain HTTP from a server process on the loopback, in processes of their
own that time the fetch alone (imports done), in turns; the fastest round of each counts. `ratio` is our bytes a
second over theirs, though theirs checks no hash. Files lie in memory (/dev/shm) where there is room, so that the
disk is not what is measured. `commands` compares the whole commands, start of all processes included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPO, FILE = "maker/model", "weights.safetensors"
ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", choices=("ours", "theirs", "serve"))
    parser.add_argument("--target", type=Path)
    args = parser.parse_args()
    match args.child:
        case "ours":
            return asyncio.run(ours(args.target))
        case "theirs":
            return theirs(args.target)
        case "serve":
            return serve(args.target)
    print(json.dumps(measure(args.mb, args.rounds, args.folder)))
    return 0


def measure(mb: int, rounds: int, folder: Path | None) -> dict[str, Any]:
    base = Path(tempfile.mkdtemp(prefix="slmdesk-download-", dir=folder or roomy(mb)))
    try:
        source = base / "source" / FILE
        source.parent.mkdir()
        with source.open("wb") as file:
            from tests.hub.files import safetensors_head

            file.write(head := safetensors_head(mb << 20))
            file.write(os.urandom((1 << 20) - len(head)))
            for _ in range(mb - 1):
                file.write(os.urandom(1 << 20))
        with subprocess.Popen(command("serve", source), stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                os.environ["HF_ENDPOINT"] = server.stdout.readline().strip()
                return compared(base, source.stat().st_size, rounds)
            finally:
                server.kill()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def compared(base: Path, size: int, rounds: int) -> dict[str, Any]:
    results: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    whole: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for side in ("theirs", "ours"):
            target = base / side
            results[side].append(json.loads(output(command(side, target))))
            shutil.rmtree(target, ignore_errors=True)
        for side in ("theirs", "ours"):
            target = base / side
            begun = time.perf_counter()
            output(*as_command(side, target))
            whole[side].append(time.perf_counter() - begun)
            end_runner(target)
            shutil.rmtree(target, ignore_errors=True)
    best = {side: min(result["seconds"] for result in results[side]) for side in results}
    return {
        "benchmark": "download",
        "bytes": size,
        "ours_mb_s": round(size / best["ours"] / 1e6, 1),
        "hf_mb_s": round(size / best["theirs"] / 1e6, 1),
        "ratio": round(best["theirs"] / best["ours"], 3),
        "ours_peak_mb": round(max(result["peak_mb"] for result in results["ours"]), 1),
        "hf_peak_mb": round(max(result["peak_mb"] for result in results["theirs"]), 1),
        "commands": {
            "ours_s": round(min(whole["ours"]), 2),
            "hf_s": round(min(whole["theirs"]), 2),
            "ratio": round(min(whole["theirs"]) / min(whole["ours"]), 3),
        },
        "where": "memory" if str(base).startswith("/dev/shm") else "disk",
    }


async def ours(target: Path) -> int:
    from slmdesk.core.secrets import Secrets
    from slmdesk.core.settings import Settings
    from slmdesk.downloads import sources, transfer
    from slmdesk.downloads.arrival import arrive
    from slmdesk.downloads.plan import make_plan
    from slmdesk.downloads.rate_limit import RateLimit
    from slmdesk.hub.access import HubAccess

    hub = HubAccess(Settings(target / "settings.toml"), Secrets())
    warm_up()
    begun = time.perf_counter()
    plan = await make_plan(hub, REPO, [FILE], target)
    source = sources.HttpsSource(hub, plan)
    transfer.Transfer(plan, plan.files[0], source, RateLimit(), lambda _: None).run()
    arrive(plan, plan.files[0])
    took = time.perf_counter() - begun
    source.close()
    await hub.close()
    report(took)
    return 0


def theirs(target: Path) -> int:
    from huggingface_hub import hf_hub_download

    warm_up()
    begun = time.perf_counter()
    hf_hub_download(REPO, FILE, local_dir=target, token=False)
    report(time.perf_counter() - begun)
    return 0


def warm_up() -> None:
    """What both import at their first request is not what is measured."""
    import huggingface_hub.file_download
    import huggingface_hub.hf_api
    from huggingface_hub.utils import get_session

    del huggingface_hub
    get_session()


def report(seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def serve(source: Path) -> int:
    sys.path.insert(0, str(ROOT))
    from tests.hub import LoopbackHub

    with LoopbackHub({REPO: {FILE: source}}) as hub:
        print(hub.url, flush=True)
        time.sleep(24 * 3600)
    return 0


def command(side: str, target: Path) -> list[str]:
    return [sys.executable, __file__, "--child", side, "--target", str(target)]


def as_command(side: str, target: Path) -> tuple[list[str], dict[str, str]]:
    if side == "theirs":
        tool = Path(sys.executable).with_name("hf")
        return [str(tool), "download", REPO, FILE, "--local-dir", str(target)], {}
    pull = [sys.executable, "-P", "-m", "slmdesk", "pull", f"{REPO}/{FILE}"]
    return pull, {"SLMDESK_HOME": str(target)}


def end_runner(home: Path) -> None:
    """The process that downloads stays a while for more; not here."""
    import sqlite3

    import psutil

    database = home / "data" / "slmdesk.sqlite3"
    if not database.exists():
        return
    connection = sqlite3.connect(database)
    for (pid,) in connection.execute("SELECT pid FROM job_runner"):
        try:
            process = psutil.Process(pid)
            process.kill()
            process.wait(10)
        except psutil.NoSuchProcess:
            continue
    connection.close()


def output(argv: list[str], extra: dict[str, str] | None = None) -> str:
    environment = {
        **os.environ,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **(extra or {}),
    }
    environment |= {"SLMDESK_DOWNLOADS_TRANSFER": "https", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{argv} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def roomy(mb: int) -> Path | None:
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free > 2.5 * mb * (1 << 20):
        return shared
    return None


if __name__ == "__main__":
    sys.exit(main())
