"""When a dry run starts by itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from croniter import CroniterError, croniter

# Airflow's own names, and what each stands for.
SCHEDULES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}


def check_schedule(schedule: str) -> str:
    """Refuse schedules that Airflow's scheduler cannot use: one stops the parsing of all apps' DAGs."""
    allowed = (
        'allowed is cron\'s notation with its five fields, for example "0 3 * * *", one of '
        f"{', '.join(SCHEDULES)}, or null for never"
    )
    expression = SCHEDULES.get(schedule, schedule)
    # croniter also accepts fields for seconds and years, and R for a random moment.
    if not re.fullmatch(r"[0-9A-Za-z*,/#?-]+( +[0-9A-Za-z*,/#?-]+){4}", expression, re.ASCII):
        raise ValueError(allowed)
    if re.search(r"(?<![A-Za-z])[RrHh](?![A-Za-z])", expression) or not croniter.is_valid(expression):
        raise ValueError(allowed)
    try:
        now = datetime.now(UTC)
        croniter(expression, now).get_next()
        croniter(expression, now).get_prev()
    except CroniterError:
        raise ValueError(f"there is no such day in any year; {allowed}") from None
    return schedule
