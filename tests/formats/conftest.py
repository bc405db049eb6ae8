"""Made-up models of many architectures."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def architectures() -> ModuleType:
    """The module that writes them."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("tests.benchmarks.architectures")


@pytest.fixture(scope="session")
def forecast_benchmark(architectures: ModuleType) -> ModuleType:
    return importlib.import_module("tests.benchmarks.forecast")
