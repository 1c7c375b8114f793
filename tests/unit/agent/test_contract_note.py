"""The agent on a proxy: a run that is about to run a contract writes that down before it does."""

from __future__ import annotations

from typing import Any

from tests.unit.local_haproxy import Deployed

BEGUN = {"dag_id": "bluegreen_contract__shop", "run_id": "c", "attempt": 0}


def lock(deployed: Deployed, run_id: str, **about: Any) -> int:
    request = {"owner": "bob", "run_id": run_id, "ref": "contract", "over": deployed.token, **about}
    token: int = deployed.world.ok("lock", **request)["token"]
    return token


def test_it_is_known_as_long_as_the_run_has_its_lock_and_from_the_record_of_a_dead_run(
    deployed: Deployed,
) -> None:
    world = deployed.world
    deployed.token = lock(deployed, "c", begun=BEGUN)
    assert deployed.status()["lock"]["contracts"] is False
    world.ok("renew", token=deployed.token, contracts=True)
    world.ok("renew", token=deployed.token)
    assert deployed.status()["lock"]["contracts"] is True
    # A retry of the task lock, whose answer was lost.
    world.ok("lock", owner="bob", run_id="c", ref="contract", begun=BEGUN)
    assert deployed.status()["lock"]["contracts"] is True
    assert world.ok("ledger", last=9)["records"] == []
    deployed.token = lock(deployed, "next", begun={**BEGUN, "run_id": "next"})
    assert deployed.status()["lock"]["contracts"] is False
    [record] = world.ok("ledger", last=9)["records"]
    assert (record["run_id"], record["contracted"]) == ("c", True)


def test_a_dead_run_that_had_not_begun_its_contract_has_run_none(deployed: Deployed) -> None:
    deployed.token = lock(deployed, "c", begun=BEGUN)
    lock(deployed, "next", begun={**BEGUN, "run_id": "next"})
    [record] = deployed.world.ok("ledger", last=9)["records"]
    assert "contracted" not in record


def test_another_run_cannot_write_it_down(deployed: Deployed) -> None:
    old, deployed.token = deployed.token, lock(deployed, "c", begun=BEGUN)
    assert deployed.world.refused("renew", token=old, contracts=True)[0] == "lock_lost"
    assert deployed.status()["lock"]["contracts"] is False
