"""Ledgers are compared: what was changed on one proxy is found, and a proxy that was away is not accused."""

from __future__ import annotations

from typing import Any

from bluegreen.checks.facts import Facts, Proxy, Reading
from bluegreen.checks.finding import Severity
from bluegreen.checks.ledger_facts import LedgerChain
from bluegreen.checks.ledgers import chains, different, missing_records, rewritten
from bluegreen.checks.run import findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.fleet.droplets import Fleet
from tests.unit.facts import FLEET, MACHINE, NOW, droplet, facts
from tests.unit.statuses import status

TWO = Fleet(proxies=(droplet(1, "lb-1"), droplet(2, "lb-2")), blue=FLEET.blue, green=FLEET.green)


def digest(name: str, number: int) -> str:
    """The digest of a line of a proxy's ledger."""
    return f"{name}-{number}".ljust(64, "0")


def line(number: int, seen: dict[str, int], **changes: Any) -> dict[str, Any]:
    """Record of a run, which has seen so many lines on each proxy before."""
    heads = {name: digest(name, count) for name, count in seen.items() if count}
    record = {"run": f"deploy/run-{number}", "ledgers": heads, "outcome": "live and confirmed", **changes}
    return {"digest": digest(f"record {number} {changes}", 0), **record}


def ledger(name: str, records: list[dict[str, Any]], **changes: Any) -> LedgerChain:
    known = tuple(digest(name, number)[:16] for number in range(1, len(records) + 1))
    said = {"lines": len(records), "problems": (), "digests": known, "recent": records}
    return LedgerChain.model_validate({**said, **changes})


def known(**ledgers: LedgerChain) -> Facts:
    proxies = {
        name.replace("_", "-"): Reading(
            Proxy(**MACHINE, config_error="", certificates={}, probes={}, ledger=one), NOW - 1, NOW + 1
        )
        for name, one in ledgers.items()
    }
    return facts(fleet=TWO, statuses={"lb-1": status(), "lb-2": status()}, proxies=proxies)


def runs(*numbers: int, **changes: Any) -> list[dict[str, Any]]:
    """The records of runs that have found both proxies as they should be."""
    return [line(number, {"lb-1": number - 1, "lb-2": number - 1}, **changes) for number in numbers]


def test_ledgers_that_agree_have_no_findings() -> None:
    calm = known(lb_1=ledger("lb-1", runs(1, 2, 3)), lb_2=ledger("lb-2", runs(1, 2, 3)))
    assert [*chains(calm), *rewritten(calm), *different(calm)] == []


def test_a_broken_chain_is_a_warning_of_the_dry_run_and_of_the_status() -> None:
    broken = known(
        lb_1=ledger("lb-1", runs(1), problems=("run-1 was changed",)), lb_2=ledger("lb-2", runs(1))
    )
    (found,) = chains(broken)
    assert (found.subject, found.severity) == ("lb-1", Severity.WARNING)
    assert found.what == "its ledger was changed: run-1 was changed"
    assert found in findings_in(broken)
    assert any("run-1 was changed" in each for each in lines_of(status_of(broken, findings_in(broken), [])))


def test_a_chain_that_was_rewritten_as_a_whole_is_found_by_what_the_other_proxy_has() -> None:
    # Run 2 is gone, everything after it has new digests, and no link is broken.
    rewritten_digests = (digest("lb-1", 1)[:16], "other".ljust(16, "0"))
    changed = ledger("lb-1", [*runs(1), line(3, {"lb-1": 1})], digests=rewritten_digests)
    (found,) = rewritten(known(lb_1=changed, lb_2=ledger("lb-2", runs(1, 2, 3))))
    assert found.subject == "lb-1"
    assert found.what.startswith(
        "its ledger lacks what 1 of the last runs have seen there, among them deploy/run-3:"
    )


def test_the_last_lines_of_a_ledger_cannot_be_cut_off_either() -> None:
    found = list(rewritten(known(lb_1=ledger("lb-1", runs(1)), lb_2=ledger("lb-2", runs(1, 2, 3)))))
    assert [each.subject for each in found] == ["lb-1"]


def test_an_answer_without_digests_proves_nothing() -> None:
    empty = ledger("lb-1", runs(1, 2, 3), digests=("",))
    assert list(rewritten(known(lb_1=empty, lb_2=ledger("lb-2", runs(1, 2, 3)))))


def test_a_ledger_that_was_not_examined_is_a_finding_and_accuses_nobody() -> None:
    unread = LedgerChain(lines=0, unread="facts ran out of time", problems=(), digests=(), recent=())
    slow = known(lb_1=unread, lb_2=ledger("lb-2", runs(1, 2, 3)))
    (found,) = chains(slow)
    assert (found.subject, found.what) == ("lb-1", "its ledger was not examined: facts ran out of time")
    assert [*rewritten(slow), *different(slow)] == []
    assert missing_records(slow) == {"lb-2": (0, 3)}


def test_a_proxy_that_was_away_is_not_accused_and_the_status_counts_what_it_lacks() -> None:
    # While runs 2 and 3 ended, lb-2 was away: they saw nothing of it, and it has lines 1 and 4 only.
    first, last = runs(1)[0], line(4, {"lb-1": 3, "lb-2": 1})
    meanwhile = [line(number, {"lb-1": number - 1}) for number in (2, 3)]
    away = known(
        lb_1=ledger("lb-1", [first, *meanwhile, last]),
        lb_2=ledger("lb-2", [first, last]),
    )
    assert [*chains(away), *rewritten(away), *different(away)] == []
    assert missing_records(away) == {"lb-1": (0, 4), "lb-2": (2, 4)}
    shown = "\n".join(lines_of(status_of(away, [], [])))
    assert "its ledger lacks 2 of the last 4 runs" in shown


def test_a_record_that_differs_between_proxies_is_named_with_what_differs() -> None:
    changed = [*runs(1), *runs(2, triggered_by="mallory")]
    (found,) = different(known(lb_1=ledger("lb-1", runs(1, 2)), lb_2=ledger("lb-2", changed)))
    assert (found.subject, found.what) == (
        "lb-1, lb-2",
        "their ledgers differ in the record of deploy/run-2: triggered_by",
    )


def test_a_record_that_differs_in_what_is_not_shown_is_named_too() -> None:
    changed = [*runs(1), {**runs(2)[0], "digest": digest("its command is another", 0)}]
    (found,) = different(known(lb_1=ledger("lb-1", runs(1, 2)), lb_2=ledger("lb-2", changed)))
    assert found.what == "their ledgers differ in the record of deploy/run-2: details"


def test_records_with_two_times_may_be_of_a_report_that_was_tried_again() -> None:
    first, second = runs(1, ended="2026-12-01T03:00:00Z"), runs(1, ended="2026-12-01T03:05:00Z")
    (found,) = different(known(lb_1=ledger("lb-1", first), lb_2=ledger("lb-2", second)))
    assert found.what == (
        "their ledgers differ in the record of deploy/run-1: ended; the task report leaves that, too, if its"
        " worker died and it was tried again"
    )
    assert "compare both with Airflow's copy" in found.advice


def test_what_each_proxy_presumes_of_a_dead_run_may_differ() -> None:
    presumed = line(2, {}, presumed=True, outcome="ended without a report")
    differ = known(lb_1=ledger("lb-1", runs(1, 2)), lb_2=ledger("lb-2", [*runs(1), presumed]))
    assert list(different(differ)) == []
