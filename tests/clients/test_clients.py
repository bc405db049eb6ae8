"""Every client does what the table says it does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.common import Check, Server, close_all
from tests.clients.table import APART, HERE, NODE, table

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{client}: {name}")
        for client, checks in HERE.items()
        for name, check in checks.items()
    ],
)
def test_a_client_gets_what_it_asks_for(server: Server, check: Check) -> None:
    try:
        check(server)
    finally:
        close_all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param(module, name, id=f"{client}: {name}")
        for client, (module, checks) in APART.items()
        for name in checks
    ],
)
def test_a_client_with_an_environment_of_its_own(
    server: Server, clients_python: Path, module: str, name: str
) -> None:
    command = [str(clients_python), "-m", f"tests.clients.{module}", server.url, server.model, name]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "name"),
    [
        pytest.param(client, name, id=f"{shown}: {name}")
        for shown, (client, names) in NODE.items()
        for name in names
    ],
)
def test_a_client_from_npm(server: Server, node_checks: Path, client: str, name: str) -> None:
    node = shutil.which("node")
    assert node is not None
    command = [node, "checks.mjs", client, name, server.url, server.model]
    run = subprocess.run(command, cwd=node_checks, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


def test_the_table_in_the_readme_is_made_from_the_checks() -> None:
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")
