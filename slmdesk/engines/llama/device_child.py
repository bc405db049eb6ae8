"""`slmdesk engine --devices`: one line of JSON with every device that ggml finds here, then the end.

A process of its own, because asking for devices starts graphics drivers.
"""

from __future__ import annotations

import os
import sys

from slmdesk.core.child import die_with_parent, end_with_stdin, own_stdout
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths


def main() -> int:
    """Print `{"devices": […], "notes": […]}`; 1 where llama.cpp itself cannot be loaded."""
    tell = own_stdout()
    die_with_parent()
    end_with_stdin(lambda: os._exit(0))
    from slmdesk.llama import native

    try:
        found, notes = native.list_devices(Paths.resolve().backends)
    except SlmDeskError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    tell({"devices": [device.to_json() for device in found], "notes": notes})
    return 0
