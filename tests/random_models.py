"""The generator of random models, which lies with the benchmarks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_NAME = "benchmark_models"


def generator() -> ModuleType:
    """`tests/benchmarks/models.py`, loaded once a process."""
    if _NAME not in sys.modules:
        path = Path(__file__).parent / "benchmarks" / "models.py"
        spec = importlib.util.spec_from_file_location(_NAME, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[_NAME]
