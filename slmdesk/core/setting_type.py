"""What a setting is: its type, its limits, how its text is read and said."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from slmdesk.core.allowed import parse_hosts, parse_origins
from slmdesk.core.errors import SlmDeskError

Value = bool | int | float | str
Form = Literal["", "multiline", "folders", "certificates", "host", "hosts", "origins", "model"]

_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*\.?")
_LOGIN = re.compile(r"//[^/\s]*@")
_TYPE_WORDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `key` is `table.name`, as in the TOML file.

    `special` says what the lowest value means where it is no plain number ("automatic"). `form` asks for
    another field than the type's own. `aliases` are further keys a file, `slmdesk config` or the environment
    may use. `schemes` are those a network address may have; an address holds no login, because settings are
    no place for a password. `restart` is true where a new value counts from the next start on. `former` are values
    that only repeated an earlier default: in a file of that time they mean today's. `also` are words by which people
    look for it on the settings page.
    """

    key: str
    type: type
    default: Value
    title: str
    help: str
    group: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    special: str = ""
    form: Form = ""
    aliases: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    restart: bool = False
    also: str = ""
    former: tuple[Value, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that overrides the file."""
        return variable_of(self.key)

    def limits(self) -> str:
        """The values allowed, in words: "light, dark or system", "0 to 2", "true or false"."""
        if self.choices:
            return either(self.choices)
        if self.schemes:
            starts = either([f"{scheme}://" for scheme in self.schemes])
            return f"an address that starts with {starts}, without a login in it, or nothing"
        if self.form == "host":
            return "the name or the IP address of a network interface"
        if self.form == "hosts":
            return "host names such as models.example or *.home.arpa, separated by spaces, or nothing"
        if self.form == "origins":
            return "addresses such as https://notes.example without a path, separated by spaces, or nothing"
        if self.form == "model":
            return "the id or path of a model on this machine, or nothing"
        if self.form == "certificates":
            return "the path of a PEM file with certificates, or nothing"
        words = _TYPE_WORDS[self.type]
        if self.minimum is None and self.maximum is None:
            return words
        least, most = _number(self.minimum), _number(self.maximum)
        if self.maximum is None:
            return f"{words}, {least} or more"
        return f"{words} from {least} to {most}" if least else f"{words}, at most {most}"

    def validate(self, value: object) -> Value:
        """`value` as this setting's type. Raises `SlmDeskError("setting_invalid")` when it is of another type
        or outside the limits."""
        checked = self._typed(value)
        if checked is None or not self._within(checked):
            raise SlmDeskError(
                "setting_invalid",
                f"{_without_login(value)!r} is no value for {self.key}.",
                f"{self.key} takes {self.limits()}.",
            )
        return checked

    def parse(self, text: str) -> Value:
        """The same from text, as the environment and the command line give it."""
        word = text.strip()
        try:
            if self.type is bool:
                return self.validate(_BOOLEANS.get(word.lower(), _Unparsed(word)))
            if self.type is int:
                return self.validate(int(word))
            if self.type is float:
                return self.validate(float(word))
        except ValueError:
            return self.validate(_Unparsed(word))
        return self.validate(text)

    def _typed(self, value: object) -> Value | None:
        if self.type is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                return None
            return number if math.isfinite(number) else None
        if self.type is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if self.type is bool and isinstance(value, bool):
            return value
        if self.type is str and isinstance(value, str) and _is_text(value):
            return value
        return None

    def _within(self, value: Value) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, str) and self.form == "host":
            return _is_host(value.strip())
        if isinstance(value, str) and self.form in {"hosts", "origins"}:
            return _may_be_allowed(value, self.form)
        if isinstance(value, str):
            return not self.schemes or not value.strip() or _is_address(value, self.schemes)
        if self.minimum is not None and value < self.minimum:
            return False
        return self.maximum is None or value <= self.maximum


def _number(value: float | None) -> str:
    """A limit as people write it: every digit of a whole number; "" for none."""
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def _is_text(value: str) -> bool:
    """Whether a file or a database can hold it: bytes that were no text come as lone surrogates."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text.strip())
        _ = parts.port  # raises when it is no number
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        # Four numbers are meant as an IP address, and are none.
        return bool(_HOST.fullmatch(text)) and not text.replace(".", "").isdigit()
    return True


def _may_be_allowed(text: str, form: Form) -> bool:
    try:
        parse_hosts(text.split()) if form == "hosts" else parse_origins(text.split())
    except SlmDeskError:
        return False
    return True


def _without_login(value: object) -> object:
    """What may be shown of a value that was refused: never a password."""
    return _LOGIN.sub("//…@", value) if isinstance(value, str) else value


class _Unparsed:
    """Text that is no number, shown in the error as it was typed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return repr(self.text)


def variable_of(name: str) -> str:
    return "SLMDESK_" + name.upper().replace(".", "_")


def toml_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def either(names: tuple[str, ...] | list[str]) -> str:
    """ "light, dark or system"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
