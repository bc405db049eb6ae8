"""One service with a real model for all clients, and the environments of those that need their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.common import EMBEDDER, Server
from tests.real_models import smollm2
from tests.serving.conftest import serve
from tests.text_models import text_model

_HERE = Path(__file__).parent
_TOOLS = _HERE.parents[1] / ".tools"


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Server]:
    """A service by hand with SmolLM2, and an embedding model in its library."""
    home = tmp_path_factory.mktemp("clients")
    lasting_homes.add(str(home))
    text_model(home / "models" / EMBEDDER / "sentences-F16.gguf")
    with serve(home, "--model", str(smollm2())) as running:
        models = running.ask("GET", "/v1/models").json["data"]
        (name,) = (model["id"] for model in models if "SmolLM2" in model["id"])
        yield Server(running.url, name)


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The Python of an environment with all clients in it, kept from one run to the next."""
    uv = shutil.which("uv") or str(
        _TOOLS / "uv" / ("Scripts/uv.exe" if sys.platform == "win32" else "bin/uv")
    )
    folder = _TOOLS / "clients"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        subprocess.run(
            [uv, "venv", "--quiet", "--no-config", "-p", "3.11", str(folder)], check=True, timeout=300
        )
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "-p",
        str(python),
        "-r",
        str(_HERE / "requirements.txt"),
    ]
    subprocess.run(command, check=True, timeout=1200)
    return python


@pytest.fixture(scope="session")
def node_checks() -> Path:
    """The folder of the npm clients, installed."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = _TOOLS / "clients-node"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "checks.mjs"):
        shutil.copy(_HERE / "node" / name, folder / name)
    subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=600
    )
    return folder
