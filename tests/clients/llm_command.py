"""Simon Willison's `llm` command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.common import FRANCE, KEY, Check, Server

_MODELS = """\
- model_id: desk
  model_name: {model}
  api_base: {v1}
  supports_tools: true
  supports_schema: true
"""


def _llm(server: Server, *args: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        models = _MODELS.format(model=server.model, v1=server.v1)
        Path(folder, "extra-openai-models.yaml").write_text(models, encoding="utf-8")
        environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": KEY}
        command = [str(Path(sys.executable).with_name("llm")), "-m", "desk", "--no-log", *args]
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert run.returncode == 0, run.stderr
    return run.stdout


def stream(server: Server) -> None:
    assert "Paris" in _llm(server, FRANCE, "-o", "temperature", "0", "-o", "max_tokens", "40")


def structured(server: Server) -> None:
    said = _llm(
        server,
        "--no-stream",
        "--schema",
        "city: a city",
        "Paris",
        "-o",
        "max_tokens",
        "100",
        "-o",
        "temperature",
        "0",
    )
    assert isinstance(json.loads(said)["city"], str)


CHECKS: dict[str, Check] = {"stream": stream, "structured output": structured}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
