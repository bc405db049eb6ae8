"""The access token for a hub: where it may come from, and what it must look like to be sent."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slmdesk.hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Mapping

Source = Literal["", "variable", "keyring", "file"]

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_FILE_BYTES = 4096
_YES = {"1", "true", "yes", "on"}


def checked_token(text: str, where: str) -> str:
    """The token without what clings to its ends when it is copied. `where` names what holds it.

    Raises `HubError("token_invalid")` for one that cannot be sent; the words hold nothing of the token.
    """
    token = text.strip().strip("".join({letter for letter in text if _unseen(letter)}))
    for letter in token:
        if not "!" <= letter <= "~":
            raise HubError(
                "token_invalid",
                f"{where} holds a letter that no access token has: {_name(letter)}.",
                "Copy the token again from the hub's page, and nothing beside it.",
            )
    return token


def from_environment(environ: Mapping[str, str]) -> str:
    """The token of HF_TOKEN, or "". Raises `HubError("token_invalid")`."""
    if _refused(environ):
        return ""
    for name in _VARIABLES:
        if token := checked_token(environ.get(name, ""), f"The variable {name}"):
            return token
    return ""


def from_file(environ: Mapping[str, str]) -> str:
    """The token that `hf auth login` keeps, or "". Blocks. Raises `HubError("token_invalid")`."""
    if _refused(environ):
        return ""
    path = _file(environ)
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return checked_token(text, f"The file {path}")


def _file(environ: Mapping[str, str]) -> Path:
    """Where Hugging Face's own programs keep it (huggingface_hub's documentation, "Environment variables")."""
    if named := environ.get("HF_TOKEN_PATH", ""):
        return Path(named).expanduser()
    home = environ.get("HF_HOME", "")
    if home:
        return Path(home).expanduser() / "token"
    cache = environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface" / "token"


def _refused(environ: Mapping[str, str]) -> bool:
    """Whether the person wants no token sent that was not given to this program itself."""
    return environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").strip().lower() in _YES


def _unseen(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in {"Cc", "Cf", "Zs", "Zl", "Zp"}


def _name(letter: str) -> str:
    code = f"U+{ord(letter):04X}"
    name = unicodedata.name(letter, "")
    return f"{code} ({name.lower()})" if name else code
