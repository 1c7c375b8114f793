"""Running an app's own commands on the droplets that a run deploys to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.job_log import JobLog
from bluegreen.release.jobs import JobState
from bluegreen.release.lifecycle_commands import command_program, hook_unit, hooks_at
from bluegreen.settings.app import App
from bluegreen.settings.hooks import Hook, Moment

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.run.plan import Plan

WARNINGS_KEY = "hook_warnings"
RULES = {Moment.ON_FAILURE: "all_done"}


class LifecycleCommandsOperator(LockedOperator):
    """Run the commands that the app's settings have for a moment, one after the other.

    Each is a transient unit on its droplet, which a retry attaches to; still, a command may run twice.

    :param moment: which commands.
    :param revision: what is deployed; templated.
    """

    template_fields: Sequence[str] = (*LockedOperator.template_fields, "revision")

    def __init__(self, *, moment: Moment, revision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moment = moment
        self.revision = revision

    def require_seals(self, run: ThisRun) -> None:
        """Make sure, before the switch, that what other tasks left is what the run's own tasks found.

        :raises PolicyError: if they are not.
        """
        if not self.moment.stops_the_deploy:
            return
        self.seals(run).require_revision(self.revision)
        plan = run.plan
        self.seals(run).require_plan(self.revision, plan)
        if self.moment is Moment.BEFORE_SWITCH:
            self.seals(run).require_result("build", self.revision, run.output("build"))
            self.seals(run).require_approval(
                self.revision, irreversible=plan is not None and plan.irreversible is not None
            )

    def act(self, run: ThisRun) -> None:
        """Run them; what fails stops a deploy only before traffic moves, and is a warning after that.

        :raises BlueGreenError: with the command, the droplet and the command's last line.
        """
        if not self._is_now(run):
            raise AirflowSkipException(f"nothing to do {self.moment.replace('_', ' ')}")
        plan = run.plan
        if plan is None:
            raise AirflowSkipException(
                f"nothing was run {self.moment.replace('_', ' ')}: the run ended before it was known which "
                "droplets it is for"
            )
        proxies = self.proxies()
        if self.moment.stops_the_deploy:
            # Also in a run that was cleared from here on after its switch.
            proxies.require_idle(plan.idle)
        else:
            proxies.renew()
        warnings = []
        for number, hook in enumerate(hooks_at(self.app, self.moment), 1):
            for droplet in plan.idle_droplets[: 1 if hook.droplets == "one" else None]:
                try:
                    self._run_one(droplet, hook, number, plan, run, proxies)
                except BlueGreenError as error:
                    if self.moment.stops_the_deploy:
                        raise
                    self.log.warning("%s", error)
                    warnings.append(str(error))
        run.push(WARNINGS_KEY, warnings)

    def _is_now(self, run: ThisRun) -> bool:
        states = run.states
        if self.moment is Moment.BEFORE_SWITCH:
            return states.get("preview_check") == "success"
        if self.moment is Moment.AFTER_ROLLBACK:
            return run.rollback is not None and run.rollback.taken_back
        if self.moment is Moment.ON_FAILURE:
            return "failed" in states.values()
        return True

    def _run_one(
        self,
        droplet: Droplet,
        hook: Hook,
        number: int,
        plan: Plan,
        run: ThisRun,
        proxies: ProxiesHook,
    ) -> None:
        facts = {
            "APP": self.app_id,
            "MOMENT": self.moment.value,
            "REF": run.params["ref"] or "",
            "REVISION": self.revision,
            "FROM": plan.live or "none",
            "TO": plan.idle,
            "COLOR": plan.idle,
            "DROPLET": droplet.name,
            "DAG_ID": run.dag_id,
            "RUN_ID": run.run_id,
        }
        unit = hook_unit(self.app_id, self.moment, number)
        release, _ = run.started or ("", "")
        program = command_program(self.app_id, unit, hook, release, facts)
        what = f"{self.moment.value}: {hook.command[0]} on {droplet.label}"
        self.log.info("%s", what)
        agent, log = DropletAgentHook.of(droplet, self.app), JobLog(self.log)
        with RemoteJob(agent, self.app_id, unit, self.held_lock.fencing_token) as job:
            with refusals_explained(proxies):
                job.start(run.run_id, program, hook.timeout)
            report = job.follow(log.write, proxies.renew_in_time)
            self._clean(job)
        if report.state is not JobState.SUCCESS:
            took = f"took longer than {hook.timeout} s" if report.result == "timeout" else ""
            status = took or f"ended with {report.exit_status if report.exit_status else report.result}"
            last_line = f": {log.last[-1]}" if log.last else ""
            raise BlueGreenError(f"{what} {status}{last_line}")

    def _clean(self, job: RemoteJob) -> None:
        """Remove the command's traces; how it ended is known by now, so nothing depends on it."""
        try:
            job.end()
        except BlueGreenError as error:
            self.log.warning("traces of the command are left, a later one removes them: %s", error)


def lifecycle_commands(
    app: App, *, lock: Any, revision: Any
) -> Callable[[Moment], list[LifecycleCommandsOperator]]:
    """Return a function that makes the task of a moment, for the place where the procedure has it.

    The function returns a list of that one task; an empty list if the app has no commands for the moment.
    """

    def task_at(moment: Moment) -> list[LifecycleCommandsOperator]:
        if not hooks_at(app, moment):
            return []
        return [
            LifecycleCommandsOperator(
                task_id=moment.value,
                moment=moment,
                lock=lock,
                revision=revision,
                trigger_rule=RULES.get(moment, "all_success"),
            )
        ]

    return task_at
