"""What a dry run knows besides the answers of machines: the configuration to deliver, and the store."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from agent.droplet.manifest import Manifest
from bluegreen.checks import revision
from bluegreen.checks.facts import Facts, Reading, Source
from bluegreen.checks.gather import collect
from bluegreen.errors import BlueGreenError, SettingsError
from bluegreen.hooks.digitalocean import DigitalOceanError
from bluegreen.run.ledger import RECORDS_READ, Record
from bluegreen.source.policy import Age
from tests.unit.facts import MAIN, facts, server
from tests.unit.fleets import DIGEST, V1, V2
from tests.unit.my_app import app_with
from tests.unit.statuses import status

TEMPLATES = app_with(files=[{"path": "config/db.yaml", "content_from": {"template": "db.yaml"}}])
MISSING = SettingsError("files: the template db.yaml is not in the repository, or is no file there")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The texts that configurations were made of."""
    texts: list[Any] = []

    def configuration_of(_: object, given: Any) -> dict[str, str]:
        texts.append(given)
        return {"digest": DIGEST}

    monkeypatch.setattr(collect, "configuration_of", configuration_of)
    return texts


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({}, {}),
        ({"source": MAIN}, {}),
        ({"app": TEMPLATES, "source": Source("main", V2, templates={"db.yaml": "x"})}, {"db.yaml": "x"}),
    ],
    ids=["a status", "a dry run", "with templates"],
)
def test_what_would_be_delivered_is_known(made: list[Any], changes: dict[str, Any], texts: Any) -> None:
    assert collect._delivered(facts(**changes)) == DIGEST
    assert made == [texts]


@pytest.mark.parametrize("source", [None, BlueGreenError("there is no branch 'main'")])
def test_without_a_source_what_is_made_from_templates_is_not_known(made: list[Any], source: Any) -> None:
    assert collect._delivered(facts(app=TEMPLATES, source=source)) is None
    assert made == []


@pytest.mark.parametrize("known", [V1, None])
def test_a_dry_run_compares_with_what_is_live_whether_it_is_known_or_not(
    known: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "repository_access", lambda _: nullcontext())
    monkeypatch.setattr(collect, "compare", lambda _app, _revision, live, **_: Age(live, None, is_older=True))
    statuses = {
        "lb-1": status(
            confirmed={"color": "blue", "revision": V1, "run_id": "p", "at": 1.0} if known else None
        )
    }
    unreachable: dict[str, Any] = dict.fromkeys(
        ("blue-1", "green-1"), Reading(BlueGreenError("it cannot be reached"), 0.0, 0.0)
    )
    assert collect._age(facts(source=MAIN, statuses=statuses, servers=unreachable)) == Age(
        known, None, is_older=True
    )
    nothing = facts(source=MAIN, statuses={"lb-1": status(None)}, servers=unreachable)
    assert collect._age(nothing) is None


def test_a_template_that_is_missing_is_the_reason_why_nothing_can_be_delivered(made: list[Any]) -> None:
    with pytest.raises(SettingsError, match=r"db\.yaml is not in the repository"):
        collect._delivered(facts(app=TEMPLATES, source=Source("main", V2, templates=MISSING)))


class Store:
    """A store of the test's; ``problem`` is raised by what fails."""

    def __init__(
        self, keys: tuple[str, ...] = (), problems: Mapping[str, BlueGreenError] | None = None
    ) -> None:
        self.keys, self.problems = keys, problems or {}

    def _try(self, what: str) -> None:
        if what in self.problems:
            raise self.problems[what]

    def of(self, _: object) -> Store:
        self._try("of")
        return self

    def check(self) -> None:
        self._try("check")

    def built(self, key: str) -> object | None:
        self._try("built")
        return SimpleNamespace(record=key) if key in self.keys else None

    def verify(self, record: object) -> None:
        self._try("verify")
        assert record in self.keys


def asked(monkeypatch: pytest.MonkeyPatch, store: Store, **changes: Any) -> Facts:
    monkeypatch.setattr(collect, "ArtifactStore", store)
    monkeypatch.setattr(collect, "artifact_key", lambda _, revision, perl_key: f"{revision} for {perl_key}")
    return collect._with_artifact(facts(source=MAIN, **changes))


KEY = f"{V2} for 5.36.0 x86_64\n"


def test_an_artifact_is_looked_for_by_what_the_builder_would_build(monkeypatch: pytest.MonkeyPatch) -> None:
    other = server(perl_key="5.38.2 aarch64\n")
    known = {"blue-1": other, "green-1": server()}
    assert asked(monkeypatch, Store((KEY,)), servers=known).is_built
    assert not asked(monkeypatch, Store(("another",)), servers=known).is_built


@pytest.mark.parametrize("what", ["of", "check", "built", "verify"])
def test_a_store_that_cannot_be_used_is_a_fact(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Among that: an artifact without its bytes, or with others. A deploy would refuse it."""
    away = BlueGreenError("the artifact store is away")
    found = asked(monkeypatch, Store((KEY,), problems={what: away}))
    assert (found.store, found.is_built) == (away, False)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({}, None),
        ({"revision": "d" * 40}, "the artifact is of dddddddddddd, not of bbbbbbbbbbbb"),
        ({"perl": "5.38.2 x"}, "was built for 5.38.2 x, and green-1 (198.18.0.4) has 5.36.0 x86_64"),
    ],
)
def test_an_artifact_of_ci_needs_no_build_and_has_to_fit(
    monkeypatch: pytest.MonkeyPatch, made: dict[str, str], why: str | None
) -> None:
    about = {"app": "app-my_perl_app", "revision": V2, "perl": "5.36.0 x86_64\n", "committed": 1, **made}
    away = BlueGreenError("the artifact store cannot be written")
    monkeypatch.setattr(collect, "ArtifactStore", Store(problems={"check": away}))
    found = collect._with_manifest(facts(source=MAIN), Manifest(entries=(), **about))  # type: ignore[arg-type]
    assert found.store is away
    assert found.is_built is (why is None)
    assert why is None or why in str(found.artifact)
    said = [(one.severity, one.subject) for one in revision.artifact(found)]
    assert [subject for _, subject in said] == (
        [] if why is None else ["policy" if "revision" in made else "artifact"]
    )


def test_only_an_app_whose_way_back_can_end_is_asked_for_its_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read_runs(_facts: Facts, last: int) -> list[Record]:
        asked.append(last)
        return []

    monkeypatch.setattr(collect, "read_runs", read_runs)
    assert collect._no_way_back(facts()) is None
    assert asked == []
    for settings in ({"contract": [["bin/contract"]]}, {"irreversible": "allow"}):
        assert collect._no_way_back(facts(app=app_with(migrations=settings))) is None
    assert asked == [RECORDS_READ] * 2


@pytest.mark.parametrize(("passed_on", "closed"), [([80, 443], ()), ([80], (443,)), ([], (80, 443))])
def test_what_a_managed_load_balancer_does_not_pass_on_is_known(
    passed_on: list[int], closed: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with(
        fleet={"entry_point": "managed_load_balancer"},
        traffic={
            "tls": {"certificates": [{"path": "/etc/ssl/private/shop.pem"}]},
            "public_url": "https://www.example.com",
        },
    )
    mine = {
        "id": "lb",
        "tag": app.fleet.tags.balanced,
        "forwarding_rules": [{"entry_port": port} for port in passed_on],
    }
    hook = MagicMock()
    hook.return_value.droplets.return_value = []
    hook.return_value.vpcs.return_value = []
    hook.return_value.firewalls.return_value = []
    hook.return_value.load_balancers.return_value = [{"id": "other", "tag": "other"}, mine]
    monkeypatch.setattr(collect, "FirewallsHook", hook)
    assert collect._Collector(app, None)._account().closed_ports == closed


@pytest.mark.parametrize("is_readable", [True, False])
def test_firewalls_are_compared_only_if_the_load_balancer_is_known(
    is_readable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rules would count as unwanted."""

    class Hook:
        def __init__(self, _: str) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return lambda *_: []

        def load_balancers(self) -> list[Any]:
            if not is_readable:
                raise DigitalOceanError("403: the token may not read load balancers", transient=False)
            return []

    monkeypatch.setattr(collect, "FirewallsHook", Hook)
    app = app_with(fleet={"entry_point": "managed_load_balancer"})
    account = collect._Collector(app, None)._account()
    assert account.firewalls == (() if is_readable else None)
    assert list(account.problems) == ([] if is_readable else ["entry_point"])
