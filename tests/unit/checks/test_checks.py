"""What checks make of facts that the sandbox cannot show, how findings are told, and the script for facts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from threading import Thread
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.checks import account, drift, health, machines, proxies, revision
from bluegreen.checks.dependencies import cache_key, distributions, not_vendored
from bluegreen.checks.facts import (
    Account,
    AppServer,
    Certificate,
    ChangedFile,
    Comparison,
    Facts,
    Load,
    Mirror,
    Probe,
    Proxy,
    Reading,
    Source,
    Unit,
)
from bluegreen.checks.finding import Finding, difference, error, masked, warning, worst_first
from bluegreen.checks.gather import second_round as follow_up
from bluegreen.checks.gather.ask_machine import facts_command, facts_input
from bluegreen.checks.gather.expected import expected_unit
from bluegreen.checks.not_checked import untold
from bluegreen.checks.render import summary, table
from bluegreen.checks.run import findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.operators import check
from bluegreen.operators import status as status_operator
from bluegreen.operators.check import DryRunOperator
from bluegreen.operators.status import StatusOperator
from bluegreen.operators.support import metrics
from bluegreen.settings.app_file import load_app
from bluegreen.source.policy import Age
from tests.sandbox.certificates import self_signed
from tests.unit.operators.test_provision_check import status

NOW = 1_800_000_000.0
V1, V2 = "a" * 40, "b" * 40


def droplet(number: int, name: str, **changes: Any) -> Droplet:
    addresses = {"public": IPv4Address(f"198.18.0.{number}"), "private": IPv4Address(f"198.19.0.{number}")}
    about: dict[str, Any] = {"status": "active", "vpc": "home", "memory": 1024, "vcpus": 1, **addresses}
    return Droplet(id=number, name=name, **{**about, **changes})


MAIN = Source("main", V2)
FLEET = Fleet(proxies=(droplet(1, "lb-1"),), blue=(droplet(3, "blue-1"),), green=(droplet(4, "green-1"),))
MACHINE: dict[str, Any] = {
    "uid": 0,
    "clock": NOW,
    "disk_free_mb": 5000,
    "inodes_free": 100_000,
    "memory_mb": 2000,
    "memory_free_mb": 1000,
    "files": {},
    "unit": Unit(ActiveState="active", UnitFileState="enabled"),
}


def server(**changes: Any) -> Reading[AppServer]:
    said: dict[str, Any] = {
        "tools": dict.fromkeys(("perl", "carton", "git", "cc", "make"), "1.0"),
        "missing_users": (),
        "perl_key": "5.36.0 x86_64\n",
        "current": V1,
        "running": V1,
        "releases": (V1,),
        "activated": (V1,),
        "cache": (),
        "jobs": (),
        "remote": None,
        "compared": None,
    }
    return Reading(AppServer(**{**MACHINE, **said, **changes}), NOW - 1, NOW + 1)


def facts(**changes: Any) -> Facts:
    proxy = Proxy(**MACHINE, config_error="", certificates=None, probes={})
    calm: dict[str, Any] = {
        "app": load_app("my_perl_app"),
        "account": Account(FLEET.droplets, "home"),
        "fleet": FLEET,
        "source": None,
        "statuses": {"lb-1": status()},
        "proxies": {"lb-1": Reading(proxy, NOW - 1, NOW + 1)},
        "servers": {"blue-1": server(), "green-1": server()},
        "config": None,
        "taken_at": NOW,
    }
    return Facts(**{**calm, **changes})


def run_facts(machine: list[str], request: dict[str, Any]) -> str:
    """Run the script that a droplet runs, on a machine that a command makes, and return what it prints."""
    command = [*machine, sys.executable, *facts_command()[1:]]
    done = subprocess.run(command, input=facts_input(request), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.dumps(json.loads(done.stdout)["facts"])


def with_green(one: Droplet) -> Fleet:
    return FLEET.model_copy(update={"green": (one,)})


def test_a_drop_in_named_local_is_meant_and_any_other_is_named() -> None:
    path = "/etc/systemd/system/app-my_perl_app.service"
    files = {path: expected_unit(load_app("my_perl_app"))}

    def found(*drop_ins: str) -> list[str]:
        unit = Unit(ActiveState="active", UnitFileState="enabled", DropInPaths=" ".join(drop_ins))
        return [one.what for one in drift.units(facts(servers={"green-1": server(unit=unit, files=files)}))]

    assert found(f"{path}.d/local.conf") == []
    assert found(f"{path}.d/by-hand.conf", f"{path}.d/local.conf") == [
        f"it is changed by {path}.d/by-hand.conf"
    ]


@pytest.mark.parametrize(
    ("clock", "said"), [(NOW + 1, []), (NOW + 91, ["its clock differs from Airflow's by 90 s"])]
)
def test_a_clock_is_compared_with_airflows(clock: float, said: list[str]) -> None:
    found = machines.clock(facts(servers={"green-1": server(clock=clock)}))
    assert [one.what for one in found] == said


def test_too_little_memory_and_too_few_files_are_told() -> None:
    found = machines.room(facts(servers={"green-1": server(memory_free_mb=20, inodes_free=10)}))
    assert [one.subject for one in found] == ["green-1", "green-1"]


def test_a_login_that_is_not_root_is_told() -> None:
    [found] = machines.login(facts(servers={"green-1": server(uid=1000)}))
    assert "not as root" in found.what


def test_an_idle_color_that_is_weaker_than_the_live_one_is_told() -> None:
    found = account.completeness(facts(fleet=with_green(droplet(4, "green-1", memory=512))))
    assert "it has 512 MB of memory, blue has 1024" in [one.what for one in found]


def test_a_droplet_of_another_network_is_told() -> None:
    [found] = account.network(facts(fleet=with_green(droplet(4, "green-1", vpc="other"))))
    assert (found.subject, found.severity) == ("green-1", "error")


def test_a_token_without_the_scope_for_droplets_is_one_finding_that_names_the_scope() -> None:
    refused = BlueGreenError("DigitalOcean refused to list droplets (403): You are not authorized")
    nothing: dict[str, Any] = {"statuses": {}, "proxies": {}, "servers": {}}
    empty = Fleet(proxies=(), blue=(), green=())
    [found] = findings_in(facts(account=Account(refused), fleet=empty, source=MAIN, **nothing))
    assert (found.severity, found.subject) == ("error", "connection digitalocean")
    assert "(403)" in found.what
    assert "droplet:read" in found.advice


def test_a_droplet_that_is_off_is_told() -> None:
    found = [one.what for one in account.roles(facts(fleet=with_green(droplet(4, "green-1", status="off"))))]
    assert "green-1 is 'off' instead of active; power it on" in found


@pytest.mark.parametrize("version", ["0.0", "2", "unknown"])
def test_a_version_of_haproxy_that_tells_nothing_is_refused(version: str) -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"version": version})})
    [found] = proxies.answering(facts(statuses={"lb-1": told}))
    assert (found.subject, found.severity) == ("lb-1", "error")
    assert repr(version) in found.what


def test_an_old_haproxy_is_a_warning() -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"version": "2.4.22"})})
    [found] = proxies.answering(facts(statuses={"lb-1": told}))
    assert found.severity == "warning"


@pytest.mark.parametrize(
    ("days", "severity", "said"),
    [(-0.1, "error", "has ended, at 2027-01-15"), (11.5, "warning", "ends in 11 days"), (30.5, None, "")],
)
def test_a_certificate_that_has_ended_is_an_error_and_one_that_ends_soon_a_warning(
    days: float, severity: str | None, said: str
) -> None:
    pem = self_signed(datetime.fromtimestamp(NOW, UTC) + timedelta(days=days))
    there = Proxy(
        **MACHINE, config_error="", certificates={"/c.pem": Certificate(error="", pem=pem)}, probes={}
    )
    found = list(proxies.certificate(facts(proxies={"lb-1": Reading(there, NOW, NOW)})))
    assert [one.severity for one in found] == [severity] * bool(severity)
    assert all(said in one.what for one in found)


def test_what_is_live_is_judged_more_mildly_than_what_a_deploy_needs() -> None:
    sick = server(tools={"perl": "5", "git": "2", "cc": "1", "make": "1"})
    found = machines.tools(facts(servers={"blue-1": sick, "green-1": sick}))
    assert {one.subject: str(one.severity) for one in found} == {"blue-1": "warning", "green-1": "error"}


def test_before_a_second_deploy_there_is_nothing_to_go_back_to() -> None:
    empty = server(current=None, unit=Unit(ActiveState="inactive"))
    found = health.serving(facts(servers={"blue-1": server(), "green-1": empty}))
    assert [one.subject for one in found] == ["green"]


def test_an_unreadable_proxy_does_not_hide_what_is_wrong_with_a_droplet() -> None:
    found = findings_in(
        facts(
            statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
            servers={"green-1": server(disk_free_mb=3)},
        )
    )
    told = " ".join(one.what for one in found)
    assert "lb-1 cannot be reached" in told
    assert "only 3 MB of disk are free" in told


def test_a_full_disk_is_a_warning_as_long_as_a_deploy_has_room_that_is_kept_for_it() -> None:
    [found] = machines.room(facts(servers={"green-1": server(disk_free_mb=3, disk_reserved_mb=200)}))
    assert found.severity == "warning"
    assert found.what == "only 3 MB of disk are free; the next deploy has 200 MB that are kept"


def test_too_few_files_are_a_warning_as_long_as_a_deploy_has_some_that_are_kept_for_it() -> None:
    [found] = machines.room(facts(servers={"green-1": server(inodes_free=3, inodes_reserved=20_000)}))
    assert found.severity == "warning"
    assert found.what.endswith("room for 3 more files only; the next deploy has 20000 that are kept")


def test_a_check_that_breaks_is_a_finding_and_hides_no_other() -> None:
    def broken(_: Facts) -> Iterator[Finding]:
        yield warning("before", "found", "do")
        raise KeyError("secret")

    def sound(_: Facts) -> Iterator[Finding]:
        yield warning("after", "found", "do")

    found = findings_in(facts(), [broken, sound])
    assert [one.subject for one in found] == ["check broken", "before", "after"]
    assert "secret" not in str(found)


def test_the_worst_comes_first_and_is_the_last_line() -> None:
    found = worst_first([warning("a", "odd", "look"), error("b", "bad", "mend"), warning("a", "odd", "look")])
    assert summary(found) == "1 error, 1 warning; the worst: b: bad; mend"
    assert [line.split()[0] for line in table(found)] == ["error", "->", "warning", "->"]
    assert summary([]) == "nothing found"


@pytest.mark.parametrize(
    "line",
    [
        "    stats auth admin:Secret1",
        "    user joe insecure-password Secret1",
        "DB_PASSWORD=Secret1",
        "api_token: Secret1",
    ],
)
def test_passwords_are_not_shown(line: str) -> None:
    assert "Secret1" not in masked(line)
    assert "Secret1" not in "\n".join(difference("file", line, "other"))


def test_that_only_a_password_differs_is_told_without_it() -> None:
    [line] = difference("file", "stats auth admin:Secret1", "stats auth admin:Secret2")
    assert "password" in line
    assert "Secret" not in line


SNAPSHOT = """# carton snapshot format: version 1.0
DISTRIBUTIONS
  Try-Tiny-0.31
    pathname: E/ET/ETHER/Try-Tiny-0.31.tar.gz
    provides:
      Try::Tiny 0.31
"""


def test_what_a_snapshot_needs_is_looked_for_in_the_repository() -> None:
    source = Source("main", V1, files=frozenset({"vendor/cache/kept"}), cpanfile="", snapshot=SNAPSHOT)
    assert distributions(SNAPSHOT) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    assert not_vendored(source) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    whole = frozenset({f"vendor/cache/authors/id/{distributions(SNAPSHOT)[0]}"})
    assert not_vendored(replace(source, files=whole)) == []


TRY_TINY = "E/ET/ETHER/Try-Tiny-0.31.tar.gz"
NOT_VENDORED = Source("main", V2, files=frozenset(), cpanfile="requires 'X';\n", snapshot=SNAPSHOT)
HALF_VENDORED = replace(NOT_VENDORED, files=frozenset({"vendor/cache/kept"}))
VENDORED = replace(NOT_VENDORED, files=frozenset({f"vendor/cache/authors/id/{TRY_TINY}"}))


@pytest.mark.parametrize(
    ("source", "cache", "asked"),
    [
        (NOT_VENDORED, (), ["green-1"]),
        (HALF_VENDORED, (), ["green-1"]),
        (VENDORED, (), []),
        (NOT_VENDORED, (cache_key("5.36.0 x86_64\n", NOT_VENDORED),), []),
        (replace(NOT_VENDORED, cpanfile=None), (), []),
    ],
    ids=["not vendored", "not all vendored", "vendored", "installed already", "not needed"],
)
def test_cpan_is_asked_for_what_a_deploy_would_fetch(
    asking: list[tuple[str, dict[str, Any]]], source: Source, cache: tuple[str, ...], asked: list[str]
) -> None:
    follow_up.follow_up(
        facts(source=source, servers={"blue-1": server(cache=cache), "green-1": server(cache=cache)})
    )
    assert [name for name, _ in asking] == asked
    assert all(request["distributions"] == [TRY_TINY] for _, request in asking)


@pytest.mark.parametrize(
    ("source", "mirror", "subject", "severity", "says"),
    [
        (NOT_VENDORED, Mirror(error=None, missing=(TRY_TINY,)), "cpanfile.snapshot", "error", TRY_TINY),
        (NOT_VENDORED, Mirror(error="no route"), "green-1", "error", "it cannot reach http://cpan"),
        (HALF_VENDORED, Mirror(error=None, missing=(TRY_TINY,)), "vendor/cache", "error", TRY_TINY),
        (HALF_VENDORED, Mirror(error="no route"), "vendor/cache", "error", TRY_TINY),
        (HALF_VENDORED, Mirror(error=None), "vendor/cache", "warning", "would fetch that from CPAN"),
    ],
)
def test_distributions_that_cannot_be_had_are_named(
    source: Source, mirror: Mirror, subject: str, severity: str, says: str
) -> None:
    sick = facts(source=source, servers={"green-1": server(mirror=mirror)})
    [found] = [*revision.vendored(sick), *revision.mirror(sick)]
    assert (found.subject, found.severity) == (subject, severity)
    assert says in found.what


def test_distributions_that_can_be_had_are_no_finding_and_unasked_ones_are_told() -> None:
    well = facts(source=NOT_VENDORED, servers={"green-1": server(mirror=Mirror(error=None, unasked=3))})
    assert [*revision.vendored(well), *revision.mirror(well)] == []
    assert any(line.startswith("whether CPAN has 3 of the distributions") for line in untold(well))


class Mirrored(BaseHTTPRequestHandler):
    """A CPAN that has what is in a directory ``here``, moves what is in ``moved`` there, and may be slow."""

    def do_HEAD(self) -> None:
        sleep(0.5 if "slow" in self.path else 0)
        if "moved" in self.path:
            self.send_response(301)
            self.send_header("Location", self.path.replace("moved", "here"))
        else:
            self.send_response(200 if "here" in self.path else 503 if "sick" in self.path else 404)
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def cpan() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirrored) as httpd:
        Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def mirrored(mirrors: list[str], distributions: list[str], seconds: int = 20) -> dict[str, Any]:
    """Ask mirrors for distributions, as a dry run does."""
    request = {"kind": "mirror", "mirrors": mirrors, "distributions": distributions, "seconds": seconds}
    found: dict[str, Any] = json.loads(run_facts([], request))
    return found


def test_a_distribution_is_missing_if_no_mirror_has_it(cpan: str) -> None:
    found = mirrored([f"{cpan}a/", f"{cpan}here/"], ["A/A.tar.gz"])
    assert found == {"error": None, "missing": [], "unasked": 0}
    found = mirrored([f"{cpan}a/", f"{cpan}b/"], ["here/A.tar.gz", "moved/A.tar.gz", "A/A+1.tar.gz"])
    assert found == {"error": None, "missing": ["A/A+1.tar.gz"], "unasked": 0}


@pytest.mark.parametrize(("sick", "why"), [("http://127.0.0.1:1/", "refused"), ("{cpan}sick/", "status 503")])
def test_a_mirror_that_does_not_answer_is_no_reason_to_call_a_distribution_missing(
    cpan: str, sick: str, why: str
) -> None:
    sick = sick.format(cpan=cpan)
    found = mirrored([sick, cpan], ["A/A.tar.gz"])
    assert found["missing"] == []
    assert why in found["error"]
    assert mirrored([sick, cpan], ["here/A.tar.gz"])["error"] is None


def test_what_there_was_no_time_to_ask_for_is_counted(cpan: str) -> None:
    found = mirrored([cpan], [f"slow/here/{number}" for number in range(60)], seconds=2)
    assert 20 < found["unasked"] < 60


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is asked of which droplet; each is said to fail."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(droplet: Droplet, request: dict[str, Any], _: object) -> Reading[Any]:
        asked.append((droplet.name, request))
        return Reading(BlueGreenError(f"{droplet.name} was asked"), NOW, NOW)

    monkeypatch.setattr(follow_up, "DropletHook", SimpleNamespace(of=lambda droplet, _: droplet))
    monkeypatch.setattr(follow_up, "ask", ask)
    return asked


def load(status: int | None = 0, cause: str = "", *, read_only: bool = False) -> Load:
    return Load(status=status, cause=cause, read_only=read_only)


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ({"green-1": server()}, "no droplet has built it yet"),
        ({"blue-1": server(releases=(V2,))}, "the droplets that have it cannot load it beside what they do"),
        (
            {"green-1": server(load=load(2, read_only=True))},
            "it wants to write while it loads, and a dry run",
        ),
        ({"green-1": server(load=load(124, "no end within 15 s"))}, "no end within 15 s"),
    ],
)
def test_why_a_revision_was_not_seen_to_load_is_told(
    servers: dict[str, Reading[AppServer]], why: str
) -> None:
    [line] = untold(facts(source=MAIN, servers=servers))
    assert line.startswith(f"whether main ({V2[:12]}) loads: {why}")
    assert [*revision.loading(facts(source=MAIN, servers=servers))] == []


@pytest.mark.parametrize("ended", [load(), load(2, "Can't locate Nowhere.pm")])
def test_nothing_is_untold_of_a_revision_that_was_seen_to_load_or_not_to(ended: Load) -> None:
    servers = {"green-1": server(load=ended), "blue-1": server(load=load(124))}
    assert untold(facts(source=MAIN, servers=servers)) == []


def test_an_app_that_does_not_load_on_a_live_droplet_stops_no_deploy() -> None:
    ended = load(2, "Can't locate Nowhere.pm")
    found = revision.loading(
        facts(source=MAIN, servers={"blue-1": server(load=ended), "green-1": server(load=ended)})
    )
    assert {one.subject: str(one.severity) for one in found} == {"blue-1": "warning", "green-1": "error"}


def test_an_app_that_was_not_loaded_because_it_could_not_be_confined_is_told() -> None:
    why = load(None, "it could not be kept from writing: mount: /srv: permission denied")
    [found] = revision.loading(facts(source=MAIN, servers={"green-1": server(load=why)}))
    assert found.severity == "warning"
    assert "not loaded: it could not be kept from writing: mount: /srv" in found.what


@pytest.mark.parametrize(
    ("servers", "asked"),
    [
        ({"blue-1": server(releases=(V2,)), "green-1": server()}, ["blue-1"]),
        ({"blue-1": server(releases=(V2,)), "green-1": server(load=load())}, []),
        ({"blue-1": server(releases=(V2,), memory_free_mb=200), "green-1": server()}, []),
        ({"blue-1": server(releases=(V1,)), "green-1": server()}, []),
    ],
    ids=["live only", "idle as well", "no room", "nowhere"],
)
def test_a_revision_is_loaded_on_a_live_droplet_only_if_no_idle_one_has_it_and_there_is_room(
    asking: list[tuple[str, dict[str, Any]]], servers: dict[str, Reading[AppServer]], asked: list[str]
) -> None:
    found = follow_up.follow_up(facts(source=MAIN, servers=servers))
    assert [name for name, _ in asking] == asked
    told = [server.load.cause for _, server in found.read_servers() if server.load and server.load.cause]
    assert told == [f"{name} was asked" for name in asked]


@pytest.mark.parametrize(
    ("source", "pushed"), [(MAIN, V2), (BlueGreenError("there is no branch or tag 'main'"), None)]
)
def test_a_dry_run_tells_which_revision_it_was_of(
    monkeypatch: pytest.MonkeyPatch, source: Source | BlueGreenError, pushed: str | None
) -> None:
    known: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: known.update({key: value}))
    monkeypatch.setattr(check, "collect", lambda app, ref, allow_older: facts(source=source))
    monkeypatch.setattr(metrics, "emit", lambda _: None)
    with suppress(AirflowFailException):
        DryRunOperator(app_id="my_perl_app", task_id="check", ref="main").execute({"ti": ti, "params": {}})  # type: ignore[typeddict-item]
    assert known.get("revision") == pushed
    assert ("; not checked: whether main" in known["summary"]) is (pushed is not None)


def test_a_revision_that_the_policy_refuses_is_an_error_as_it_is_in_a_deploy() -> None:
    refused = PolicyError("abc may not be deployed: … (setting policy.branches)")
    [found] = findings_in(facts(source=refused, config=""), [revision.ref])
    assert (found.severity, found.subject) == ("error", "policy")
    assert "setting policy.branches" in found.what


@pytest.mark.parametrize(("allow_older", "subjects"), [(False, ["policy"]), (True, [])])
def test_a_revision_that_is_older_than_what_is_live_is_an_error_unless_it_is_forced(
    allow_older: bool, subjects: list[str]
) -> None:
    older = facts(source=MAIN, age=Age(V1, 2, is_older=True), allow_older=allow_older)
    assert [one.subject for one in revision.age(older)] == subjects


def test_a_status_is_told_although_nothing_can_be_read() -> None:
    gone = Reading[Any](BlueGreenError("green-1 cannot be reached"), NOW, NOW)
    sick = facts(
        statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
        proxies={},
        servers={"green-1": gone},
    )
    text = "\n".join(lines_of(status_of(sick, findings_in(sick), [])))
    assert "live: nothing (not every proxy could be asked" in text
    assert "green-1 cannot be reached" in text


@pytest.mark.parametrize("readable", [True, False])
def test_a_status_is_left_as_the_return_value_whether_or_not_it_can_be_told_who_is_live(
    monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    found = facts() if readable else facts(statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")})
    known: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: known.update({key: value}))
    monkeypatch.setattr(status_operator, "collect", lambda app, ref: found)
    monkeypatch.setattr(status_operator, "read_runs", lambda facts: [])
    monkeypatch.setattr(metrics, "emit", lambda _: None)
    task = StatusOperator(app_id="my_perl_app", task_id="status")
    with (
        nullcontext()
        if readable
        else pytest.raises(AirflowFailException, match="nobody can be asked who is live")
    ):
        known["return_value"] = task.execute({"ti": ti})  # type: ignore[typeddict-item]
    expected = status_of(found, findings_in(found), [])
    assert known["return_value"] == expected.model_dump(mode="json")
    assert ("error" in known) is not readable


def test_a_status_names_the_live_color() -> None:
    shown = status_of(facts(), [], [])
    assert (shown.live, shown.is_live_known) == (Color.BLUE, True)
    assert {one.name: one.is_live for one in shown.droplets} == {"blue-1": True, "green-1": False}


NEEDS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="namespaces need Linux and root"
)
# A release of the commit that the first argument makes, and what the second does to it.
RELEASE = r"""
set -e
mount -n -t tmpfs none /opt && mkdir -p /opt/work /opt/shop/releases && cd /opt/work
exec 3>&1 >&2
git init --quiet && echo one >file && touch cpanfile && eval "$1" && git add --all
git -c user.name=test -c user.email=test@example.com commit --quiet --message test
revision=$(git rev-parse HEAD)
git clone --quiet --bare . /opt/shop/repo.git
release=/opt/shop/releases/$revision
mkdir "$release" && git archive --format=tar HEAD | tar -x -C "$release" && ln -s "$release" /opt/shop/current
cd "$release" && rm -rf local && mkdir .bluegreen local && touch .bluegreen/start local/module
echo "$revision" >REVISION
eval "$2"
shift 2
"$@" >&3
"""


def compared(commit: str = "true", by_hand: str = "true") -> dict[str, Any]:
    """Compare a release with its commit, as a dry run does."""
    found: dict[str, Any] = json.loads(app_server_facts(commit, by_hand))["compared"]
    return found


def app_server_facts(commit: str, by_hand: str) -> str:
    """Return what a dry run reads on a droplet with a release of a commit to which something was done."""
    request = {
        "kind": "app_server",
        "app": "shop",
        "unit": "shop.service",
        "files": [],
        "fetch_user": "root",
        "build_user": "root",
        "run_user": "root",
        "environment": "/none",
        "repository": "https://localhost:1/shop.git",
        "patterns": ["HEAD"],
        "compare": True,
        "load": None,
        "seconds": 20,
    }
    return run_facts(["unshare", "--mount", "sh", "-c", RELEASE, "sh", commit, by_hand], request)


ATTRIBUTES = (
    "printf 'left-out export-ignore\\nfile text eol=crlf\\nstamp export-subst ident\\n' >.gitattributes;"
    " touch left-out; echo '$Format:%H$ $Id$' >stamp"
)


@NEEDS_ROOT
@pytest.mark.parametrize("commit", ["true", ATTRIBUTES, "mkdir local; touch local/a REVISION"])
def test_a_release_is_as_its_commit_whatever_git_changes_in_it_and_the_build_adds(commit: str) -> None:
    assert compared(commit) == {"problem": None, "files": [], "more": 0, "unclear": []}


@NEEDS_ROOT
@pytest.mark.parametrize("commit", ["true", ATTRIBUTES])
@pytest.mark.parametrize(
    ("by_hand", "path", "what"),
    [
        ("echo two >>file", "file", "it is not as it was committed"),
        ("rm file && ln -s /etc/passwd file", "file", "it is not as it was committed"),
        ("rm file", "file", "it is not there"),
        ("mkdir -p lib && echo it >lib/by-hand", "lib/by-hand", "it was not committed"),
        ("ln -s /etc linked", "linked", "it was not committed"),
    ],
)
def test_what_was_changed_in_a_release_is_named_with_attributes_and_without(
    commit: str, by_hand: str, path: str, what: str
) -> None:
    [file] = compared(commit, by_hand)["files"]
    assert (file["path"], file["what"]) == (path, what)
    assert ("+two" in "".join(file["diff"])) is ("two" in by_hand)


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("commit", "by_hand"),
    [
        ("mkdir conf && echo x >conf/shadow", "rm -r conf && ln -s /etc conf"),
        ("mkdir -p a/b && echo x >a/b/shadow", "rm -r a/b && ln -s ../../../../../../etc a/b"),
        ("echo x >key", "rm key && ln -s /etc/shadow key"),
        ("echo x >key", "rm key && cp /etc/shadow key && chmod 600 key"),
        ("true", "rm REVISION && ln -s /etc/shadow REVISION"),
        ("true", "rm .bluegreen/start && ln -s /etc/shadow .bluegreen/start"),
        (
            "true",
            "rm -r .bluegreen && mkdir /opt/else && cp /etc/shadow /opt/else/start"
            " && chmod 644 /opt/else/start && ln -s /opt/else .bluegreen",
        ),
        ("echo x >fifo", "rm fifo && mkfifo fifo"),
        ("echo x >device", "rm device && mknod device c 1 5"),
    ],
)
def test_a_dry_run_reads_nothing_that_nobody_may_read_and_nothing_outside_the_release(
    commit: str, by_hand: str
) -> None:
    """Root's password is in /etc/shadow, of which nobody else can read a line."""
    secret = "root:$6$SECRET"
    shadow = f"printf '%s\\n' '{secret}' >/opt/shadow && chmod 600 /opt/shadow && mount --bind /opt/shadow"
    said = app_server_facts(commit, f"{shadow} /etc/shadow && {by_hand}")
    assert "SECRET" not in said
    assert json.loads(said)["compared"]["problem"] is None


@NEEDS_ROOT
def test_of_a_release_with_far_too_many_files_some_are_named_and_all_are_counted() -> None:
    found = compared(by_hand="mkdir -p a/b && cd a/b && seq -f %g 5000 | xargs touch")
    assert (len(found["files"]), found["more"]) == (20, 4980)


@NEEDS_ROOT
@pytest.mark.parametrize(("text", "found"), [("one", []), ("two", ["local/a"])])
def test_a_local_that_is_committed_counts_where_the_build_makes_none(text: str, found: list[str]) -> None:
    local = "mkdir local && echo {} >local/a"
    seen = compared(f"rm cpanfile && {local.format('one')}", f"rm -r local && {local.format(text)}")
    assert [file["path"] for file in seen["files"]] == found


@NEEDS_ROOT
def test_large_files_of_a_release_are_compared_to_their_end() -> None:
    found = compared(
        "head -c 3000000 /dev/zero >large", "printf x | dd of=large seek=2999999 bs=1 conv=notrunc"
    )
    assert [file["path"] for file in found["files"]] == ["large"]
    assert compared("head -c 3000000 /dev/zero >large")["files"] == []


@NEEDS_ROOT
def test_what_git_may_fill_in_otherwise_today_is_no_drift_but_told() -> None:
    found = compared(
        "echo 'stamp export-subst' >.gitattributes; echo '$Format:%ar$' >stamp", "echo long ago >stamp"
    )
    assert (found["files"], found["unclear"]) == ([], ["stamp"])


@NEEDS_ROOT
def test_of_many_files_the_first_are_named_and_the_rest_counted() -> None:
    found = compared(by_hand="mkdir many && cd many && touch $(seq 100 124)")
    assert (len(found["files"]), found["files"][0]["path"], found["more"]) == (20, "many/100", 5)


@NEEDS_ROOT
@pytest.mark.parametrize("lost", ["rm -r /opt/shop/repo.git", "rm -r /opt/shop/repo.git/objects/*"])
def test_why_a_release_was_not_compared_is_told(lost: str) -> None:
    why = compared(by_hand=lost)["problem"]
    [line] = untold(facts(servers={"green-1": server(compared=Comparison(problem=why))}))
    assert line.startswith("whether the release on green-1 is as it was committed: ")
    assert len(line) > 60


def test_files_of_a_release_that_differ_are_warnings_and_unclear_ones_are_told() -> None:
    file = ChangedFile(path="lib/Shop.pm", what="it is not there", diff=())
    there = server(
        activated=(V1,), compared=Comparison(problem=None, files=(file,), more=3, unclear=("stamp",))
    )
    sick = facts(servers={"green-1": there})
    told = [str(one) for one in drift.releases(sick) if one.severity == "warning"]
    assert any(
        one.startswith("green-1 /opt/app-my_perl_app/current/lib/Shop.pm: it is not there") for one in told
    )
    assert any("3 more of its files" in one for one in told)
    assert untold(sick) == ["whether stamp on green-1 is as it was committed: git fills $Format: in anew"]


@pytest.mark.parametrize(
    ("answer", "up", "found"), [(404, True, 1), (200, True, 0), (404, False, 0), (None, True, 0)]
)
def test_a_health_path_that_the_live_release_does_not_know_is_an_error(
    answer: int | None, up: bool, found: int
) -> None:
    known = {"name": "blue-1", "address": "10.0.0.1", "port": 8080, "up": up, "check": "L7OK"}
    probes = {"blue-1": Probe(status=answer, revision=V1, error=None)}
    proxy = Proxy(**MACHINE, config_error="", certificates=None, probes=probes)
    seen = facts(
        statuses={"lb-1": status(servers={"blue": [known], "green": []})},
        proxies={"lb-1": Reading(proxy, NOW - 1, NOW + 1)},
    )
    errors = list(health.health_path(seen))
    assert [(one.severity, one.subject) for one in errors] == [("error", "blue-1")] * found
    asked = "setting health.path; asked with the server's address as Host, by http"
    assert all(f"answers /health ({asked}) with status 404" in one.what for one in errors)


@pytest.mark.parametrize(
    ("pages", "what"),
    [
        ({"/": 200}, None),
        ({"/": 301, "/a": None}, "/ with status 301, /a with nothing .* proves nothing$"),
        ({"/": 301, "/a": 200}, "/ with status 301 .* proves nothing by that$"),
    ],
)
def test_pages_of_the_live_release_by_which_nothing_is_proven_are_a_warning(
    pages: dict[str, int | None], what: str | None
) -> None:
    proxy = Proxy(**MACHINE, config_error="", certificates=None, probes={}, pages=pages)
    found = list(health.pages(facts(proxies={"lb-1": Reading(proxy, NOW - 1, NOW + 1)})))
    assert [one.severity for one in found] == (["warning"] if what else [])
    assert all(re.search(f"answers lb-1 {what}", one.what) for one in found)
