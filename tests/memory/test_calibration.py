"""Measurements that correct the next forecast."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from slmdesk.memory.calibration import Calibration, Correction
from slmdesk.memory.forecast import Forecast

PLAIN = Forecast(1000, 600, 100, 200, 100, context=2048, cells=2048, loaded_bytes=810)


def _load(store: Calibration, measured: int, model: str = "a/b:Q4") -> None:
    store.loaded(model, PLAIN, PLAIN, measured)


def test_loads_that_agree_correct_the_forecast(tmp_path: Path) -> None:
    store = Calibration(tmp_path / "data" / "memory.json", "1")
    assert store.correction() == Correction()
    for _ in range(5):
        _load(store, 830)  # the process takes 120 where 100 were forecast
    found = store.correction()
    assert found.overhead == 1.2
    assert found.compute == 1.0
    assert found.last_error == round(810 / 830 - 1, 4)
    assert Calibration(tmp_path / "data" / "memory.json", "1").correction() == found


def test_one_odd_load_changes_nothing_and_bounds_hold(tmp_path: Path) -> None:
    store = Calibration(tmp_path / "memory.json")
    _load(store, 5000)
    assert store.correction().overhead == 1.0
    for _ in range(9):
        _load(store, 5000)
    assert store.correction().overhead == 2.0
    for _ in range(20):
        _load(store, 400)
    assert store.correction().overhead == 0.6


def test_a_peak_counts_where_a_prompt_filled_the_buffers(tmp_path: Path) -> None:
    store = Calibration(tmp_path / "memory.json")
    for _ in range(4):
        _load(store, 810)
        store.ended("a/b:Q4", PLAIN, 1057)  # 247 beyond the load, 190 forecast
    found = store.correction()
    assert found.compute == 1.3
    assert found.last_error == round(1000 / 1057 - 1, 4)
    _load(store, 810)
    store.ended("a/b:Q4", PLAIN, 815)  # nobody asked anything long
    after = store.correction()
    assert after.compute == 1.3
    assert after.last_error == 0.0


def test_another_engine_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    old = Calibration(path, "1")
    for _ in range(5):
        _load(old, 830)
    assert Calibration(path, "2").correction() == Correction()


def test_other_processes_samples_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    reader, writer = Calibration(path), Calibration(path)
    assert reader.correction().samples == 0
    _load(writer, 830)
    assert reader.correction().samples == 1


def test_damage_and_unwritable_places_cost_only_the_measurements(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    for text in ("{", "[]", '{"loads": 5}', '{"loads": [1, {"model": "x"}, {"model": 3}]}', "\0"):
        path.write_text(text)
        store = Calibration(path)
        assert store.correction() == Correction()
        _load(store, 830)
        assert store.correction().samples == 1
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = Calibration(blocked / "memory.json")
    _load(store, 830)
    assert store.correction().samples == 1


def test_the_file_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    store = Calibration(path)
    for number in range(80):
        store.loaded(f"m{number}", PLAIN, replace(PLAIN, loaded_bytes=800), 800)
    assert len(json.loads(path.read_text())["loads"]) == 60
