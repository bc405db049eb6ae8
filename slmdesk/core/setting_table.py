"""Every setting of the program, declared once as data.

The settings page, `slmdesk config`, the environment variables, validation and the table of the documentation
are all made from `SETTINGS`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from slmdesk.core.errors import SlmDeskError

Value = bool | int | float | str
Form = Literal["", "multiline", "folders", "certificates", "host", "model"]

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
            return _either(self.choices)
        if self.schemes:
            starts = _either([f"{scheme}://" for scheme in self.schemes])
            return f"an address that starts with {starts}, without a login in it, or nothing"
        if self.form == "host":
            return "the name or the IP address of a network interface"
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


def _without_login(value: object) -> object:
    """What may be shown of a value that was refused: never a password."""
    return _LOGIN.sub("//…@", value) if isinstance(value, str) else value


class _Unparsed:
    """Text that is no number, shown in the error as it was typed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return repr(self.text)


_APPEARANCE = "Appearance"
_CHAT = "Chat"
_ENGINE = "Engine"
_SERVICE = "Service"
_NETWORK = "Network"
_DOWNLOADS = "Downloads"
_LIBRARY = "Library"
_LOGS = "Logs"

MODEL_FIRST = " Until you set it, what the model itself recommends comes first."

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "appearance.theme", str, "system", "Theme",
        "Light or dark colours. “system” follows the desktop, also when it changes.",
        _APPEARANCE, choices=("system", "light", "dark"), also="colour color night",
    ),
    Setting(
        "appearance.text_size", int, 13, "Text size",
        "The size of ordinary text in the window. Headings and code grow with it.",
        _APPEARANCE, minimum=12, maximum=20, unit="px", also="font zoom larger",
    ),
    Setting(
        "appearance.reduced_motion", bool, False, "Reduce motion",
        "Shows changes at once instead of fading or sliding them in.",
        _APPEARANCE,
    ),
    Setting(
        "chat.model", str, "", "Model for new conversations",
        "The library id of the model a new conversation starts with. Empty takes the starter, a small general model, "
        "where it is there, otherwise Desk Guide.",
        _CHAT, form="model", former=("slmdesk/desk-guide", "slmdesk/desk-guide:F16"), special="automatic",
        also="default",
    ),
    Setting(
        "chat.system_prompt", str, "", "System prompt",
        "Instructions every new conversation starts with. Empty leaves the model as its publisher made it.",
        _CHAT, form="multiline",
    ),
    Setting(
        "chat.temperature", float, 0.8, "Temperature",
        "How freely the model picks words. 0 always takes the likeliest one; above 1 answers become wild."
        + MODEL_FIRST,
        _CHAT, minimum=0, maximum=2,
    ),
    Setting(
        "chat.top_k", int, 40, "Top K",
        "Picks only among this many of the likeliest tokens. 0 takes all of them into account."
        + MODEL_FIRST,
        _CHAT, minimum=0, maximum=1_000_000, special="all",
    ),
    Setting(
        "chat.top_p", float, 0.95, "Top P",
        "Picks only among the likeliest tokens that together reach this probability. 1 turns it off."
        + MODEL_FIRST,
        _CHAT, minimum=0, maximum=1,
    ),
    Setting(
        "chat.min_p", float, 0.05, "Min P",
        "Leaves out tokens that are this much less likely than the likeliest one. 0 turns it off."
        + MODEL_FIRST,
        _CHAT, minimum=0, maximum=1,
    ),
    Setting(
        "chat.repeat_penalty", float, 1.0, "Repeat penalty",
        "Makes tokens that were just used less likely. 1 turns it off; small models sometimes gain from 1.1."
        + MODEL_FIRST,
        _CHAT, minimum=0.01, maximum=10,
    ),
    Setting(
        "chat.max_tokens", int, 0, "Longest answer",
        "An answer is cut off after this many tokens. 0 lets the model end by itself.",
        _CHAT, minimum=0, maximum=2**31 - 1, unit="tokens", special="no limit",
    ),
    Setting(
        "engine.context_length", int, 0, "Context length",
        "How much of a conversation the model sees at once. A model is loaded with the memory for one such "
        "context, so more takes more. 0 uses the model's own, 8192 at most.",
        _ENGINE, minimum=0, maximum=2**24, unit="tokens", special="automatic",
        aliases=("context_length",),
    ),
    Setting(
        "engine.parallel", int, 4, "Answers at once",
        "How many answers one loaded model writes at the same time; further ones wait in line. They share the memory "
        "of one context. “slmdesk serve” sets aside one for each, as far as a quarter of the free memory goes.",
        _ENGINE, minimum=1, maximum=64,
    ),
    Setting(
        "engine.threads", int, 0, "Threads",
        "Processor threads a model computes with. 0 uses one for each physical core that is no efficiency core, as far "
        "as a container's limit allows, and a single one for a model below 40 MB.",
        _ENGINE, minimum=0, maximum=512, special="automatic",
    ),
    Setting(
        "engine.gpu_layers", int, -1, "Layers on the GPU",
        "How many layers of the model a GPU takes over. -1 gives it as many as fit its free memory, "
        "0 uses the processor alone.",
        _ENGINE, minimum=-1, maximum=1000, special="as many as fit",
        also="graphics card vram cuda vulkan metal offload",
    ),
    Setting(
        "engine.cache_type", str, "f16", "Context precision",
        "How exactly the context is kept in memory. q8_0 halves its size and costs hardly any quality; "
        "q4_0 quarters it.",
        _ENGINE, choices=("f16", "q8_0", "q4_0"),
    ),
    Setting(
        "engine.flash_attention", bool, True, "Flash attention",
        "A faster way to compute attention that also needs less memory.",
        _ENGINE,
    ),
    Setting(
        "service.host", str, "127.0.0.1", "Address",
        "The network address the service answers on. 127.0.0.1 is reached from this machine only.",
        _SERVICE, restart=True, form="host", also="server api listen network lan host openai",
    ),
    Setting(
        "service.port", int, 0, "Port",
        "The port other programs use. 0 takes any free port when the window starts the service, "
        "and 8765 for “slmdesk serve”.",
        _SERVICE, minimum=0, maximum=65535, special="automatic", restart=True, also="server api openai",
    ),
    Setting(
        "service.idle_minutes", int, 5, "End the service after",
        "A service that the window started ends by itself when nobody used it for this long. "
        "0 keeps it running.",
        _SERVICE, minimum=0, maximum=10_080, unit="minutes", special="never", also="server api background",
    ),
    Setting(
        "service.model_idle_minutes", int, 30, "Unload a model after",
        "A model that answered nothing for this long gives its memory back. 0 keeps it loaded.",
        _SERVICE, minimum=0, maximum=10_080, unit="minutes", special="never", also="eject memory ram",
    ),
    Setting(
        "service.max_loaded", int, 2, "Models loaded at once",
        "Loading one more unloads the model that was idle for longest.",
        _SERVICE, minimum=1, maximum=16, also="memory ram eject",
    ),
    Setting(
        "network.offline", bool, False, "Work offline",
        "Stops every connection to other machines. Chatting with models of the library still works.",
        _NETWORK,
    ),
    Setting(
        "network.proxy", str, "", "Proxy",
        "The HTTP or SOCKS proxy on the way to other machines. Empty uses the system's. A login for it is kept in "
        "the keyring, not here.",
        _NETWORK, schemes=("http", "https", "socks5", "socks5h"), also="password login company firewall",
    ),
    Setting(
        "network.ca_file", str, "", "Extra certificates",
        "A PEM file with certificate authorities to trust beside the system's, as some companies need.",
        _NETWORK, form="certificates", also="ca tls ssl https company trust",
    ),
    Setting(
        "hub.endpoint", str, "", "Hub address",
        "The hub or mirror that models come from. Empty uses the environment's HF_ENDPOINT, or "
        "https://huggingface.co.",
        _NETWORK, schemes=("https", "http"), also="mirror server hugging face token password",
    ),
    Setting(
        "downloads.parallel", int, 2, "Downloads at once",
        "How many downloads run at the same time; further ones wait in line.",
        _DOWNLOADS, minimum=1, maximum=8,
    ),
    Setting(
        "downloads.max_rate", float, 0.0, "Bandwidth limit",
        "What all downloads together may take of the line. 0 takes all there is.",
        _DOWNLOADS, minimum=0, maximum=100_000, unit="MB/s", special="no limit",
    ),
    Setting(
        "downloads.transfer", str, "auto", "Way of transfer",
        "How files come: “xet” is the hub's chunk storage, “https” plain files. “auto” takes xet for large files and "
        "changes to HTTPS when it has trouble.",
        _DOWNLOADS, choices=("auto", "xet", "https"),
    ),
    Setting(
        "library.folders", str, "", "Model folders",
        "Where models lie. New ones go to the first folder. Empty uses the program's own folder.",
        _LIBRARY, form="folders",
    ),
    Setting(
        "logs.level", str, "info", "Detail of the logs",
        "How much the log files tell. “debug” helps when something goes wrong and makes them grow faster.",
        _LOGS, choices=("debug", "info", "warning", "error"), restart=True,
    ),
)  # fmt: skip

BY_NAME: dict[str, Setting] = {name: s for s in SETTINGS for name in (s.key, *s.aliases)}


def find_setting(name: str) -> Setting:
    """The setting with this key or alias. Raises `SlmDeskError("setting_unknown")` with the nearest keys."""
    setting = BY_NAME.get(name)
    if setting is None:
        import difflib

        near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
        hint = f"Did you mean {_either(near)}?" if near else "“slmdesk config” lists all settings."
        raise SlmDeskError("setting_unknown", f"There is no setting {name!r}.", hint)
    return setting


def groups() -> dict[str, tuple[Setting, ...]]:
    """The settings under the titles of the settings page, in its order."""
    titles = dict.fromkeys(setting.group for setting in SETTINGS)
    return {title: tuple(s for s in SETTINGS if s.group == title) for title in titles}


def settings_table_markdown() -> str:
    """The table of the documentation: one section a group, one row a setting."""
    lines: list[str] = []
    for title, settings in groups().items():
        lines += [f"### {title}", "", "| Setting | Default | Takes | Meaning |", "| --- | --- | --- | --- |"]
        for setting in settings:
            default = f"`{_toml_text(setting.default)}`"
            if setting.special and setting.default == setting.minimum:
                default += f" ({setting.special})"
            takes = setting.limits() + (f" ({setting.unit})" if setting.unit else "")
            meaning = setting.help + (" Counts from the next start on." if setting.restart else "")
            lines.append(f"| `{setting.key}`<br>`{setting.variable}` | {default} | {takes} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def variable_of(name: str) -> str:
    return "SLMDESK_" + name.upper().replace(".", "_")


def _toml_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _either(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
