"""Views as HTML. Everything that is printed is escaped; no text becomes markup, a style or a program."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bluegreen.page.records import AppRecords
from bluegreen.page.site import ASSETS, PREFIX
from bluegreen.page.view import app_view

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def render(
    template: str, apps: Sequence[AppRecords], *, base: str, only: str | None, now: datetime | None = None
) -> str:
    """Return a template with what the records of apps say.

    :param base: where Airflow begins on its host.
    :param only: the app that the reader has chosen, if any.
    """
    now = now or datetime.now(UTC)
    views = [app_view(one, now) for one in apps]
    return (
        _environment()
        .get_template(template)
        .render(
            apps=views,
            kinds={one.app_id: one.kinds for one in apps},
            active=any(one.active for one in apps),
            base=base,
            page=f"{base}{PREFIX}",
            only=only,
            now=now,
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"part": lambda text: quote(str(text), safe=""), "age": age, "left": left, "iso": iso}
    return made


def age(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, in its largest unit, for example ``3 minutes``."""
    seconds = (now - moment).total_seconds()
    for unit, length in _UNITS:
        if (number := int(seconds // length)) >= 1:
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "now"


def left(moment: datetime, now: datetime) -> str:
    """Return how long it is until a moment, in its largest unit, for example ``3 minutes``."""
    # What is 59.5 seconds away is a minute away.
    return age(now, moment + timedelta(seconds=0.5)).removesuffix(" ago")


def iso(moment: datetime) -> str:
    """Return a moment as HTML's ``time`` wants it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")
