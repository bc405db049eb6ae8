"""The measured forecast of made-up models."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def forecast_benchmark(architectures: ModuleType) -> ModuleType:
    return importlib.import_module("tests.benchmarks.forecast")
