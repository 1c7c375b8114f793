"""Before a file is sent there is room for it, and it is not sent twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import receiving
from agent.droplet.receiving import receive
from agent.protocol import AgentError, Code, SentFile, Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import LocalDroplet


class Droplet(LocalDroplet):
    """A droplet to which a file is to be sent."""

    def receive(self, file: Any, token: int = 7, **changes: Any) -> bool:
        request = {"app": APP, "token": token, "file": file, **changes}
        return bool(receive(Call.of(Verb.RECEIVE), request)["needed"])


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    return Droplet(tmp_path, monkeypatch)


FILE: SentFile = {"name": "x.tar.gz", "sha256": "a" * 64, "size": 10}


def test_a_new_droplet_gets_directories_that_only_root_may_read(droplet: Droplet) -> None:
    assert droplet.receive(FILE)
    for directory in (droplet.app.incoming, droplet.app.outgoing):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_the_very_file_is_not_sent_twice(droplet: Droplet) -> None:
    file = droplet.send()
    assert not droplet.receive(file)
    assert droplet.receive({**file, "sha256": "a" * 64})
    assert droplet.receive({**file, "size": file["size"] + 1})


def test_a_droplet_of_another_run_receives_nothing(droplet: Droplet) -> None:
    droplet.claimed_by(8)
    with pytest.raises(AgentError, match="nothing was sent, trigger a new run") as refused:
        droplet.receive(FILE)
    assert refused.value.code is Code.CLAIMED
    assert not droplet.app.incoming.exists()


def test_for_a_file_that_could_be_done_without_no_room_is_made(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(receiving, "make_room", lambda *_: made.append(1))
    assert droplet.receive(FILE, optional=True)
    monkeypatch.setattr("agent.droplet.reserve.free_mb", lambda _: 3)
    with pytest.raises(AgentError, match="3 MB are free"):
        droplet.receive(FILE, optional=True)
    assert made == []


def test_room_is_made_first_and_what_that_says_is_no_answer(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(receiving, "make_room", lambda *_: print("the disk is full"))
    monkeypatch.setattr(receiving, "check_room", lambda *_: print("checked"))
    assert droplet.receive(FILE)
    assert capsys.readouterr() == ("checked\n", "the disk is full\n")


def test_a_droplet_without_room_says_so_before_anything_is_sent(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.droplet.reserve.free_mb", lambda _: 150)
    assert droplet.receive(FILE)
    why = r"No space left on the disk of .*: 150 MB are free, 160 MB are needed"
    with pytest.raises(AgentError, match=why):
        droplet.receive({**FILE, "size": 60 << 20})


def test_the_reserve_is_used_for_a_file_that_has_no_room_without_it(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = droplet.app.root / "reserve"
    reserve.mkdir()
    monkeypatch.setattr("agent.droplet.reserve.free_mb", lambda _: 150 if reserve.exists() else 350)
    assert droplet.receive(FILE)
    assert reserve.exists()
    assert droplet.receive({**FILE, "size": 60 << 20})
    assert not reserve.exists()
    assert droplet.told == ["stop app-shop.service"]
