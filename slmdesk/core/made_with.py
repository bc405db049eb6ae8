"""What a job was made with: the way to the hub, and the settings its work depends on.

It is kept in the job's row, so that whoever runs the job later, from another shell or after a reboot, does what was
asked for and not what its own environment says. There is never a login or another secret in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.setting_table import find_setting, variable_of
from slmdesk.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

MADE_WITH = "made_with"  # among a job's parameters
# Settings that a job keeps. Limits (bandwidth, downloads at once) and “Work offline” count as they are now.
KEPT = ("hub.endpoint", "network.proxy", "network.ca_file", "downloads.transfer", "library.folders")
# What of it a kind of job works with, by the names a person reads.
_CONCERNS: dict[str, tuple[str, ...]] = {
    "download": ("hub", "proxy", "network.ca_file", "downloads.transfer"),
    "quantize": ("network.proxy", "network.ca_file"),
    "import": ("library.folders",),
    "verify": ("library.folders",),
    "duplicates": ("library.folders",),
}


def kept_settings(settings: Settings) -> dict[str, Any]:
    """The values in force now, for a job's row."""
    return {"settings": {key: settings.get(key) for key in KEPT}}


def settings_of(parameters: Mapping[str, Any], today: Settings) -> Settings:
    """The settings for a job with these parameters: as they were when it was made, and for the rest those of the file.

    The environment of this process does not count. `today` itself for a job of an older version.
    """
    made = parameters.get(MADE_WITH)
    kept = made.get("settings") if isinstance(made, dict) else None
    if not isinstance(kept, dict):
        return today
    settings = Settings(today.path, {variable_of(key): str(kept[key]) for key in KEPT if key in kept})
    settings.load()
    return settings


def told(kind: str, made: Mapping[str, Any], none: str = "") -> dict[str, str]:
    """What a job of this kind works with, by name: {"hub": "https://…", "proxy": ""}; `none` stands for nothing."""
    if not made:
        return {}
    settings = made.get("settings")
    values = dict(settings) if isinstance(settings, dict) else {}
    proxies = made.get("proxies")
    named = sorted({str(proxy) for proxy in proxies.values() if proxy}) if isinstance(proxies, dict) else []
    values |= {"hub": made.get("hub", ""), "proxy": ", ".join(named)}
    return {name: str(values.get(name) or none) for name in _CONCERNS.get(kind, ())}


def _name(name: str) -> str:
    """As a person reads it: a setting by its title."""
    return find_setting(name).title.lower() if "." in name else name


def differences(kind: str, made: Mapping[str, Any], today: Mapping[str, Any]) -> str:
    """Where a job differs from what it would be made with today, in words; "" where it does not."""
    then, now = told(kind, made, "none"), told(kind, today, "none")
    parts = [f"{_name(name)} {then[name]}, today {now[name]}" for name in then if then[name] != now.get(name)]
    return "; ".join(parts)
