"""What somebody is shown who is to approve a switch, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluegreen.app import App
from bluegreen.good_answer import is_good
from bluegreen.look import ways_to_look
from bluegreen.plan import Plan
from bluegreen.system_names import FETCH_USER

MOST_COMMITS = 30


@dataclass(frozen=True)
class Request:
    """What is to be switched.

    :param app: the app.
    :param plan: the run's plan.
    :param revision: what gets the traffic.
    :param baseline: what the live color answered in the preview check.
    :param unproven: paths that neither color answers well.
    :param reason: why, in the words of who triggered the run.
    """

    app: App
    plan: Plan
    revision: str
    baseline: Sequence[Mapping[str, Any]]
    reason: str = ""
    unproven: Sequence[str] = ()

    @property
    def live_revision(self) -> str | None:
        """What has the traffic now, or ``None`` if nothing has, or did not say."""
        seen = Counter(sample["revision"] for sample in self.baseline if sample["revision"])
        return str(seen.most_common(1)[0][0]) if seen else None

    def log_command(self) -> list[str] | None:
        """The command that lists the commits in between, on a droplet; ``None`` if there is no "between"."""
        if self.live_revision in (None, self.revision):
            return None
        mirror = ["git", "-C", f"/opt/{self.app.system_name}/repo.git"]
        marks = ["--left-right", "--cherry-mark", "--format=%m %h %s (%an)"]
        limit = f"--max-count={MOST_COMMITS + 1}"
        between = f"{self.live_revision}...{self.revision}"
        return ["runuser", "-u", FETCH_USER, "--", *mirror, "log", limit, *marks, between, "--"]

    def markdown(self, commits: Sequence[str] | None) -> str:
        """Say everything; what users or commits say is shown as it is, not as Markdown.

        :param commits: the lines of :meth:`log_command`, or ``None`` if they are not known.
        """
        plan = self.plan
        parts = [
            f"Traffic of **{self.app.id}** moves from **{plan.live or 'nothing'}** "
            f"({(self.live_revision or 'unknown')[:12]}) to **{plan.idle}** ({self.revision[:12]}).",
        ]
        if self.reason:
            parts += ["Why:", _verbatim([self.reason])]
        parts += ["Checked:", "\n".join(f"- {line}" for line in self._checks())]
        parts += ["Look at it yourself:", _verbatim(ways_to_look(self.app, plan.fleet.load_balancers))]
        return "\n\n".join([*parts, *self._commits(commits)])

    def _checks(self) -> list[str]:
        droplets = ", ".join(droplet.label for droplet in self.plan.idle_droplets)
        paths = ", ".join(dict.fromkeys([*self.app.validation.paths, self.app.health.path]))
        failed = sum(not is_good(sample["status"], sample["statuses"]) for sample in self.baseline)
        checks = [
            f"built, started and healthy on {droplets}",
            f"the new release answers by the preview host: {paths}",
        ]
        checks += [f"warning: {path} proves nothing, it has no good answers" for path in self.unproven]
        if self.baseline:
            checks.append(f"the live release: {len(self.baseline)} requests meanwhile, {failed} failed")
        return [*checks, *(f"warning: {warning}" for warning in self.plan.warnings)]

    def _commits(self, commits: Sequence[str] | None) -> list[str]:
        if self.live_revision == self.revision:
            return ["The same revision is live already."]
        if commits is None:
            return ["Which commits are in between is not known."]
        shown = [_SIGNS.get(line[:1], " ") + line[1:] for line in commits[:MOST_COMMITS]]
        more = ["… and more"] if len(commits) > MOST_COMMITS else []
        return ["Commits, the newest first (+ new, - no longer in):", _verbatim([*shown, *more])]


_SIGNS = {">": "+", "<": "-"}


def _verbatim(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
