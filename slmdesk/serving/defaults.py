"""What a request leaves open: first the model's kept settings, then the program's. The engine knows the rest, which is
what the model's publisher recommends and then llama.cpp's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.inference.asks import Sampling, Turn
from slmdesk.inference.limits import SAMPLING, find_model_setting
from slmdesk.inference.model_settings import NOTHING, ModelSettings
from slmdesk.inference.wire import converted

if TYPE_CHECKING:
    from slmdesk.core.settings import Settings
    from slmdesk.inference.asks import Ask, Role


@dataclass(frozen=True, slots=True)
class Defaults:
    """For one model. `recommended` goes below all that a person chose."""

    kept: ModelSettings = NOTHING
    chosen: ModelSettings = NOTHING
    recommended: dict[str, float] = field(default_factory=dict)
    begin: tuple[tuple[Role, str], ...] = ()  # role and text of what each conversation begins with

    @classmethod
    def of(
        cls,
        settings: Settings,
        kept: ModelSettings,
        recommended: dict[str, float],
        begin: tuple[tuple[Role, str], ...] = (),
    ) -> Defaults:
        """With what a person has set; a setting that was left alone is no choice."""
        values: dict[str, Any] = {}
        for declared in (*SAMPLING, find_model_setting("max_tokens")):
            for key in declared.aliases:
                if settings.source(key) != "default":
                    values[declared.key] = settings.get(key)
        return cls(kept, ModelSettings(**values), recommended, begin)

    def fill(self, ask: Ask) -> Ask:
        """The ask with what it left open. What it names stays as it is."""
        chosen = self.kept.over(self.chosen)
        below = converted({**self.recommended, **chosen.sampling}, Sampling)
        return replace(
            ask,
            turns=self._instructed(ask),
            sampling=ask.sampling.over(below),
            max_tokens=ask.max_tokens or chosen.max_tokens or 0,
            stop=(chosen.stop or ()) if ask.stop is None else ask.stop,
        )

    def _instructed(self, ask: Ask) -> tuple[Turn, ...]:
        """The turns, begun with the model's instructions where nobody else gave any, and what it always begins with."""
        if not ask.turns or not ask.kept_instructions:
            return ask.turns
        system = tuple(turn for turn in ask.turns if turn.role == "system")
        if self.begin:
            rest = tuple(turn for turn in ask.turns if turn.role != "system")
            turns = (*system, *(Turn.of(role, text) for role, text in self.begin), *rest)
        else:
            turns = ask.turns
        prompt = self.kept.system_prompt
        return (Turn.of("system", prompt), *turns) if prompt and not system else turns
