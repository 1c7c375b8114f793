"""What the tasks share that run a one-off command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.run.one_off import require_user

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.settings.app import App


def require_user_of(run: ThisRun, app: App) -> str:
    """Return the user who has triggered a run, as Airflow knows it, and may run commands.

    :raises PolicyError: naming the setting.
    """
    about = run.context["dag_run"]
    return require_user(app, about.run_type.value, about.triggering_user_name, bool(about.clear_number))
