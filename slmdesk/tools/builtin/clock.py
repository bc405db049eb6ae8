"""What time it is, here or in a time zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from slmdesk.core.errors import SlmDeskError


def current_time(zone: str = "", now: float | None = None) -> str:
    """Date, weekday, time and zone in words and as ISO 8601. `zone`: a name such as “Europe/Paris” or “UTC”; "" is this
    machine's. `now`: seconds since 1970.

    Raises `SlmDeskError("tool_arguments_invalid")` for a zone that is not known.
    """
    seconds = time.time() if now is None else now
    moment = datetime.fromtimestamp(seconds, _zone(zone.strip()) if zone.strip() else _local(seconds))
    # Not strftime: its names of days and months follow the system's language.
    day = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[moment.weekday()]
    return f"{day}, {moment:%Y-%m-%d %H:%M:%S} {moment.tzname()} ({moment.isoformat(timespec='seconds')})"


def _local(seconds: float) -> tzinfo:
    told = time.localtime(seconds)
    return timezone(timedelta(seconds=told.tm_gmtoff), told.tm_zone)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    if name.upper() in {"UTC", "GMT", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise SlmDeskError(
            "tool_arguments_invalid",
            f"The time zone “{name[:60]}” is not known.",
            "Name one as Europe/Paris or America/New_York, or leave it out.",
        ) from error
