"""EleutherAI's `lm-eval` with `local-completions` and the service's tokenizer, on a task of three questions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.common import KEY, Check, Server

_QUESTIONS = [
    ("The capital of France is", [" Paris", " a banana"], 0),
    ("Two plus two is", [" a horse", " four"], 1),
    ("The sun rises in the", [" east", " bottle"], 0),
]
_TASK = """\
task: tiny
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def log_likelihood(server: Server) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.jsonl")
        rows = [json.dumps({"q": q, "choices": choices, "gold": gold}) for q, choices, gold in _QUESTIONS]
        data.write_text("\n".join(rows), encoding="utf-8")
        Path(folder, "tiny.yaml").write_text(_TASK.format(data=data.as_posix()), encoding="utf-8")
        model = (
            f"model={server.model},base_url={server.v1}/completions,tokenizer_backend=remote,num_concurrent=1,"
            "max_retries=1,tokenized_requests=True"
        )
        command = [str(Path(sys.executable).with_name("lm_eval")), "run", "--model", "local-completions"]
        command += ["--model_args", model, "--tasks", "tiny", "--include_path", folder]
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf"}
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    assert run.returncode == 0, run.stderr[-2000:]
    found = re.search(r"acc\s*\|[^|]*\|\s*([\d.]+)", run.stdout)
    assert found is not None, run.stdout
    assert float(found[1]) == 1.0


CHECKS: dict[str, Check] = {"completions": log_likelihood}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
