"""Gather the facts from all machines at once; nothing is changed anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from agent.droplet.manifest import Manifest
from agent.facts.ports import Port, try_ports
from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import AppServer, Facts, Proxy, Reading, Source
from bluegreen.checks.gather.ask_machine import ask, ask_app_server, attempt
from bluegreen.checks.gather.expected import expected_config, watched_files
from bluegreen.checks.gather.second_round import follow_up
from bluegreen.checks.gather.source import read_source
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.entry_point import closed_ports
from bluegreen.fleet.vpc import choose_vpc
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE, DropletHook
from bluegreen.hooks.firewalls import FirewallsHook, balancer_id
from bluegreen.hooks.incoming_artifacts import manifest_of_incoming, require_perl, require_revision
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.repository import repository_access
from bluegreen.release.artifact import artifact_key
from bluegreen.run.contract import why_no_way_back
from bluegreen.run.ledger import RECORDS_READ, Record, read_ledger
from bluegreen.settings.app import App
from bluegreen.settings.fleet import EntryPoint
from bluegreen.settings.migrations import Irreversible
from bluegreen.source.policy import Age, compare
from bluegreen.traffic.certificates import served_paths
from bluegreen.traffic.live import servers_of

RUNS_SHOWN = 5


def collect(app: App, ref: str | None, *, artifact: str | None = None, allow_older: bool = False) -> Facts:
    """Read the account, the repository and every droplet.

    An error becomes part of the facts, and hides no other fact.

    :param ref: the ref of the deploy; ``None`` to leave the repository out, or if an artifact is given.
    :param artifact: the SHA-256 of the artifact of CI that would be deployed.
    :param allow_older: whether the revision may be older than the live one, if the policy lets a run decide.
    """
    manifest = attempt(lambda: manifest_of_incoming(app, artifact)) if artifact else None
    claimed = manifest.revision if isinstance(manifest, Manifest) else None
    facts = _Collector(app, ref or claimed).collect()
    facts = replace(facts, configuration=attempt(lambda: _delivered(facts)))
    facts = follow_up(_with_artifact(facts) if manifest is None else _with_manifest(facts, manifest))
    return replace(
        facts, age=attempt(lambda: _age(facts)), no_way_back=_no_way_back(facts), allow_older=allow_older
    )


def _no_way_back(facts: Facts) -> str | None:
    """Return why a rollback would be refused; an app that nothing can keep from it asks nobody."""
    migrations = facts.app.migrations
    may_end_it = migrations.contract or migrations.irreversible is Irreversible.ALLOW
    if facts.live is None or not may_end_it:
        return None
    return why_no_way_back(facts.live, list(facts.readable.values()), read_runs(facts, RECORDS_READ))


def _age(facts: Facts) -> Age | None:
    if not isinstance(facts.source, Source) or facts.live is None:
        return None
    with repository_access(facts.app) as access:
        return compare(facts.app, facts.source.revision, facts.live_revision, access=access)


def _delivered(facts: Facts) -> str | None:
    """Return the digest of the configuration that a deploy would deliver.

    ``None`` if that depends on the templates of a source that is not known.
    """
    source = facts.source if isinstance(facts.source, Source) else None
    if source is None and any(one.content_from.template for one in facts.app.files):
        return None
    texts = source.templates if source else {}
    if isinstance(texts, BlueGreenError):
        raise texts
    return configuration_of(facts.app, texts)["digest"]


def _with_artifact(facts: Facts) -> Facts:
    """Return the facts with what the artifact store says."""
    store = attempt(lambda: ArtifactStore.of(facts.app))
    if isinstance(store, BlueGreenError):
        return replace(facts, store=store)
    problem = attempt(store.check)
    builder = next((server for droplet, server in facts.read_servers() if droplet == facts.builder), None)
    if isinstance(problem, BlueGreenError) or not isinstance(facts.source, Source) or builder is None:
        return replace(facts, store=problem)
    key = artifact_key(facts.app, facts.source.revision, builder.perl_key)
    is_built = attempt(lambda: _is_built(store, key))
    if isinstance(is_built, BlueGreenError):
        return replace(facts, store=is_built)
    return replace(facts, is_built=is_built)


def _is_built(store: ArtifactStore, key: str) -> bool:
    """Return whether a deploy would take an artifact from the store, which it reads as a whole before."""
    built = store.built(key)
    if built is not None:
        store.verify(built.record)
    return built is not None


def _with_manifest(facts: Facts, manifest: Manifest | BlueGreenError) -> Facts:
    """Return the facts with what is wrong with the artifact of CI that would be deployed."""
    facts = replace(facts, store=attempt(lambda: ArtifactStore.of(facts.app).check()))
    if isinstance(manifest, BlueGreenError):
        return replace(facts, artifact=manifest)

    def require_usable() -> None:
        if isinstance(facts.source, Source):
            require_revision(manifest, facts.source.revision)
        for droplet, server in facts.read_servers():
            if droplet == facts.builder:
                require_perl(manifest, server.perl_key, droplet.label)

    problem = attempt(require_usable)
    return replace(facts, artifact=problem, is_built=problem is None)


def read_runs(facts: Facts, last: int = RUNS_SHOWN) -> list[Record]:
    """Return the last runs of the app, oldest first, from the ledgers of the proxies that answer."""
    members = [one for one in facts.fleet.proxies if one.name in facts.readable]
    with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
        read = pool.map(lambda one: attempt(lambda: _ledger(one, facts.app, last)), members)
        return read_ledger(lines for lines in read if not isinstance(lines, BlueGreenError))[-last:]


def _ledger(droplet: Droplet, app: App, last: int) -> list[dict[str, Any]]:
    with DropletHook.of(droplet, app) as hook:
        return ProxyHook(hook).ledger(last)


class _Collector:
    def __init__(self, app: App, ref: str | None) -> None:
        self.app = app
        self.ref = ref

    def collect(self) -> Facts:
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            asked_source = pool.submit(attempt, self._source)
            account = self._account()
            fleet = _fleet(account, self.app)
            members = reachable(fleet.proxies)
            made = {one.name: attempt(partial(ProxyHook.of, one, self.app)) for one in members}
            hooks = {name: one for name, one in made.items() if isinstance(one, ProxyHook)}
            refused = {name: one for name, one in made.items() if isinstance(one, BlueGreenError)}
            read = pool.map(lambda hook: attempt(hook.status), hooks.values())
            statuses = {**refused, **dict(zip(hooks, read, strict=True))}
            servers = reachable(fleet.blue + fleet.green)
            known = Facts(self.app, account, fleet, None, statuses, {}, {}, None, time.time())
            tried = pool.submit(try_ports, ports_to_try(known, None))
            asked = pool.map(lambda droplet: self._server(droplet, known), servers)
            answers = {one.name: answer for one, answer in zip(servers, asked, strict=True)}
            # Which servers the configuration has depends on the droplets' answers.
            facts = replace(known, source=asked_source.result(), servers=answers, taken_at=time.time())
            config = attempt(lambda: expected_config(facts))
            asked_proxies = pool.map(lambda hook: self._proxy(hook, facts, config), hooks.values())
            proxies = dict(zip(hooks, asked_proxies, strict=True))
            facts = replace(facts, airflow_ports=tried.result())
        return replace(facts, proxies=proxies, config=config)

    def _server(self, droplet: Droplet, known: Facts) -> Reading[AppServer]:
        return ask_app_server(self.app, droplet, compare=True, ports=ports_to_try(known, droplet))

    def _source(self) -> Source | None:
        return read_source(self.app, self.ref) if self.ref else None

    def _account(self) -> Account:
        hook = FirewallsHook(self.app.connections.digitalocean)
        settings = self.app.fleet
        try:
            droplets = tuple(hook.droplets(settings.tags.app))
        except BlueGreenError as error:
            return Account(error)
        questions: dict[str, Callable[[], object]] = {
            "ssh_keys": lambda: hook.ssh_key_ids(settings.ssh_keys),
            "vpc": lambda: choose_vpc(self.app, hook.vpcs(), droplets),
        }
        if settings.entry_point is EntryPoint.RESERVED_IP:
            questions["entry_point"] = hook.reserved_ips
        if settings.entry_point is EntryPoint.MANAGED_LOAD_BALANCER:
            questions["entry_point"] = hook.load_balancers
        if settings.firewalls:
            questions["firewalls"] = hook.firewalls
        answers: dict[str, Any] = {key: attempt(question) for key, question in questions.items()}
        problems = {key: str(one) for key, one in answers.items() if isinstance(one, BlueGreenError)}
        known = {key: one for key, one in answers.items() if key not in problems}
        balanced = settings.entry_point is EntryPoint.MANAGED_LOAD_BALANCER
        balancers = (known.get("entry_point") or []) if balanced else []
        # What a load balancer that is not known may do would count as unwanted.
        comparable = "firewalls" in known and "entry_point" not in problems
        return Account(
            droplets,
            vpc=known.get("vpc"),
            firewalls=tuple(known["firewalls"]) if comparable else None,
            balancer=balancer_id(self.app, balancers),
            closed_ports=closed_ports(self.app, balancers),
            problems=problems,
        )

    def _proxy(self, hook: ProxyHook, facts: Facts, config: str | BlueGreenError | None) -> Reading[Proxy]:
        fleet, ports = facts.fleet, facts.server_ports
        live = next((one for one in servers_of(facts.live, facts.readable.values()) if one.up), None)
        request = {
            "kind": "proxy",
            "unit": "haproxy.service",
            "files": list(watched_files(self.app, proxy=True)),
            "config": config if isinstance(config, str) else None,
            "certificates": served_paths(self.app.traffic.tls),
            "servers": [
                {
                    "name": one.name,
                    "address": str(one.private),
                    "port": ports.get(one.name, self.app.server.port),
                }
                for one in fleet.blue + fleet.green
                if one.private is not None
            ],
            "path": self.app.health.path,
            "host": self.app.traffic.public_host,
            "https": self.app.traffic.https,
            "pages": self.app.validation.paths,
            "page_server": {"address": str(live.address), "port": live.port} if live else None,
            "ports": [vars(one) for one in ports_to_try(facts, hook.droplet_hook.droplet)],
        }
        return ask(hook.droplet_hook, request, Proxy)


def _fleet(account: Account, app: App) -> Fleet:
    """Return the droplets that have a role: one without must not hide the problems of the others."""
    if isinstance(account.droplets, BlueGreenError):
        return Fleet(proxies=(), blue=(), green=())
    return Fleet.sorted(account.droplets, app.fleet.tags)[0]


def ports_to_try(facts: Facts, source: Droplet | None) -> list[Port]:
    """Return the ports that a droplet is asked to try, or Airflow tries if it is ``None``."""
    wanted = source and source.id
    return [one.asked for one in facts.port_trials if (one.source and one.source.id) == wanted]


def reachable(droplets: Iterable[Droplet]) -> list[Droplet]:
    """Leave out the droplets that cannot be reached according to the API; a check reports each of them."""
    return [one for one in droplets if one.public is not None and one.status == "active"]
