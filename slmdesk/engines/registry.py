"""The runtimes of this program. What starts one is imported when one is started: a list of models needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.inference.engines import EngineKinds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePath

    from slmdesk.engines.host import LlamaEngine
    from slmdesk.inference.loading import Loading
    from slmdesk.inference.steps import Step


class LlamaKind:
    """llama.cpp: GGUF files, each in a child process of its own."""

    name = "llama.cpp"

    def takes(self, path: PurePath, form: str = "") -> bool:
        """Whether this is a GGUF file."""
        return (form or path.suffix.lower().removeprefix(".")) == "gguf"

    async def start(
        self,
        path: Path,
        model: str,
        loading: Loading,
        *,
        step: Step = "all",
        on_progress: Callable[[float], None] | None = None,
        log_path: Path | None = None,
    ) -> LlamaEngine:
        """As `EngineKind.start`; what the child prints on stderr is added to `log_path`."""
        from slmdesk.engines.host import start_engine
        from slmdesk.engines.protocol import EngineSpec
        from slmdesk.engines.safe_steps import at_step

        spec = EngineSpec(str(path), model, at_step(loading, step), step)
        return await start_engine(spec, on_progress=on_progress, log_path=log_path)


KINDS = EngineKinds([LlamaKind()])
"""All of them."""
