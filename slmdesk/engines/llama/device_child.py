"""`slmdesk engine --devices`: one line of JSON with every device that ggml finds here, then the end.

A process of its own, because asking for devices starts graphics drivers.
"""

from __future__ import annotations

import json
import os
import sys

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.processes import die_with_parent, end_with_stdin


def main() -> int:
    """Print `{"devices": […], "notes": […]}`; 1 where llama.cpp itself cannot be loaded."""
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)  # native code prints where it likes
    die_with_parent()
    end_with_stdin(lambda: os._exit(0))
    from slmdesk.llama import native

    try:
        found, notes = native.list_devices(Paths.resolve().backends)
    except SlmDeskError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    answer = {"devices": [device.to_json() for device in found], "notes": notes}
    os.write(out, json.dumps(answer).encode() + b"\n")
    return 0
