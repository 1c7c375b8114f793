"""An app is loaded once as its service would, and a failure is explained in its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import loading
from agent.droplet.loading import load, perl_cause
from agent.protocol import AgentError, Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import SERVICE, UNIT, LocalDroplet, about

PROPERTIES = ["MemoryDenyWriteExecute=yes", "WorkingDirectory=/opt/x", "Environment=PERL5LIB=/opt/x/lib"]


class Droplet(LocalDroplet):
    """A droplet that is asked to load the release."""

    def load(self, **changes: Any) -> list[str]:
        """Load it, and return the words that systemd was given."""
        wanted = {
            "release": self.release,
            "command": ["perl", "-e", "$x"],
            "properties": PROPERTIES,
            "timeout": 60.0,
        }
        assert load(Call.of(Verb.LOAD), about(**{**wanted, **changes})) == {}
        return (self.read("run-load") or "").splitlines()

    def refusal(self, **changes: Any) -> str:
        with pytest.raises(AgentError) as raised:
            self.load(**changes)
        return str(raised.value)


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    droplet = Droplet(tmp_path, monkeypatch)
    (droplet.app.releases / droplet.release).mkdir(parents=True)
    return droplet


def test_an_app_is_loaded_as_its_own_user_with_the_properties_of_its_service(droplet: Droplet) -> None:
    words = droplet.load()
    properties = [word.removeprefix("--property=") for word in words if word.startswith("--property=")]
    assert {f"User={APP}", f"BindsTo={UNIT}.service", f"StateDirectory={APP}", *PROPERTIES} <= set(properties)
    # systemd makes one $ of two.
    assert words[words.index("--") + 1 :] == [
        *("/usr/bin/timeout", "--kill-after=5", "60"),
        *("perl", "-e", "$$x"),
    ]


@pytest.mark.parametrize("text", ["[Service]\nMemoryDenyWriteExecute=no\nLimitCORE=infinity\n", None])
def test_an_app_is_loaded_with_what_its_droplet_adds(droplet: Droplet, text: str | None) -> None:
    if text is not None:
        drop_in = droplet.app.paths.units / f"{SERVICE}.d/local.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(text)
    words = droplet.load()
    assert ("--property=MemoryDenyWriteExecute=no" in words) == (text is not None)
    if text is not None:
        last = "--property=MemoryDenyWriteExecute=no"
        assert words.index(last) > words.index("--property=MemoryDenyWriteExecute=yes")
    assert not any("LimitCORE" in word for word in words)


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("", "no reason given"),
        ("one\ntwo\n\n", "two"),
        (
            "Error while loading /x.psgi: Can't locate A.pm in @INC at {release}/app.psgi line 3.\nlast\n",
            "Can't locate A.pm in @INC at app.psgi line 3.",
        ),
        (
            "Error while loading a: Error while loading b: syntax error at lib/A.pm line 57, near\n",
            "syntax error at lib/A.pm line 57, near",
        ),
    ],
)
def test_an_app_that_does_not_load_says_why(droplet: Droplet, output: str, cause: str) -> None:
    (droplet.path / "status").write_text("2")
    (droplet.path / "output").write_text(output.format(release=droplet.app.releases / droplet.release))
    assert droplet.refusal() == f"the app does not load: {cause}"


def test_a_line_that_takes_long_to_look_through_is_cut() -> None:
    hostile = " at " * 100_000
    assert len(perl_cause(hostile, Path("/none"))) <= 2000


@pytest.mark.parametrize(("passed", "cause"), [(61.0, "not within 60 s"), (3.0, "no reason given")])
def test_an_app_that_takes_too_long_is_told_from_one_that_was_killed(
    droplet: Droplet, passed: float, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([100.0, 100.0 + passed])
    monkeypatch.setattr(loading, "since_boot", lambda: next(moments))
    (droplet.path / "status").write_text("137")
    assert droplet.refusal() == f"the app does not load: {cause}"


def test_a_full_disk_is_named_whatever_the_app_says(droplet: Droplet) -> None:
    (droplet.path / "status").write_text("1")
    (droplet.path / "output").write_text("cannot write: No space left on device at app.psgi line 3.\n")
    disk = f"No space left on the disk of {droplet.app.root}"
    assert droplet.refusal() == f"the app does not load: {disk}"


def test_a_release_that_is_not_there_is_not_loaded(droplet: Droplet) -> None:
    name = f"{'e' * 40}-{'e' * 16}"
    assert droplet.refusal(release=name) == f"the release {name} is not on this droplet"
    assert droplet.read("run-load") is None


def test_a_configuration_that_is_not_there_is_named(droplet: Droplet) -> None:
    optional, path = "EnvironmentFile=-/etc/default/app-shop", "/var/lib/bluegreen/x/environment"
    assert droplet.load(properties=[optional])
    refused = droplet.refusal(properties=[optional, f"EnvironmentFile={path}"])
    assert refused == f"{path} is not on this droplet; run a deploy, which delivers it"
