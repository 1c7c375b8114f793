"""Nothing joins the live color unproven, in a deploy as in a dry run."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import Reading, Unit
from bluegreen.checks.finding import Finding
from bluegreen.checks.release_facts import UsedConfiguration
from bluegreen.checks.run import findings_in
from bluegreen.errors import BlueGreenError, DropletRefusedError, HostKeyError
from bluegreen.fleet.droplets import Droplet, Fleet
from tests.unit import facts as calm
from tests.unit.fleets import FLEET, V1, V2, droplet, facts, released
from tests.unit.provision import Check
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

NAME = "my-perl-app-blue-2"
UNREACHABLE = BlueGreenError(f"{NAME} cannot be reached by SSH")
REFUSED = DropletRefusedError(f"{NAME} refused the login")
REBUILT = HostKeyError(f"{NAME} answers with another SSH host key than the recorded one")

Said = Any


def stranger(name: str = NAME, **changes: Any) -> Droplet:
    return droplet(9, name).model_copy(update=changes)


def with_blue(*members: Droplet) -> Fleet:
    return FLEET.model_copy(update={"blue": (*FLEET.blue, *members)})


def knowing(*members: Droplet) -> Any:
    """What a proxy says that has these in its running configuration, beside the others."""
    servers = {str(color): [one.model_dump() for one in found] for color, found in status().servers.items()}
    known = {"port": 8080, "up": True, "check": "L7OK"}
    servers["blue"] += [{"name": one.name, "address": one.private, **known} for one in members]
    return status(servers=servers)


def deployed(
    monkeypatch: pytest.MonkeyPatch, member: Droplet, said: Said, *, known: bool = False, **settings: Any
) -> Check:
    """Run the deploy's check with one more droplet in the live color."""
    check = Check(monkeypatch, revision=V2, **settings)
    check.fleet = with_blue(member)
    check.facts[member.name] = said
    if known:
        check.statuses = dict.fromkeys(check.statuses, knowing(member))
    check.run()
    return check


def dry_run(member: Droplet, said: Said, *, known: bool = False) -> list[Finding]:
    """Return what a dry run finds about the droplet."""
    told = calm.server(current=said.current) if not isinstance(said, BlueGreenError) else None
    fleet = with_blue(member)
    reading = told or Reading[Any](said, 1.0, 2.0)
    servers = {name: calm.server() for name in ("blue-1", "green-1")}
    found = findings_in(
        calm.facts(
            fleet=fleet,
            account=Account((), calm.HOME),
            statuses=dict.fromkeys(("lb-1", "lb-2"), knowing(member) if known else status()),
            servers=servers if member.status == "off" else {**servers, member.name: reading},
        )
    )
    return [one for one in found if one.subject == member.name]


@pytest.mark.parametrize(
    ("member", "said", "why"),
    [
        (stranger("evil"), facts(), "the settings ask for no droplet of that name in blue"),
        (stranger("evil"), UNREACHABLE, "the settings ask for no droplet of that name in blue"),
        (stranger("my-perl-app-green-1"), facts(), "the settings ask for no droplet of that name in blue"),
        (stranger(), UNREACHABLE, "cannot be reached by SSH"),
        (stranger(), REFUSED, "refused the login"),
        (stranger(), REBUILT, "answers with another SSH host key"),
        (stranger(host_key=None), HostKeyError("no SSH host key is recorded for it"), "no SSH host key is"),
        (stranger(status="off"), BlueGreenError(f"{NAME} is 'off' instead of active"), "is 'off' instead"),
        (stranger(private=None), facts(), "has no private address"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str | BlueGreenError) else "",
)
def test_a_droplet_that_does_not_prove_itself_stops_deploy_and_dry_run_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, member: Droplet, said: Said, why: str
) -> None:
    with pytest.raises(AirflowFailException) as refused:
        deployed(monkeypatch, member, said)
    words = "it carries the tag of the live color (env:blue) and is not proven to belong there: "
    assert f"{member.name} ({member.public}): {words}" in str(refused.value)
    assert why in str(refused.value)
    [found] = [one for one in dry_run(member, said) if words in one.what]
    assert found.severity == "error"
    assert f"{found.what}; {found.advice}" in str(refused.value) or member.status == "off"


def test_a_droplet_that_proves_itself_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = deployed(monkeypatch, stranger(), facts()).said["plan"]
    assert [one["name"] for one in plan["fleet"]["blue"]] == ["blue-1", NAME]
    assert not [one for one in dry_run(stranger(), facts()) if "live color" in one.what]


@pytest.mark.parametrize(
    ("said", "has"),
    [
        (facts(V2), "bbbbbbbbbbbb"),
        (facts(None), "no release"),
        (facts(unit=Unit(ActiveState="failed")), "stopped"),
        (facts(current=released(V1, "2")), "another artifact of aaaaaaaaaaaa"),
        (facts(configuration=UsedConfiguration(digest="e" * 64)), "aaaaaaaaaaaa with another configuration"),
    ],
)
def test_a_droplet_that_is_new_in_the_live_color_gets_no_traffic_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, said: Said, has: str
) -> None:
    plan = deployed(monkeypatch, stranger(), said).said["plan"]
    assert [one["name"] for one in plan["fleet"]["blue"]] == ["blue-1"]
    [told] = [one for one in plan["warnings"] if NAME in one]
    assert "it is new in the live color (blue)" in told
    assert has in told
    advice = "the next one moves traffic away from there, the one after it comes here"
    if said.current is None:
        advice = "run bluegreen_provision__my_perl_app, which installs it from the artifact store"
    assert advice in told


def test_a_new_droplet_is_a_reason_to_deploy_what_is_live_already(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V1)
    check.fleet = with_blue(stranger())
    check.facts[NAME] = facts(None)
    assert check.run() == ["198.18.0.4"]


@pytest.mark.parametrize("said", [UNREACHABLE, REFUSED, facts(V2)], ids=str)
def test_a_droplet_that_haproxy_has_already_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    member = stranger("blue-of-yesterday")
    plan = deployed(monkeypatch, member, said, known=True).said["plan"]
    assert [one["name"] for one in plan["fleet"]["blue"]] == ["blue-1", member.name]
    assert {one.severity for one in dry_run(member, said, known=True)} <= {"warning"}


def test_a_live_droplet_that_was_powered_off_stops_no_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    off = stranger(status="off")
    plan = deployed(monkeypatch, off, BlueGreenError(f"{off.off}"), known=True).said["plan"]
    assert any("is 'off'" in warning for warning in plan["warnings"])
    assert [one.severity for one in dry_run(off, UNREACHABLE, known=True)] == ["warning"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (stranger(), REBUILT),
        (stranger(host_key=None), UNREACHABLE),
    ],
)
def test_a_droplet_that_haproxy_has_must_still_be_the_same_machine(
    monkeypatch: pytest.MonkeyPatch, member: Droplet, said: Said
) -> None:
    with pytest.raises(AirflowFailException, match="not proven to belong there: HAProxy has it, but"):
        deployed(monkeypatch, member, said, known=True)
    assert "error" in {one.severity for one in dry_run(member, said, known=True)}


def test_a_known_name_at_another_address_is_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    moved = FLEET.blue[0].model_copy(update={"private": IPv4Address("198.19.0.77")})
    check.fleet = FLEET.model_copy(update={"blue": (moved,)})
    with pytest.raises(AirflowFailException, match="no droplet of that name"):
        check.run()


def test_where_all_that_was_live_is_gone_a_deploy_goes_on_with_what_came_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision=V2)
    check.fleet = FLEET.model_copy(update={"blue": (stranger(),)})
    check.facts[NAME] = facts(None, unit=Unit(ActiveState="inactive"))
    assert check.run() == ["198.18.0.4"]
    assert [one["name"] for one in check.said["plan"]["fleet"]["blue"]] == [NAME]


@pytest.mark.parametrize("revision", [None, V1])
def test_a_rollback_goes_on_without_what_no_deploy_has_reached(
    monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    check = Check(monkeypatch, goes_back=True)
    proxies = (droplet(7, "lb-7").model_copy(update={"status": "new"}), droplet(8, "lb-8"))
    check.fleet = Fleet(
        proxies=(*FLEET.proxies, *proxies),
        blue=(*FLEET.blue, stranger("evil")),
        green=(*FLEET.green, stranger("my-perl-app-green-2", id=10)),
    )
    unborn = {"version": "0.0", "running": False, "config_sha256": None, "workers": 0}
    check.statuses["lb-7"] = BlueGreenError("lb-7 cannot be reached by SSH")
    check.statuses["lb-8"] = status(None, haproxy=unborn, map_file=None, map_running=None, servers={})
    check.facts |= {"evil": UNREACHABLE, "my-perl-app-green-2": facts(None)}
    assert check.run(revision=revision) == ["198.18.0.4"]
    planned = Fleet.model_validate(check.said["plan"]["fleet"])
    assert {one.name for one in planned.droplets} == {one.name for one in FLEET.droplets}
