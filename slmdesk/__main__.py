"""The program: `slmdesk`, or `python -m slmdesk`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    if sys.argv[1:3] == ["engine", "--devices"]:
        from slmdesk.engines.llama.device_child import main as devices

        return devices()
    if sys.argv[1:2] == ["engine"]:
        # An engine is started often and by the program itself: straight to it, without the command line.
        from slmdesk.engines.llama.main import main as engine

        return engine()
    if sys.argv[1:2] == ["quantizer"]:
        from slmdesk.quantize.child.main import main as quantizer

        return quantizer()
    if sys.argv[1:2] == ["self-test"]:
        from slmdesk.engines.llama.arithmetic.child import main as self_test

        return self_test()
    if sys.argv[1:2] == ["tool-server"]:
        from slmdesk.tools.child.main import main as tool_server

        return tool_server()
    if sys.argv[1:2] == ["work"]:
        from slmdesk.runner import main as work

        return work()
    from slmdesk.cli.main import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
