"""Whether a one-off command may run, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.release_name import is_release
from bluegreen.errors import BlueGreenError
from bluegreen.operators.support.asking_fleet import AsksFleet
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.one_off import require_user_of
from bluegreen.operators.support.seals import Seals
from bluegreen.run.one_off import CommandTarget, command_in

if TYPE_CHECKING:
    from bluegreen.checks.facts import Facts
    from bluegreen.color import Color
    from bluegreen.operators.support.this_run import ThisRun


class RunCheckOperator(AsksFleet, BlueGreenOperator):
    """Find the live release and a live droplet, once for all tries of the task ``run_command``.

    It takes no lock: a command is in nobody's way, least of all in that of a rollback.
    """

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`CommandTarget`.

        :raises PolicyError: if the app's file does not let this user run commands.
        :raises BlueGreenError: if there is no command, or no live droplet that could run it.
        """
        require_user_of(run, self.app)
        run.refuse_unknown_params()
        command_in(run.params)
        fleet = self.read_fleet(goes_back=True)
        facts = self.facts_of(fleet, *self.ask(fleet))
        if facts.live is None:
            raise BlueGreenError(
                f"nobody can say which color is live; nothing was run; see bluegreen_status__{self.app_id}"
            )
        target = self._target(facts, facts.live)
        found = target.model_dump(mode="json")
        self.log.info("%s runs %s, which is live", target.droplet.label, target.release)
        Seals(run, self.app).seal_finding(found)
        return found

    def _target(self, facts: Facts, live: Color) -> CommandTarget:
        """Return the first live droplet that runs a release, and what it runs.

        :raises BlueGreenError: naming why each of them cannot.
        """
        servers, why = dict(facts.read_servers()), []
        for droplet in facts.fleet.color(live):
            server = servers.get(droplet)
            if server is None:
                reading = facts.servers.get(droplet.name)
                why.append(str(reading.answer) if reading else f"{droplet.label} is {droplet.status}")
                continue
            release, used = server.current or "", server.configuration
            if server.unit.ActiveState == "active" and is_release(release) and used and not used.problem:
                return CommandTarget(live=live, droplet=droplet, release=release, configuration=used.digest)
            why.append(f"{droplet.label} does not run a release with a configuration as a deploy leaves it")
        raise BlueGreenError(f"no live droplet can run the command: {'; '.join(why) or 'there is none'}")
