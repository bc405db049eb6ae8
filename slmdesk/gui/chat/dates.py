"""The date groups of the conversation list."""

from __future__ import annotations

from datetime import date, datetime, timedelta

TODAY = "Today"
YESTERDAY = "Yesterday"
WEEK = "Previous 7 days"
OLDER = "Older"


def group_of(moment: float, today: date) -> str:
    """The group of a moment (seconds since 1970, shown in local time)."""
    day = datetime.fromtimestamp(moment).astimezone().date()
    if day >= today:
        return TODAY
    if day == today - timedelta(days=1):
        return YESTERDAY
    return WEEK if day >= today - timedelta(days=7) else OLDER
