"""`python -m tests.hub [--port N] [--folder DIR] [--token T]`: the loopback hub by hand.

Without a folder it serves the built-in model. `DIR` holds `publisher/name/files…`, as a models folder does.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from .repositories import Content, User
from .server import LoopbackHub

BUILT_IN = Path(__file__).resolve().parents[2] / "resources" / "desk-guide"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--port", type=int, default=8899)
    parser.add_argument("--folder", type=Path, help="serve publisher/name/files… below this folder")
    parser.add_argument(
        "--token", action="append", default=[], help="a token the hub knows; may be given again"
    )
    parser.add_argument(
        "--gated", action="append", default=[], help="publisher/name that wants its licence accepted"
    )
    args = parser.parse_args()
    hub = LoopbackHub(port=args.port)
    hub.users = {token: User(f"user{number}") for number, token in enumerate(args.token)}
    if args.folder is None:
        hub.add("slmdesk/desk-guide", _below(BUILT_IN), likes=1)
        hub.add("slmdesk/desk-guide-gguf", {p.name: p for p in BUILT_IN.glob("*.gguf")}, likes=2)
    else:
        for folder in sorted(p for p in args.folder.glob("*/*") if p.is_dir()):
            hub.add(folder.relative_to(args.folder).as_posix(), _below(folder))
    for repo_id in args.gated:
        hub[repo_id].gated = "auto"
    with hub:
        print(f"HF_ENDPOINT={hub.url}", flush=True)
        for repo in hub.repositories.values():
            print(f"  {repo.id}: {len(repo.files)} files", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


def _below(folder: Path) -> dict[str, Content]:
    return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}


if __name__ == "__main__":
    raise SystemExit(main())
