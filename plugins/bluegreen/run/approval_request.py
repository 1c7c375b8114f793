"""The Markdown shown to the person who approves a switch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluegreen.errors import PolicyError
from bluegreen.release.migrations import Migration
from bluegreen.run.plan import Plan
from bluegreen.run.processes import listed
from bluegreen.settings.app import App
from bluegreen.settings.policy import Demand
from bluegreen.settings.traffic import Affinity
from bluegreen.traffic.preview_access import ways_to_look
from bluegreen.validation.own_requests import Sample

MOST_COMMITS = 30
# What was answered is gone then; see bluegreen.api.early_answers.
ASKED_AGAIN = "Asked again: Airflow loses an answer within seconds of the question. Answer once more."


def demanded_by(app: App, params: Mapping[str, Any], *, irreversible: bool) -> str | None:
    """Return the setting or parameter that demands an approval; ``None`` if none does.

    :param params: the run's.
    :param irreversible: whether there is no way back from the release.
    """
    policy = app.policy
    if policy.approval is Demand.ALWAYS:
        return "setting policy.approval: always"
    if policy.approval is Demand.ASKED and params.get("require_approval"):
        return "setting policy.approval: asked, parameter require_approval"
    if policy.approvers and params.get("emergency"):
        return "setting policy.approvers, parameter emergency"
    if policy.approvers and irreversible:
        return "setting policy.approvers, for an irreversible release"
    return None


def refuse_approver(app: App, names: Collection[str], triggered_by: str | None) -> None:
    """Make sure that a user may approve a run.

    :param names: the names by which Airflow knows the approver; the first one is shown.
    :param triggered_by: the user who triggered the run, if a user did.
    :raises PolicyError: if somebody else has to approve it, naming the setting.
    """
    who, approvers = next(iter(names), "nobody"), app.policy.approvers
    others = f"one of {', '.join(approvers)}" if approvers else "somebody else"
    if triggered_by is not None and triggered_by.casefold() in {name.casefold() for name in names}:
        raise PolicyError(
            f"not approved: {who} triggered this run, and {others} who did not has to approve it "
            "(settings policy.approval and policy.approvers)"
        )
    if not names or (approvers and not set(approvers) & set(names)):
        raise PolicyError(f"not approved: {who} may not approve it, but {others} (setting policy.approvers)")


@dataclass(frozen=True)
class Request:
    """The switch to approve.

    :param app: the app.
    :param plan: the run's plan.
    :param revision: the revision that gets the traffic.
    :param baseline: the live color's answers in the preview check.
    :param unproven: paths that neither color answers well.
    :param reason: the reason that the triggering user gave.
    :param emergency: whether absolute limits alone judge the new release.
    :param migration: what was run for the new release, if the app has migrations.
    :param again: whether it was asked before.
    """

    app: App
    plan: Plan
    revision: str
    baseline: Sequence[Sample]
    reason: str = ""
    unproven: Sequence[str] = ()
    emergency: bool = False
    migration: Migration | None = None
    again: bool = False

    @property
    def live_revision(self) -> str | None:
        """The live revision, or ``None`` if nothing is live or it is unknown."""
        seen = Counter(sample.revision for sample in self.baseline if sample.revision)
        return str(seen.most_common(1)[0][0]) if seen else None

    @property
    def range(self) -> tuple[str, str] | None:
        """The live and the new revision; ``None`` if there are no commits in between."""
        live = self.live_revision
        return None if live in (None, self.revision) else (str(live), self.revision)

    def markdown(self, commits: Sequence[str] | None) -> str:
        """Return the whole text; words of users and of commits are escaped, so that they are not Markdown.

        :param commits: lines of :func:`~bluegreen.source.policy.commits_between`, or ``None`` if unknown.
        """
        plan = self.plan
        parts = [f"**{ASKED_AGAIN}**"] if self.again else []
        parts += [
            f"Traffic of **{self.app.id}** moves from **{plan.live or 'nothing'}** "
            f"({(self.live_revision or 'unknown')[:12]}) to **{plan.idle}** ({self.revision[:12]}).",
        ]
        if plan.irreversible:
            parts += [
                "**There is no way back.** Traffic stays on this release even if it is bad, because it "
                "declares itself irreversible:",
                _verbatim([plan.irreversible]),
            ]
        if plan.live and (after := self.app.seconds_until_stop):
            parts += [
                f"{plan.live} is stopped {after} s after the switch is confirmed (server.stop_idle_after)."
            ]
        if plan.live and self.app.traffic.affinity is Affinity.COOKIE:
            parts += [_sessions(plan)]
        if names := [*self.app.processes, *self.app.timers]:
            parts += [
                f"Once the switch is confirmed, {plan.idle} runs its processes and timers: {listed(names)}."
            ]
        if self.reason:
            parts += ["Why:", _verbatim([self.reason])]
        parts += ["Checked:", "\n".join(f"- {line}" for line in self._checks())]
        if self.migration and (ran := str(self.migration)):
            parts += ["Migrations:", _verbatim([ran])]
        parts += ["Look at it yourself:", _verbatim(ways_to_look(self.app, plan.fleet.proxies))]
        return "\n\n".join([*parts, *self._commits(commits)])

    def _checks(self) -> list[str]:
        droplets = ", ".join(droplet.label for droplet in self.plan.idle_droplets)
        paths = ", ".join(dict.fromkeys([*self.app.validation.paths, self.app.health.path]))
        failed = sum(sample.failed for sample in self.baseline)
        checks = [
            f"built, started and healthy on {droplets}",
            f"the new release answers by the preview host: {paths}",
        ]
        checks += [f"warning: {path} proves nothing, it has no good answers" for path in self.unproven]
        if self.baseline:
            checks.append(f"the live release: {len(self.baseline)} requests meanwhile, {failed} failed")
        warnings = [self.plan.older] if self.plan.older else []
        if self.emergency:
            warnings.append("an emergency: absolute limits alone judge the new release")
        return [*checks, *(f"warning: {warning}" for warning in [*warnings, *self.plan.warnings])]

    def _commits(self, commits: Sequence[str] | None) -> list[str]:
        if self.live_revision == self.revision:
            return ["The same revision is live already."]
        if commits is None:
            return ["Which commits are in between is not known."]
        shown = [_SIGNS.get(line[:1], " ") + line[1:] for line in commits[:MOST_COMMITS]]
        more = ["… and more"] if len(commits) > MOST_COMMITS else []
        return ["Commits, the newest first (+ new, - no longer in):", _verbatim([*shown, *more])]


def _sessions(plan: Plan) -> str:
    return (
        f"Every client is sent to a droplet of {plan.idle}. Sessions that {plan.live}'s droplets keep in "
        "files or memory are not there: whoever has one logs in again (traffic.affinity)."
    )


_SIGNS = {">": "+", "<": "-"}


def _verbatim(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
