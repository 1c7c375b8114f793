"""A deploy reaches the app's backing services as the app would, and names each that it cannot reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet.services import services
from agent.protocol import AgentError, Code, Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import UNIT, LocalDroplet, about

PROPERTIES = ["IPAddressDeny=link-local", "WorkingDirectory=/opt/x"]
DATABASE = {"name": "database", "kind": "address", "value": "10.0.0.5:5432", "timeout": 5}
CACHE = {"name": "cache", "kind": "address_from", "value": "REDIS_URL", "timeout": 2}
MAIL = {"name": "mail", "kind": "command", "value": ["bin/ping-mail", "$x"], "timeout": 3}
# Says of the agent's program what a test has prepared, and ends a command as that says.
SYSTEMD_RUN = r"""#!/bin/bash
cd "$DROPLET" || exit 1
name=$(printf '%s\n' "$@" | sed -n 's/^--unit=//p')
printf '%s\0' "$@" >"words-$name"
case $name in
    *-services) cat output 2>/dev/null ;;
    *) echo "cannot connect"; exit "$(cat status 2>/dev/null || echo 0)" ;;
esac
"""


class Droplet(LocalDroplet):
    """A droplet that is asked to reach services."""

    def reach(self, *checks: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Reach them."""
        wanted = {"release": self.release, "properties": PROPERTIES, "services": list(checks)}
        return services(Call.of(Verb.SERVICES), about(**{**wanted, **changes}))

    def refusal(self, *checks: dict[str, Any], **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.reach(*checks, **changes)
        return raised.value

    def words(self, name: str) -> list[str]:
        """Return what systemd was asked to run for a check, or for all those of the agent's program."""
        return (self.read(f"words-caged-{UNIT}-{name}") or "").split("\0")[:-1]

    def says(self, output: str) -> None:
        """Let the agent's program say this."""
        (self.path / "output").write_text(output)


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    droplet = Droplet(tmp_path, monkeypatch)
    (droplet.app.releases / droplet.release).mkdir(parents=True)
    droplet.program("systemd-run", SYSTEMD_RUN)
    return droplet


def test_services_are_reached_as_the_app_s_user_in_its_cage_with_its_environment(droplet: Droplet) -> None:
    droplet.says("database: reached\ncache: reached\n")
    assert droplet.reach(DATABASE, CACHE, MAIL) == {}
    program, command = droplet.words("services"), droplet.words("service-mail")
    for words in (program, command):
        assert {f"--property={one}" for one in (*PROPERTIES, f"User={APP}")} <= set(words)
    assert "--property=RuntimeMaxSec=10" in program
    assert "--property=RuntimeMaxSec=3" in command
    # The value of a variable is in no process list, and is not known here.
    assert [one for one in program if "REDIS_URL" in one] == [program[-1]]
    assert command[command.index("--") + 1 :] == ["/usr/bin/env", "bin/ping-mail", "$$x"]


def test_each_service_that_is_not_reached_is_named_with_its_cause(droplet: Droplet) -> None:
    droplet.says("database: connection refused\ncache: reached\n")
    refused = droplet.refusal(DATABASE, CACHE)
    assert refused.code is Code.FAILED
    assert str(refused) == "cannot reach the service database (10.0.0.5:5432): connection refused"
    (droplet.path / "status").write_text("4")
    expected = (
        "cannot reach the services database (10.0.0.5:5432): connection refused; "
        "mail (bin/ping-mail '$x'): ended with 4: cannot connect"
    )
    assert str(droplet.refusal(DATABASE, MAIL)) == expected


def test_a_check_without_an_answer_is_no_answer(droplet: Droplet) -> None:
    droplet.says("Failed to start transient service unit\ndata: reached\n")
    expected = "database (10.0.0.5:5432): the check was ended before it had an answer"
    assert str(droplet.refusal(DATABASE)) == f"cannot reach the service {expected}"


def test_what_a_service_wrote_is_shown_in_part_and_on_one_line(droplet: Droplet) -> None:
    droplet.says(f"database: a\x1b[2Jb{'x' * 1000}\n")
    assert str(droplet.refusal(DATABASE)) == (
        f"cannot reach the service database (10.0.0.5:5432): a[2Jb{'x' * 295}"
    )


def test_the_query_of_a_url_is_not_shown(droplet: Droplet) -> None:
    url = {"name": "api", "kind": "url", "value": "https://api.example.com/v1?key=secret", "timeout": 5}
    droplet.says("api: it answers 503\n")
    expected = "cannot reach the service api (https://api.example.com/v1): it answers 503"
    assert str(droplet.refusal(url)) == expected


def test_nothing_runs_without_the_release_and_its_environment(droplet: Droplet) -> None:
    name = f"{'e' * 40}-{'e' * 16}"
    assert str(droplet.refusal(DATABASE, release=name)) == f"the release {name} is not on this droplet"
    missing = ["EnvironmentFile=/var/lib/bluegreen/x/environment"]
    assert "is not on this droplet; run a deploy" in str(droplet.refusal(DATABASE, properties=missing))
    assert droplet.words("services") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": "Database"},
        {"kind": "shell"},
        {"value": ["a", "b"]},
        {"value": ""},
        {"value": "a\0b"},
        {"timeout": 0},
        {"timeout": 11},
        {"timeout": True},
        {"kind": "command"},
        {"kind": "command", "value": []},
    ],
)
def test_what_is_no_check_is_refused(droplet: Droplet, changes: dict[str, Any]) -> None:
    assert droplet.refusal({**DATABASE, **changes}).code is Code.BAD_REQUEST
    assert droplet.refusal(*[DATABASE] * 21).code is Code.BAD_REQUEST
    assert droplet.refusal().code is Code.BAD_REQUEST
