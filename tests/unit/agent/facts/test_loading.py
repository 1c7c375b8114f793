"""A dry run loads a release as a deploy does, keeps it from writing, and shows no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.facts import loading
from agent.system import CallDeadline
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import UNIT, LocalDroplet

CAGED = f"{loading.CAGED}\n"


class Droplet(LocalDroplet):
    """A droplet with one release, on which a systemd of the test's says how its load ends."""

    def ends(self, output: str, status: int = 1) -> None:
        (self.path / "output").write_text(output)
        (self.path / "status").write_text(str(status))
        # It writes down how it was called.
        self.program("systemd-run", SYSTEMD_RUN)

    def load(self, *properties: str, **changes: Any) -> Any:
        request = {
            "app": APP,
            "unit": UNIT,
            "release": self.release,
            "command": ["/usr/bin/perl", "-e", "$x"],
            "properties": ["ProtectHome=yes", *properties],
            "timeout": 60.0,
            **changes,
        }
        return loading.load(CallDeadline("facts", 20), request)

    @property
    def words(self) -> list[str]:
        return (self.path / "words").read_text().split("\0")[:-1]


SYSTEMD_RUN = r"""#!/bin/bash
printf '%s\0' "$@" >"$DROPLET/words"
cat "$DROPLET/output"
exit "$(cat "$DROPLET/status")"
"""


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    return Droplet(tmp_path, monkeypatch)


def test_an_app_that_loads_is_reported(droplet: Droplet) -> None:
    droplet.ends(CAGED, 0)
    assert droplet.load() == {"status": 0, "cause": "", "read_only": False}
    assert droplet.words[-3:] == ["/usr/bin/perl", "-e", "$$x"]


def test_what_the_service_may_write_is_read_only_for_a_dry_run(droplet: Droplet) -> None:
    droplet.ends(CAGED, 0)
    droplet.load("StateDirectory=app-shop", "ReadWritePaths=/srv", "WorkingDirectory=/opt/app-shop/x")
    properties = [one.removeprefix("--property=") for one in droplet.words if "--property=" in one]
    assert "WorkingDirectory=/opt/app-shop/x" in properties
    assert not [one for one in properties if one.startswith(("StateDirectory", "ReadWritePaths"))]
    assert properties.index("ProtectHome=yes") < properties.index("ProtectSystem=strict")
    assert "ReadOnlyPaths=/run" in properties


def test_what_a_droplet_adds_for_its_app_loosens_the_cage_and_lets_it_write_nothing(
    droplet: Droplet,
) -> None:
    drop_in = droplet.unit.with_name(f"{droplet.unit.name}.d") / "local.conf"
    drop_in.parent.mkdir()
    loosened = "ProtectHome=no\nProtectSystem=no\nReadOnlyPaths=\nReadWritePaths=/\n"
    drop_in.write_text(f"[Service]\n{loosened}")
    droplet.ends(CAGED, 0)
    droplet.load("ProtectSystem=strict", "ReadOnlyPaths=/run")
    said = [word.removeprefix("--property=") for word in droplet.words]
    last = {one.partition("=")[0]: one.partition("=")[2] for one in said}
    assert (last["ProtectHome"], last["ProtectSystem"], last["ReadOnlyPaths"]) == ("no", "strict", "/run")
    assert "ReadWritePaths" not in last


def test_the_cause_is_perl_s_own_line_without_a_value_of_the_configuration(
    droplet: Droplet, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    environment.write_text('DB_PASSWORD="hunter2hunter2"\n')
    place = droplet.app.releases / droplet.release
    droplet.ends(f"{CAGED}hello\nno login with hunter2hunter2 at {place}/lib/Shop.pm line 7.\nlast\n", 2)
    assert droplet.load(f"EnvironmentFile={environment}", "EnvironmentFile=-/etc/default/none") == {
        "status": 2,
        "cause": "no login with [DB_PASSWORD] at lib/Shop.pm line 7.",
        "read_only": False,
    }


@pytest.mark.parametrize(
    "line",
    ["mkdir x: Read-only file system at a.pl line 1.", "attempt to write a readonly database at a line 1"],
)
def test_an_app_that_wants_to_write_is_reported_as_such(droplet: Droplet, line: str) -> None:
    droplet.ends(f"{CAGED}{line}\n")
    assert droplet.load()["read_only"] is True


def test_what_systemd_refuses_is_no_word_of_the_app_s(droplet: Droplet) -> None:
    droplet.ends("Failed to start transient service unit: no such property\n")
    found = droplet.load()
    assert found["status"] is None
    assert found["cause"].startswith("systemd did not start it in a cage: Failed to start transient")


def test_what_is_secret_in_a_delivered_file_is_hidden(droplet: Droplet) -> None:
    delivered = droplet.app.configurations / ("c" * 64) / "files/conf/db.yml"
    delivered.parent.mkdir(parents=True)
    delivered.write_text("dsn: postgres://shop:pa55-w0rd-of-db@db/shop\n")
    droplet.ends(f"{CAGED}DBI connect: pa55-w0rd-of-db is wrong at lib/Shop.pm line 3.\n")
    found = droplet.load()
    assert "pa55" not in found["cause"]
    assert "line 3" in found["cause"]
