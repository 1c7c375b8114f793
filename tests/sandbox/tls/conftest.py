"""A fleet with two proxies whose app has certificates by ACME, and the authority."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.app_settings import PREVIEW_HOST
from demo.environment import APP, DemoEnvironment
from sandbox import Sandbox
from tests.pebble import Pebble, pebble
from tests.sandbox.stack import Stack, running
from tests.sandbox.tls.clients import NAME
from tests.waiting import until


def traffic(authority: Pebble, **changes: Any) -> dict[str, Any]:
    """Return the section ``traffic`` of the app's file."""
    acme = {"email": "ops@example.com", "directory": authority.directory, "ca_file": str(authority.ca_file)}
    tls = {"certificates": [{"acme": [NAME]}], "acme": acme, "redirect": False, **changes}
    return {"preview_host": PREVIEW_HOST, "public_url": f"https://{NAME}", "tls": tls}


class TlsEnvironment(DemoEnvironment):
    """The demo's environment, with certificates."""

    authority: Pebble

    def prepare(self) -> None:
        """Prepare the app with certificates."""
        super().prepare()
        file = self.directory / "apps" / f"{APP}.yaml"
        settings = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump({**settings, "traffic": traffic(self.authority)}))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """The certificate authority; names lead to the first proxy once there is one."""
    with pebble(tmp_path_factory.mktemp("pebble"), "127.0.0.1") as authority:
        yield authority


@pytest.fixture(scope="session")
def stack(sandbox: Sandbox, authority: Pebble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The fleet with v1 live, and an Airflow."""
    environment = TlsEnvironment(sandbox, tmp_path_factory.mktemp("environment"), bake=2, proxies=2)
    environment.authority = authority
    with running(environment, tmp_path_factory.mktemp("airflow")) as stack:
        until(lambda: environment.dag_id("certificates") in stack.client.dag_ids(), "the DAG is there")
        authority.lead(NAME, *(str(proxy.address) for proxy in stack.proxies()))
        yield stack


@pytest.fixture(scope="session")
def trusted(authority: Pebble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate by which clients trust what the authority issues."""
    file = tmp_path_factory.mktemp("trusted") / "root.pem"
    file.write_text(authority.root())
    return file
