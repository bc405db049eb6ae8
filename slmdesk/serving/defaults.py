"""What a request leaves open: first the model's kept settings, then the program's. The engine knows the rest, which is
what the model's publisher recommends and then llama.cpp's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slmdesk.inference.limits import SAMPLING, find_model_setting
from slmdesk.inference.model_settings import NOTHING, ModelSettings

if TYPE_CHECKING:
    from slmdesk.core.settings import Settings
    from slmdesk.serving.questions import Question


@dataclass(frozen=True, slots=True)
class Defaults:
    """For one model. `recommended` goes below all that a person chose."""

    kept: ModelSettings = NOTHING
    chosen: ModelSettings = NOTHING
    recommended: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, kept: ModelSettings, recommended: dict[str, float]) -> Defaults:
        """With what a person has set; a setting that was left alone is no choice."""
        values: dict[str, Any] = {}
        for declared in (*SAMPLING, find_model_setting("max_tokens")):
            for key in declared.aliases:
                if settings.source(key) != "default":
                    values[declared.key] = settings.get(key)
        return cls(kept, ModelSettings(**values), recommended)

    def fill(self, question: Question) -> Question:
        """The question with what it left open. What it names stays as it is."""
        chosen = self.kept.over(self.chosen)
        sampling = {**self.recommended, **chosen.sampling, **question.sampling}
        return replace(
            question,
            messages=self._instructed(question),
            sampling=sampling,
            max_tokens=question.max_tokens or chosen.max_tokens or 0,
            stop=list(chosen.stop or ()) if question.stop is None else question.stop,
        )

    def _instructed(self, question: Question) -> list[dict[str, Any]] | None:
        """The messages, begun with the model's instructions where nobody else gave any."""
        messages, prompt = question.messages, self.kept.system_prompt
        if not messages or not prompt or not question.kept_instructions:
            return messages
        if any(message["role"] == "system" for message in messages):
            return messages
        return [{"role": "system", "content": prompt}, *messages]
