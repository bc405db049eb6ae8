"""What the service tells about itself and its models: built by the service, read back by the client."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

LoadState = Literal["loading", "ready", "failed"]


class Entry:
    """JSON codec: unknown keys are ignored, so either side may be newer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True, slots=True)
class ModelEntry(Entry):
    """One model that can be asked for by `id`. Sizes in bytes, context length in tokens (0: not known)."""

    id: str
    name: str
    quant: str = ""
    size_bytes: int = 0
    parameters: int = 0
    context_length: int = 0
    state: str = ""  # of the file: verified, unverified, damaged, …
    loaded: bool = False
    built_in: bool = False
    problem: dict[str, str] | None = None  # SlmDeskError.to_json(): why it cannot be loaded


@dataclass(frozen=True, slots=True)
class LoadedModel(Entry):
    """A model that is loading, ready or failed. `names` are all the names it was asked for by."""

    id: str
    names: tuple[str, ...] = ()
    state: LoadState = "loading"
    progress: float = 0.0  # of the load, 0 to 1
    memory_bytes: int = 0  # resident memory of its engine
    context_length: int = 0
    parallel: int = 0
    active: int = 0  # answers being written
    queued: int = 0  # answers waiting for one of those to end
    pid: int = 0
    problem: dict[str, str] | None = None
    loaded_at: float = 0.0  # seconds since 1970
    chat_form: str = ""  # what stands in for a chat template that the file does not have
    outdated: bool = False  # the settings are others by now than it was loaded with
    gpu_layers: int = 0  # of the model, those that a GPU has


@dataclass(frozen=True, slots=True)
class ServiceStatus(Entry):
    """What the service does right now."""

    loaded: tuple[LoadedModel, ...]
    uptime_s: float
    version: str
    pid: int = 0
    started_by: str = "hand"

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ServiceStatus:
        models = tuple(
            LoadedModel.from_json({**model, "names": tuple(model.get("names", ()))})
            for model in data.get("loaded", ())
        )
        return cls(
            models,
            float(data.get("uptime_s", 0.0)),
            str(data.get("version", "")),
            int(data.get("pid", 0)),
            str(data.get("started_by", "hand")),
        )

    def model(self, name: str) -> LoadedModel | None:
        """The loaded model that `name` (an id, or any name it was asked for by) means."""
        return next((m for m in self.loaded if name == m.id or name in m.names), None)
