"""The moment traffic moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.errors import NothingToDoError
from bluegreen.operators.support.holding_lock import ReleaseOperator
from bluegreen.operators.support.links import CommitLink
from bluegreen.operators.support.started import require_started
from bluegreen.run.outcome import Outcome
from bluegreen.source.policy import require_may_be_irreversible

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.traffic.agent_answers import StartedRelease
# Statuses of an app that has answered, if only that it does not know the path.
ANSWERED = range(200, 500)


class SwitchTrafficOperator(ReleaseOperator):
    """Move traffic to a color on every proxy, until confirmed; for good if the release is irreversible.

    :param goes_back: whether the run is a rollback, which has nothing left to do if traffic is there already.
    """

    operator_extra_links = (CommitLink(),)
    _started: StartedRelease

    def __init__(self, *, goes_back: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.goes_back = goes_back

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that revision, plan and preview are what this run's own tasks have found good.

        Every idle droplet has to run what they have started there.

        :raises PolicyError: if they are not, or if the app's file wants an approval that the run does not
            have. A rollback needs none: traffic goes back to what was approved, and no one should have to be
            found for it.
        """
        super().require_seals(run)
        self.seals(run).require_done("preview_check", self.revision)
        if not self.goes_back and self.app.migrations.expand:
            self.seals(run).require_done("expand", self.revision)
        # Again, as near to the switch as can be: an instance may have been cleared since the preview.
        self._started = require_started(run, self.seals(run), self.app, self.revision, self.run_plan)
        if self.goes_back:
            return
        require_may_be_irreversible(self.app, self.revision, self._irreversible)
        approver = self.seals(run).require_approval(self.revision, irreversible=bool(self._irreversible))
        if approver:
            self.log.info("approved by %s", approver)

    @property
    def _irreversible(self) -> str | None:
        """Why there is no way back from the release; a rollback's plan says that of the release it leaves."""
        return None if self.goes_back else self.run_plan.irreversible

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return each proxy's :class:`SwitchResult` by droplet name.

        :raises ProxyError: if one refuses; then traffic is where it was.
        :raises NothingToDoError: if a dead run's timer has brought a rollback's traffic back meanwhile.
        """
        plan = self.run_plan
        hook = self.proxies()
        asked = self.app.asked_like(self.app.health.path)
        if self.goes_back:
            # A release from before may not know today's health path; HAProxy asks for the one of its deploy.
            asked["statuses"] = list(ANSWERED)
        results = hook.switch(
            to=plan.idle,
            revision=self.revision,
            started=self._started.model_dump(),
            confirm_within=self.validation(run).seconds_to_confirm,
            min_servers=len(plan.idle_droplets),
            health_path=self.app.health.path,
            irreversible=self._irreversible,
            **asked,
        )
        if self.goes_back and all(result.from_color is result.to for result in results.values()):
            raise NothingToDoError(f"traffic came back to {plan.idle} by itself", Outcome.ALREADY_LIVE)
        for name, result in results.items():
            self.log.info("%s: traffic moved to %s in %.0f ms", name, result.to, result.milliseconds)
        if self._irreversible:
            self.log.warning("there is no way back from this release: %s", self._irreversible)
        switched = {name: one.model_dump(mode="json", by_alias=True) for name, one in results.items()}
        self.seals(run).seal_result(self.revision, switched)
        return switched
