"""A second start with a model's file hands it to the window that is open already."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from PySide6.QtCore import QCoreApplication

from slmdesk.gui.single import SingleInstance


def test_the_second_start_hands_its_file_to_the_first(tmp_path: Path, qapp: QCoreApplication) -> None:
    first = SingleInstance(tmp_path)
    assert first.first()
    first.listen()
    raised: list[bool] = []
    files: list[str] = []
    first.raised.connect(lambda: raised.append(True))
    first.file_wanted.connect(files.append)
    wanted = str(tmp_path / "ein Modell mit ü.gguf")
    code = (
        "from pathlib import Path; from PySide6.QtCore import QCoreApplication\n"
        "from slmdesk.gui.single import SingleInstance\n"
        f"app = QCoreApplication([]); second = SingleInstance(Path({str(tmp_path)!r}))\n"
        f"assert not second.first(); raise SystemExit(0 if second.ask_first({wanted!r}) else 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as second:
        deadline = time.monotonic() + 60
        while not (files and second.poll() is not None) and time.monotonic() < deadline:
            qapp.processEvents()
            time.sleep(0.01)
        assert second.returncode == 0
    first.release()
    assert raised
    assert files == [wanted]
