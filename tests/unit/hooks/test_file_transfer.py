"""Files on their way to a droplet and back, over a real SSH connection to 127.0.0.1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from agent.protocol import Verb
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet import DropletHook, DropletUnreachableError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.file_transfer import AlteredFileError, FileTransfer, TransferError
from bluegreen.release.artifact import ArtifactFile
from tests.unit.ssh_server import SshServer, ssh_server

# More than one chunk, and not a multiple of one.
CONTENT = bytes(range(256)) * 4000 + b"end"
NAME = "source.tar.gz"
RELEASE = f"{'a' * 40}-{'1' * 16}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SshServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").touch()
    with ssh_server() as one:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_SSH", one.connection())
        one.files = tmp_path / "droplet"
        for name in ("incoming", "outgoing"):
            (one.files / "opt/app-shop" / name).mkdir(parents=True)
        yield one


class Agent(DropletAgentHook):
    """An agent that is ready for every file, unless a test says otherwise."""

    def __init__(self, hook: DropletHook, answer: dict[str, Any]) -> None:
        super().__init__(hook)
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def call(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Answer a question about a file."""
        assert verb is Verb.RECEIVE
        self.asked.append(request)
        return self.answer


def transfer(server: SshServer, **changes: Any) -> FileTransfer:
    droplet = Droplet(
        id=1,
        name="shop-green-1",
        status="active",
        public=IPv4Address("127.0.0.1"),
        private=None,
        host_key=server.host_key.public,
    )
    hook = DropletHook(droplet, "shop_ssh", connect_timeout=2, command_timeout=2)
    agent = Agent(hook, changes.pop("answer", {"needed": True}))
    return FileTransfer(agent, "shop", **{"token": 7, "seconds": 30, **changes})


def about(content: bytes, **changes: Any) -> ArtifactFile:
    known = {"name": NAME, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return ArtifactFile(**{**known, **changes})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def incoming(server: SshServer) -> dict[str, bytes]:
    directory = server.files / "opt/app-shop/incoming"
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_file_arrives_whole_and_the_lock_is_renewed_meanwhile(server: SshServer, source: Path) -> None:
    renewed: list[int] = []
    one = transfer(server, meanwhile=lambda: renewed.append(1))
    one.put(source, about(CONTENT))
    assert incoming(server) == {NAME: CONTENT}
    assert len(renewed) > 2
    assert isinstance(one.agent, Agent)
    assert one.agent.asked == [{"app": "app-shop", "token": 7, "file": about(CONTENT).sent}]


def test_a_file_that_is_there_is_not_sent_again(server: SshServer, source: Path) -> None:
    transfer(server, answer={"needed": False}).put(source, about(CONTENT))
    assert incoming(server) == {}


def test_a_file_that_is_not_what_it_should_be_is_not_there_afterwards(
    server: SshServer, source: Path
) -> None:
    for wrong in (about(CONTENT, sha256="0" * 64), about(CONTENT, size=len(CONTENT) - 1)):
        with pytest.raises(AlteredFileError):
            transfer(server).put(source, wrong)
        assert incoming(server) == {}


@pytest.mark.parametrize("silent", [False, True])
def test_a_full_disk_is_named(server: SshServer, source: Path, silent: bool) -> None:
    server.room, server.full_is_silent = 300_000, silent
    with pytest.raises(TransferError, match=r"shop-green-1.*is its disk full\?"):
        transfer(server).put(source, about(CONTENT))
    assert NAME not in incoming(server)


def test_a_droplet_that_takes_no_file_is_named(server: SshServer, source: Path) -> None:
    server.refuses_to_open = True
    with pytest.raises(TransferError, match=r"shop-green-1.*cannot be sent source.tar.gz"):
        transfer(server).put(source, about(CONTENT))


def test_a_link_that_is_cut_may_be_tried_again_and_begins_anew(server: SshServer, source: Path) -> None:
    server.cut_after = 300_000
    one = transfer(server)
    with pytest.raises(DropletUnreachableError):
        one.put(source, about(CONTENT))
    assert NAME not in incoming(server)
    one.put(source, about(CONTENT))
    assert incoming(server) == {NAME: CONTENT}


def test_a_lock_that_is_lost_meanwhile_ends_the_transfer(server: SshServer, source: Path) -> None:
    def lost() -> None:
        raise BlueGreenError("the lock is lost")

    with pytest.raises(BlueGreenError, match="the lock is lost"):
        transfer(server, meanwhile=lost).put(source, about(CONTENT))
    assert NAME not in incoming(server)


def test_a_link_that_is_too_slow_is_given_up(server: SshServer, source: Path) -> None:
    with pytest.raises(TransferError, match=r"within 0 s; the link is too slow for timeouts.build"):
        transfer(server, seconds=0).put(source, about(CONTENT))


def test_a_file_is_fetched(server: SshServer, tmp_path: Path) -> None:
    (server.files / "opt/app-shop/outgoing" / NAME).write_bytes(CONTENT)
    transfer(server).get(about(CONTENT), tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == CONTENT


@pytest.mark.parametrize("there", [b"", CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"D"])
def test_a_file_that_is_not_what_was_built_is_refused(
    server: SshServer, tmp_path: Path, there: bytes
) -> None:
    (server.files / "opt/app-shop/outgoing" / NAME).write_bytes(there)
    with pytest.raises(TransferError, match=r"another size|not what was built"):
        transfer(server).get(about(CONTENT), tmp_path / "fetched")


def test_a_file_that_is_gone_is_named(server: SshServer, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"does not give source.tar.gz away"):
        transfer(server).get(about(CONTENT), tmp_path / "fetched")


def test_a_release_is_there_if_it_has_a_manifest(server: SshServer) -> None:
    one = transfer(server)
    directory = server.files / "opt/app-shop/releases" / RELEASE / ".bluegreen"
    assert not one.has_release(RELEASE)
    directory.mkdir(parents=True)
    assert not one.has_release(RELEASE)
    (directory / "manifest").touch()
    assert one.has_release(RELEASE)
