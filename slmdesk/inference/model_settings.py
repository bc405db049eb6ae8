"""What one model is loaded and asked with, where it differs from the program's settings."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.limits import LOADING, SAMPLING, Value, check_model_setting, find_model_setting

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Values by the names of `limits.MODEL_SETTINGS`; None where the program's setting, or the model, decides.

    `context_length`: tokens; `limits.FITS` as long as fits, 0 the model's own. `gpu_layers`: -1 as many as fit.
    `adapters`: as `ScaledAdapter.of` reads them. `idle_minutes`: 0 for ever.
    `max_tokens`: 0 no limit. An empty `system_prompt` says that there are no instructions.
    """

    context_length: int | None = None
    gpu_layers: int | None = None
    cache_type: str | None = None
    parallel: int | None = None
    adapters: tuple[str, ...] | None = None
    idle_minutes: int | None = None
    pinned: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    penalty_last_n: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    system_prompt: str | None = None

    @classmethod
    def from_json(cls, data: object) -> ModelSettings:
        """What of `data` is known and valid: a file that a person edited costs the value that is wrong, no more."""
        values: dict[str, Any] = {}
        for name in NAMES:
            value = data.get(name) if isinstance(data, dict) else None
            if value is None:
                continue
            try:
                values[name] = check_model_setting(name, value)
            except SlmDeskError:
                continue
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The values that are set."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.items().items()
        }

    def items(self) -> dict[str, Value]:
        """The values that are set, by name."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}

    def get(self, name: str) -> Value | None:
        """The value of this name. Raises `SlmDeskError("setting_unknown")`."""
        value: Value | None = getattr(self, find_model_setting(name).key)
        return value

    def over(self, below: ModelSettings) -> ModelSettings:
        """These values, and where there is none those of `below`."""
        changes: dict[str, Any] = self.items()
        return replace(below, **changes)

    def changed(self, changes: Mapping[str, object]) -> ModelSettings:
        """With other values; None takes one out. Raises `setting_unknown` or `setting_invalid`."""
        checked: dict[str, Any] = {
            find_model_setting(name).key: None if value is None else check_model_setting(name, value)
            for name, value in changes.items()
        }
        return replace(self, **checked)

    @property
    def sampling(self) -> dict[str, Any]:
        """The set values that a sampler takes, by their names in a request."""
        set_here = self.items()
        return {setting.key: set_here[setting.key] for setting in SAMPLING if setting.key in set_here}

    @property
    def loading(self) -> dict[str, Any]:
        """The set values that decide how it is loaded."""
        set_here = self.items()
        return {setting.key: set_here[setting.key] for setting in LOADING if setting.key in set_here}


NAMES = tuple(field.name for field in fields(ModelSettings))
NOTHING = ModelSettings()
