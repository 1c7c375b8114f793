"""Renewals of certificates against real HAProxies, without SSH and without Airflow's database."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, ProxyError, SettingsError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks import certificates, haproxy_config
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.served_certificates import ServedCertificates, served_certificates
from bluegreen.operators.render_and_reload import render
from bluegreen.operators.renew_certificates import RenewCertificatesOperator
from bluegreen.run.plan import HeldLock
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.tls import TlsSettings
from bluegreen.traffic.agent_answers import Probe, ProxyStatus
from tests.unit.fleets import KEY
from tests.unit.local_haproxy import ADDRESSES, PREVIEW_KEY, Deployed
from tests.unit.runs import Run


class Variables(dict[str, str]):
    """Airflow's Variables; ``trouble`` is why none can be read."""

    trouble = False

    def get(self, key: str, default: Any = None) -> Any:
        """Return one as Airflow does, for which trouble is the same as nothing."""
        return default if self.trouble else super().get(key, default)

    def set(self, key: str, value: str, description: str | None = None) -> None:
        """Write one."""
        self[key] = value

    def delete(self, key: str) -> None:
        """Remove one, if it is there."""
        self.pop(key, None)

    def keys(self, prefix: str = "") -> Any:
        """Return the names of those that begin so."""
        return [key for key in self if key.startswith(prefix)]


class LocalProxy:
    """Stands in for the SSH side of a proxy."""

    def __init__(self, name: str, deployed: Deployed) -> None:
        self.name, self.deployed = name, deployed
        self.trouble: BlueGreenError | None = None

    def call(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Call the agent."""
        if self.trouble:
            raise self.trouble
        if "config" in request:
            request["config"] = self.deployed.world.localize(request["config"])
        answer = self.deployed.world.call(verb.value, **{**request, "token": self.deployed.token})
        if not answer["ok"]:
            raise ProxyError(f"{self.name}: {answer['message']}", code=answer["error"])
        return answer

    def status(self) -> ProxyStatus:
        """Ask for its status."""
        text = json.dumps(self.call(Verb.STATUS))
        return ProxyStatus.parse(json.loads(text.replace(f"{self.deployed.world.root}/etc/", "/etc/")))

    def probe_all(self, servers: list[tuple[str, int]], **question: Any) -> list[Probe]:
        """Ask servers from there."""
        asked = [{"address": address, "port": port} for address, port in servers]
        return [Probe.parse(one) for one in self.call(Verb.PROBE, servers=asked, **question)["answers"]]

    peer_address = "127.0.0.1"

    def close(self) -> None:
        """Do nothing."""


class Renewals:
    """An app with ``traffic.tls``, its fleet, and the renewals of its certificates."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **proxies: Deployed) -> None:
        self.variables, self.connections = Variables(), dict[str, Any]()
        self.proxies = {name: LocalProxy(name, deployed) for name, deployed in proxies.items()}
        first = next(iter(proxies.values()))
        numbers = iter(range(1, 100))

        def droplet(name: str, private: str) -> Droplet:
            number = next(numbers)
            return Droplet(
                id=number,
                name=name,
                status="active",
                public=IPv4Address(f"198.18.0.{number}"),
                private=IPv4Address(private),
                host_key=KEY,
            )

        self.fleet = Fleet(
            proxies=tuple(droplet(name, f"198.19.0.{index}") for index, name in enumerate(proxies, 1)),
            **{
                str(color): tuple(
                    droplet(f"my-perl-app-{color}-{number}", address)
                    for number, address in enumerate(ADDRESSES[color], 1)
                )
                for color in Color
            },
        )
        plain = load_app("my_perl_app")
        server = plain.server.model_copy(update={"port": first.world.app_port})
        self.app: App = plain.model_copy(update={"server": server})
        monkeypatch.setattr(haproxy_config, "preview_key", lambda _: PREVIEW_KEY)
        monkeypatch.setattr(certificates, "Variable", self.variables)
        monkeypatch.setattr(certificates, "get_connection", self._connection)

    def _connection(self, name: str) -> SimpleNamespace:
        if name not in self.connections:
            raise SettingsError(f"Airflow has no connection {name!r}")
        return SimpleNamespace(extra_dejson=self.connections[name])

    def configure(self, **tls: Any) -> None:
        """Write the section ``traffic.tls``."""
        traffic = self.app.traffic.model_copy(
            update={"tls": TlsSettings(**tls), "public_url": "https://www.example.com"}
        )
        self.app = self.app.model_copy(update={"traffic": traffic})

    def served(self) -> ServedCertificates:
        """Return what the next configuration would have."""
        found = served_certificates(self.app, [one.status() for one in self.proxies.values()])
        assert found is not None
        return found

    def deploy(self) -> None:
        """Do what ``render_and_reload`` does in a deploy, and in a rollback."""
        render(self.app, self.hook(), self.fleet, live=Color.BLUE, idle=Color.GREEN)

    def hook(self, away: tuple[str, ...] = ()) -> ProxiesHook:
        """Return the proxies, locked."""
        hook = ProxiesHook(self.app, [])
        hook.members = [one for name, one in self.proxies.items() if name not in away]  # type: ignore[misc]
        hook.tokens = dict.fromkeys(self.proxies, 1)
        return hook

    def run(self, *, away: tuple[str, ...] = (), renew: bool = False) -> tuple[str, str]:
        """Run the task; return its state, and its line.

        :param away: names of proxies that are not locked because they cannot be reached.
        """
        locked = tuple(one for one in self.fleet.proxies if one.name not in away)
        lock = HeldLock(proxies=locked, tokens={one.name: 1 for one in locked})
        task: Any = RenewCertificatesOperator(
            app_id=self.app.id, task_id="renew_certificates", lock=lock.model_dump(mode="json")
        )
        hook = self.hook(away)
        object.__setattr__(task, "proxies", lambda: hook)
        object.__setattr__(task, "read_fleet", lambda: self.fleet)
        task.__dict__["app"] = self.app
        run = Run(renew=renew)
        self.left = run.xcoms
        try:
            return "success", task.execute(run.context)
        except AirflowSkipException as nothing:
            return "skipped", str(nothing)
        except AirflowFailException as failure:
            return "failed", str(failure)
