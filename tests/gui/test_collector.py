"""What is garbage in circles is destroyed on the main thread only."""

from __future__ import annotations

import gc
import threading

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from slmdesk.gui.collector import MainThreadCollector


class Ring(QObject):
    """Garbage that only the collector finds, and tells where."""

    def __init__(self, ends: list[threading.Thread]) -> None:
        super().__init__()
        self.myself = self
        self._ends = ends

    def __del__(self) -> None:
        self._ends.append(threading.current_thread())


def test_a_thread_that_makes_much_garbage_collects_none_of_the_windows(qapp: QApplication) -> None:
    ends: list[threading.Thread] = []
    kept: list[list[int]] = []

    def work() -> None:
        kept.extend([number] for number in range(200_000))

    gc.enable()
    collector = MainThreadCollector()
    with collector:
        for _ in range(20):
            Ring(ends)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert ends == []
        collector.collect()
        assert len(ends) == 20
        assert set(ends) == {threading.main_thread()}
    assert gc.isenabled()
