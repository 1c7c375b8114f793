"""A job does its steps in order, in its turn and with room; its last line is the cause of a failure."""

from __future__ import annotations

import errno
import fcntl
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import job as module
from agent.droplet.job import job
from agent.droplet.jobs import LARGEST_ANSWERS
from agent.protocol import AgentError, Code, Kind, Verb
from tests.unit.agent.droplet.local_droplet import UNIT, LocalDroplet, about

Step = Callable[[Call, dict[str, Any]], Any]


class Droplet(LocalDroplet):
    """A droplet whose job has steps of the test's."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path, monkeypatch)
        self.steps = ModuleType("steps_of_a_test")
        monkeypatch.setitem(sys.modules, "steps_of_a_test", self.steps)
        for verb in Verb:
            if verb.kind is Kind.STEP:
                monkeypatch.setattr(verb, "module", "steps_of_a_test")

    def do(self, **steps: Step) -> None:
        """Do steps, by verb."""
        for verb, step in steps.items():
            setattr(self.steps, verb, step)
        program = [{"verb": verb, "request": about(artifact=None)} for verb in steps]
        job(Call.of(Verb.JOB), {"steps": program})

    def refusal(self, **steps: Step) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.do(**steps)
        return raised.value

    @property
    def answers(self) -> Any:
        path = self.job / "answers.json"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    return Droplet(tmp_path, monkeypatch)


def answers(value: Any) -> Step:
    return lambda _call, _request: value


def raises(error: Exception) -> Step:
    def step(_call: Call, _request: dict[str, Any]) -> None:
        raise error

    return step


def test_steps_are_done_in_order_and_their_answers_are_kept(droplet: Droplet) -> None:
    done = []

    def step(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        done.append(call.verb)
        assert request["unit"] == UNIT
        return {"number": len(done)}

    droplet.do(install=step, load=step, activate=step)
    assert done == [Verb.INSTALL, Verb.LOAD, Verb.ACTIVATE]
    assert droplet.answers == {"install": {"number": 1}, "load": {"number": 2}, "activate": {"number": 3}}
    assert (droplet.job / "answers.json").stat().st_mode & 0o777 == 0o600


def test_what_an_app_has_on_a_droplet_is_for_its_own_users(droplet: Droplet) -> None:
    for name in ("releases", "activated"):
        (droplet.app.root / name).mkdir(exist_ok=True)
        (droplet.app.root / name).chmod(0o755)
    droplet.do(install=answers({}))
    modes = {path.name: f"{path.stat().st_mode & 0o777:o}" for path in droplet.app.root.iterdir()}
    wanted = {"releases": "750", "cache": "700", "activated": "700", "incoming": "700", "outgoing": "700"}
    assert {name: modes[name] for name in wanted} == wanted
    # Those who know a name get to it; nobody can list what there is.
    assert droplet.app.root.stat().st_mode & 0o777 == 0o711


def test_a_cache_that_everybody_could_read_is_closed(droplet: Droplet) -> None:
    (droplet.app.root / "cache").mkdir()
    for before, after in ((0o755, 0o750), (0o750, 0o750), (0o700, 0o700)):
        (droplet.app.root / "cache").chmod(before)
        droplet.do(install=answers({}))
        assert (droplet.app.root / "cache").stat().st_mode & 0o777 == after


def test_an_earlier_artifact_that_was_sent_is_removed_with_the_source(droplet: Droplet) -> None:
    droplet.app.incoming.mkdir()
    for name in ("source.tar.gz", "earlier.tar.gz", "another.tar.gz"):
        (droplet.app.incoming / name).touch()
    droplet.steps.build = answers({})  # type: ignore[attr-defined]
    about_file = {"sha256": "a" * 64, "size": 1}
    earlier = {"dependencies": "x", "digest": "y", "artifact": {"name": "earlier.tar.gz", **about_file}}
    request = about(source={"name": "source.tar.gz", **about_file}, earlier=earlier)
    job(Call.of(Verb.JOB), {"steps": [{"verb": "build", "request": request}]})
    assert [path.name for path in droplet.app.incoming.iterdir()] == ["another.tar.gz"]


def test_after_a_step_that_fails_none_is_done(droplet: Droplet) -> None:
    refused = droplet.refusal(install=raises(AgentError(Code.FAILED, "why")), load=raises(AssertionError()))
    assert str(refused) == "why"
    assert droplet.answers is None


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on the disk of {root}"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "No space left on the disk of {root}"),
        (PermissionError(errno.EPERM, "no"), "install failed: [Errno 1] no"),
        (KeyError("x"), "install failed: KeyError: 'x'"),
        (RecursionError("too deep"), "install failed: RecursionError: too deep"),
    ],
)
def test_a_step_that_fails_in_an_unexpected_way_has_a_cause(
    droplet: Droplet, error: Exception, cause: str
) -> None:
    refused = droplet.refusal(install=raises(error))
    assert (refused.code, str(refused)) == (Code.FAILED, cause.format(root=droplet.app.root))


def test_a_step_that_fails_on_a_full_disk_is_explained_by_that(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_full", lambda _: True)
    refused = droplet.refusal(install=raises(OSError(errno.EIO, "broken")))
    assert str(refused) == f"No space left on the disk of {droplet.app.root}"


def test_answers_are_bounded(droplet: Droplet) -> None:
    assert droplet.refusal(install=answers({"x": "x" * LARGEST_ANSWERS})).code is Code.TOO_LARGE
    assert droplet.answers is None


def test_a_command_that_fails_ends_its_job_with_its_own_status(droplet: Droplet) -> None:
    def step(_call: Call, _request: dict[str, Any]) -> None:
        sys.exit(7)

    with pytest.raises(SystemExit) as ended:
        droplet.do(run=step)
    assert ended.value.code == 7


def test_deploys_take_turns_and_commands_do_not_wait(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_WAIT", 0.1)
    with (droplet.path / "run/bluegreen/app-shop.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = droplet.refusal(install=answers({}))
        assert str(refused) == "another deploy of app-shop is at work on this droplet"
        droplet.do(run=answers({}))
    droplet.do(install=answers({}))


def test_what_a_killed_job_left_is_gone_before_the_first_step(droplet: Droplet) -> None:
    left = [
        droplet.app.releases / "x.partial.1/lib",
        droplet.app.root / "build.partial.d/tree",
        droplet.app.configurations / "x.partial.2/files",
    ]
    for path in left:
        path.mkdir(parents=True)

    def step(_call: Call, _request: dict[str, Any]) -> dict[str, Any]:
        assert not any(path.parent.exists() for path in left)
        return {}

    droplet.do(install=step)
    assert "stop caged-bluegreen-app-shop-*.service" in droplet.told


@pytest.mark.parametrize("fails", [True, False])
def test_files_that_were_sent_for_a_job_go_with_it_and_others_stay(droplet: Droplet, fails: bool) -> None:
    sent = [droplet.send(f"{name}.tar.gz") for name in ("own", "other")]

    def step(_call: Call, _request: dict[str, Any]) -> dict[str, Any]:
        assert (droplet.app.incoming / "own.tar.gz").exists()
        if fails:
            raise AgentError(Code.FAILED, "why")
        return {}

    droplet.steps.install = step  # type: ignore[attr-defined]
    program = {"steps": [{"verb": "install", "request": about(artifact=sent[0])}]}
    if fails:
        with pytest.raises(AgentError, match="why"):
            job(Call.of(Verb.JOB), program)
    else:
        job(Call.of(Verb.JOB), program)
    assert [path.name for path in droplet.app.incoming.iterdir()] == ["other.tar.gz"]


def test_nothing_is_begun_on_a_droplet_that_another_run_has_claimed(droplet: Droplet) -> None:
    droplet.claimed_by(8)
    refused = droplet.refusal(install=raises(AssertionError()))
    assert refused.code is Code.CLAIMED
    assert str(refused).endswith("; nothing was changed")


def test_room_is_made_before_the_steps_and_kept_after_them(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(module, "make_room", lambda _: done.append("made"))
    monkeypatch.setattr(module, "keep_room", lambda _: done.append("kept"))

    def step(_call: Call, _request: dict[str, Any]) -> dict[str, Any]:
        done.append("step")
        return {}

    droplet.do(activate=step)
    assert done == ["made", "step", "kept"]
    done.clear()
    # Nobody would start the app again that is stopped for that.
    droplet.do(install=step, migrate=step)
    assert done == ["step", "step", "kept"]
