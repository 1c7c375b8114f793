"""Whether a contract may run, with which release, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.seals import NO_REVISION
from bluegreen.run.contract import ContractTarget, release_to_contract, still_needed
from bluegreen.traffic.live import live_color

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class ContractCheckOperator(LockedOperator):
    """Find the live release and the first idle droplet, once for all tries of the task ``contract``."""

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`ContractTarget`.

        :raises BlueGreenError: if anything is undecided; if the release from before may still be needed,
            unless the DAG's param ``i_know`` is set.
        """
        statuses = self.proxies().statuses()
        live = live_color(statuses)
        if live is None:
            raise BlueGreenError("nothing is live, so there is nothing to contract")
        found = release_to_contract(live, statuses)
        if why := still_needed(live, statuses, self.app.migrations.keep_warm):
            if not run.params.get("i_know"):
                raise BlueGreenError(f"{why}; wait, or set `i_know`; nothing was run")
            self.log.warning("%s", why)
        idle = self.read_fleet().color(live.other)
        if not idle:
            raise BlueGreenError("there is no idle droplet that could run the commands")
        target = ContractTarget(
            live=live,
            revision=found.revision,
            release=found.release,
            configuration=found.configuration,
            droplet=idle[0],
        ).model_dump(mode="json")
        self.log.info("%s runs the contract of %s", idle[0].label, found.release)
        self.seals(run).seal_result(NO_REVISION, target)
        return target
