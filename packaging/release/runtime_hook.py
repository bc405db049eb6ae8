"""Runs in the frozen program before anything else."""

import gc
import os
import sys

# The list of all modules inside is there now and stays: no collection need look at it.
gc.freeze()

# A lock of multiprocessing (progress bars make one) starts a process that clears up after it, on systems where
# processes are not forked: this program, with Python's own arguments.
if "-c" in sys.argv[1:-1]:
    command = sys.argv[sys.argv.index("-c", 1) + 1]
    if command.startswith("from multiprocessing.resource_tracker import main"):
        exec(command)
        sys.exit()

# The start of a frozen program points the loader at its own libraries. Programs that it starts (a browser, git,
# uv) must find the system's. The loader of this process has read the variable already.
if sys.platform.startswith("linux"):
    original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if original:
        os.environ["LD_LIBRARY_PATH"] = original
    else:
        os.environ.pop("LD_LIBRARY_PATH", None)
    # Its own children point the loader there again; else they would think that this process has done so.
    os.environ["PYINSTALLER_RESET_ENVIRONMENT"] = "1"

# A program without a console has no streams on Windows; a message for nobody must not be a crash.
if sys.stdout is None:
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
if sys.stderr is None:
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
