"""What a dry run says of an app's environment file shows nothing of the secrets in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from agent.facts import environment
from agent.system import CallDeadline
from bluegreen.checks import machines
from bluegreen.checks.release_facts import AppEnvironment
from tests.unit.facts import facts, server

IGNORING = "bluegreen-facts-1.service: Ignoring invalid environment assignment '{}': /etc/default/app-shop"


def ignored_of(monkeypatch: pytest.MonkeyPatch, *lines: str) -> Any:
    journal = "\n".join(IGNORING.format(line) for line in lines)
    monkeypatch.setattr(environment, "run", lambda _, program, *__: (0, journal * (program == "journalctl")))
    return environment.app_environment(CallDeadline("facts", 10), "/etc/hostname", "app-shop")


def test_names_that_systemd_ignores_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ignored_of(monkeypatch, "export A=hunter2", "MY-VAR=hunter3", "export A=x", "a.b=c=d")
    assert (said.ignored, said.ignored_unnamed) == (("export A", "MY-VAR", "a.b"), 0)


def test_a_line_of_a_key_is_not_shown_as_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["MIIE/QmFz+ZTY0", "Q2/xk9f", "s3cr-3t9f", "Zz_-9x8", f"{'A' * 30}-{'b' * 40}"]
    said = ignored_of(monkeypatch, *(f"{line}{end}" for line in lines for end in ("==", "=")))
    assert (said.ignored, said.ignored_unnamed) == ((), 10)


@pytest.mark.parametrize(
    ("mode", "owner", "found"),
    [
        (0o600, (0, 0), (False, False)),
        (0o640, (0, 1234), (False, False)),
        (0o644, (0, 0), (True, False)),
        (0o660, (0, 1234), (False, True)),
        (0o664, (0, 0), (True, False)),
        (0o602, (0, 0), (False, True)),
        (0o600, (1234, 0), (False, True)),
    ],
)
def test_who_can_read_and_change_it_is_known(
    monkeypatch: pytest.MonkeyPatch, mode: int, owner: tuple[int, int], found: tuple[bool, bool]
) -> None:
    about = Path("/etc/hostname").stat()
    changed = os.stat_result((stat.S_IFREG | mode, *about[1:4], *owner, *about[6:]))
    monkeypatch.setattr(Path, "stat", lambda _: changed)
    said = ignored_of(monkeypatch)
    assert (said.readable, said.changeable) == found


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ({"readable": True}, "everybody on the droplet can read /etc/default/app-my_perl_app"),
        (
            {"readable": True, "changeable": True},
            "others than root can change /etc/default/app-my_perl_app, and with it what the app does",
        ),
    ],
)
def test_an_environment_that_is_not_roots_alone_is_a_warning(rights: dict[str, bool], said: str) -> None:
    known = server(environment=AppEnvironment.model_validate(rights))
    [found] = machines.environment(facts(servers={"green-1": known}))
    assert (found.severity, found.what) == ("warning", said)


@pytest.mark.parametrize(
    ("names", "unnamed", "said"),
    [
        (("export A", "a.b"), 0, ["export A, a.b"]),
        ((), 1, ["1 that is no assignment"]),
        (("export A",), 3, ["export A and 3 that are no assignment"]),
        ((), 0, []),
    ],
)
def test_lines_that_systemd_ignores_are_reported(
    names: tuple[str, ...], unnamed: int, said: list[str]
) -> None:
    ignored = AppEnvironment(ignored=names, ignored_unnamed=unnamed)
    found = machines.environment(facts(servers={"green-1": server(environment=ignored)}))
    path = "/etc/default/app-my_perl_app"
    assert [one.what for one in found] == [f"systemd ignores lines of {path}: {what}" for what in said]
