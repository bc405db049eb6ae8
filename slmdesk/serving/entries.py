"""What the service tells about itself and its models: built by the service, read back by the client."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from slmdesk.formats.purpose import Purpose
from slmdesk.inference.loading import Serves
from slmdesk.inference.wire import Wire

LoadState = Literal["loading", "ready", "failed"]


def public_name(file_id: str) -> str:
    """The id of a model as anybody may see it: of a file outside the library its own name, without the folders."""
    return Path(file_id).name if Path(file_id).is_absolute() else file_id


class ModelEntry(Wire, frozen=True):
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
    purpose: Purpose = (
        "chat"  # or "embed", "rank": vectors of texts, scores of documents; "other" runs nowhere here
    )


class LoadedModel(Wire, frozen=True):
    """A model that is loading, ready or failed. `names` are all the names it was asked for by."""

    id: str
    names: tuple[str, ...] = ()
    state: LoadState = "loading"
    progress: float = 0.0  # of the load, 0 to 1
    memory_bytes: int = 0  # resident memory of its engine
    prefix_bytes: int = 0  # of that, what its prefix cache holds
    most_prefix_bytes: int = 0  # and what that may hold
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
    pinned: bool = False  # it stays loaded
    device_bytes: int = 0  # memory of a GPU
    expires_at: float = 0.0  # seconds since 1970, if nobody asks any more; 0: never
    serves: Serves = "chat"  # what it can be asked for

    def without_paths(self) -> LoadedModel:
        """As somebody from elsewhere may see it: no folder of this machine is told."""
        names = tuple(sorted({public_name(name) for name in self.names}))
        problem = self.problem and {"code": self.problem["code"]}
        return replace(self, id=public_name(self.id), names=names, problem=problem)


class ServiceStatus(Wire, frozen=True):
    """What the service does right now."""

    loaded: tuple[LoadedModel, ...] = ()
    uptime_s: float = 0.0
    version: str = ""
    pid: int = 0
    started_by: str = "hand"

    def model(self, name: str) -> LoadedModel | None:
        """The loaded model that `name` (an id, or any name it was asked for by) means."""
        return next((m for m in self.loaded if name == m.id or name in m.names), None)
