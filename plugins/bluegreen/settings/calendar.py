"""When a timer runs: a strict part of systemd's calendar events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import available_timezones

# systemd's own names (systemd.time(7), "Calendar Events").
NAMES = (
    *("minutely", "hourly", "daily", "weekly", "monthly"),
    *("quarterly", "semiannually", "yearly"),
)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_DAY = "|".join(DAYS)
_NUMBER = r"[0-9]{1,2}(?:\.\.[0-9]{1,2})?(?:/[0-9]{1,2})?"
_LIST = rf"(?:\*|{_NUMBER}(?:,{_NUMBER})*)"
_DAYS_PART = rf"(?P<days>(?:{_DAY})(?:\.\.(?:{_DAY}))?(?:,(?:{_DAY})(?:\.\.(?:{_DAY}))?)*)"
_DATE_PART = rf"\*-(?P<month>{_LIST})-(?P<day>{_LIST})"
_TIME_PART = rf"(?P<hour>{_LIST}):(?P<minute>{_LIST})(?::(?P<second>{_LIST}))?"
_CALENDAR = re.compile(
    rf"(?:{_DAYS_PART} )?(?:{_DATE_PART} )?{_TIME_PART}(?: (?P<zone>[A-Za-z0-9_/+-]{{1,40}}))?"
)
_BOUNDS = {"month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

ALLOWED = (
    'allowed is systemd\'s notation [days] [*-month-day] hour:minute[:second] [zone], such as "03:00", '
    f'"Mon..Fri *-*-* 08:30:00 Europe/Berlin" and "*:0/15", or one of {", ".join(NAMES)}'
)


def calendar_text(value: Any) -> Any:
    """Refuse a number: that is what YAML makes of a time without quotes."""
    if isinstance(value, int):
        raise ValueError("YAML reads a time without quotes as a number: write it in quotes")
    return value


def check_calendar(text: str) -> str:
    """Check a calendar event that a droplet's systemd reads, too.

    :raises ValueError: saying what is allowed.
    """
    if text in NAMES:
        return text
    match = _CALENDAR.fullmatch(text)
    if match is None:
        raise ValueError(ALLOWED)
    for field, (least, most) in _BOUNDS.items():
        for number, repetition in _numbers(match[field] or ""):
            if not least <= number <= most:
                raise ValueError(f"the {field} {number} is not from {least} to {most}; {ALLOWED}")
            if repetition == 0:
                raise ValueError(f"the {field} is repeated after 0; {ALLOWED}")
    if _is_no_day(match["month"], match["day"]):
        raise ValueError(f"there is no such day in any year; {ALLOWED}")
    if match["zone"] and match["zone"] not in available_timezones():
        raise ValueError(f"there is no time zone {match['zone']}; {ALLOWED}")
    return text


def _numbers(field: str) -> Iterator[tuple[int, int | None]]:
    """Return each number of a field, and after how many it is repeated."""
    for part in field.split(",") if field.strip("*") else ():
        numbers, _, repetition = part.partition("/")
        low, _, high = numbers.partition("..")
        if high and int(low) > int(high):
            raise ValueError(f"{numbers} ends before it begins; {ALLOWED}")
        for number in (low, high or low):
            yield int(number), int(repetition) if repetition else None


def _is_no_day(months: str | None, days: str | None) -> bool:
    """Whether no month has any of the days, such as 30 February."""
    if not months or not days or "*" in (months, days) or "/" in months:
        return False
    low_high = [[int(end) for end in part.split("..")] for part in months.split(",")]
    longest = max(_LONGEST_MONTH[month - 1] for ends in low_high for month in range(ends[0], ends[-1] + 1))
    return min(number for number, _ in _numbers(days)) > longest
