"""Commands on a droplet, over a real SSH connection to 127.0.0.1."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from unittest.mock import Mock

import paramiko
import pytest
from airflow.sdk import BaseHook

from bluegreen.errors import BlueGreenError, DropletRefusedError, SettingsError
from bluegreen.fleet.droplets import Droplet
from bluegreen.fleet.host_keys import generate
from bluegreen.hooks.droplet import DropletHook, DropletUnreachableError
from tests.unit.ssh_server import SshServer, says, ssh_server
from tests.waiting import until


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SshServer]:
    # Neither the keys nor the known_hosts of whoever runs the tests.
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").touch()
    with ssh_server() as one:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_SSH", one.connection())
        yield one


def droplet(server: SshServer, host_key: str | None = "recorded") -> Droplet:
    return Droplet(
        id=1,
        name="shop-green-1",
        status="active",
        public=IPv4Address("127.0.0.1"),
        private=None,
        host_key=server.host_key.public if host_key == "recorded" else host_key,
    )


def hook(server: SshServer, one: Droplet | None = None) -> DropletHook:
    return DropletHook(one or droplet(server), "shop_ssh", connect_timeout=2, command_timeout=1)


def failure(server: SshServer, kind: type[BlueGreenError], one: Droplet | None = None) -> str:
    with pytest.raises(kind) as raised, hook(server, one) as unlucky:
        unlucky.run(["true"])
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_command_reaches_the_droplet_word_by_word_with_its_input_and_brings_back_all_it_left(
    server: SshServer,
) -> None:
    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        given = channel.makefile("rb").read()
        channel.sendall(given.upper())
        channel.sendall_stderr(b"careful\n")
        channel.send_exit_status(3)
        channel.close()

    server.answer = answer
    with hook(server) as one:
        result = one.run(["echo", "two words", "$(id)"], "input")
    assert server.commands == ["echo 'two words' '$(id)'"]
    assert (result.status, result.stdout, result.stderr) == (3, "INPUT", "careful\n")


def test_airflow_is_asked_once_for_the_connection_to_all_droplets(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Mock(side_effect=BaseHook.get_connection)
    monkeypatch.setattr(BaseHook, "get_connection", ask)
    for _ in range(3):
        hook(server).close()
    ask.assert_called_once_with("shop_ssh")


def test_several_commands_share_a_connection_and_it_is_closed_at_the_end(server: SshServer) -> None:
    with hook(server) as one:
        one.run(["true"])
        one.run(["true"])
        assert server.open_connections == 1
    until(lambda: server.open_connections == 0, "the connection is closed")


def test_another_host_key_than_the_recorded_one_is_refused(server: SshServer) -> None:
    message = failure(server, DropletRefusedError, droplet(server, generate().public))
    assert "shop-green-1 (127.0.0.1) answers with another SSH host key than the recorded one" in message
    assert server.commands == []


def test_a_line_in_known_hosts_does_not_vouch_for_a_droplet_with_another_recorded_key(
    server: SshServer, tmp_path: Path
) -> None:
    line = f"[127.0.0.1]:{server.port} {server.host_key.public}\n"
    (tmp_path / ".ssh" / "known_hosts").write_text(line, encoding="utf-8")
    message = failure(server, DropletRefusedError, droplet(server, generate().public))
    assert "answers with another SSH host key" in message
    assert server.commands == []


def test_an_old_line_in_known_hosts_is_named_as_the_culprit(server: SshServer, tmp_path: Path) -> None:
    line = f"[127.0.0.1]:{server.port} {generate().public}\n"
    (tmp_path / ".ssh" / "known_hosts").write_text(line, encoding="utf-8")
    assert "known_hosts has another SSH host key" in failure(server, DropletRefusedError)


def test_a_droplet_without_a_recorded_key_is_refused_unless_known_hosts_knows_it(
    server: SshServer, tmp_path: Path
) -> None:
    unknown = droplet(server, None)
    assert "no SSH host key is recorded" in failure(server, DropletRefusedError, unknown)
    line = f"[127.0.0.1]:{server.port} {server.host_key.public}\n"
    (tmp_path / ".ssh" / "known_hosts").write_text(line, encoding="utf-8")
    with hook(server, unknown) as one:
        assert one.run(["true"]).status == 0


def test_a_login_that_is_refused_names_the_connection(server: SshServer) -> None:
    server.login_key = generate()
    assert "refused the login of connection 'shop_ssh'" in failure(server, DropletRefusedError)


def test_a_closed_port_may_be_tried_again(server: SshServer) -> None:
    server.close()
    message = failure(server, DropletUnreachableError)
    assert "cannot be reached by SSH (powered off, or cut off?)" in message
    assert DropletUnreachableError.transient


def test_a_droplet_without_a_public_address_is_not_looked_up_by_name(server: SshServer) -> None:
    nowhere = droplet(server).model_copy(update={"public": None})
    assert "shop-green-1 has no public address" in failure(server, DropletUnreachableError, nowhere)


def test_a_missing_connection_is_said_in_one_line(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_SSH")
    assert "there is no Airflow connection 'shop_ssh'" in failure(server, SettingsError)


def test_a_private_key_that_is_none_is_said_without_showing_it(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_SSH", server.connection(private_key="not-a-key"))
    message = failure(server, SettingsError)
    assert "connection 'shop_ssh' is not usable" in message
    assert "not-a-key" not in message


def test_a_key_file_that_is_missing_is_not_taken_for_a_droplet_that_is_off(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"ssh://root@:{server.port}/?key_file=%2Fnowhere%2Fid&look_for_keys=false"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_SSH", uri)
    message = failure(server, SettingsError)
    assert re.search(r"the key of connection 'shop_ssh' cannot be read: .*/nowhere/id", message)


def test_a_command_that_says_nothing_is_given_up_though_it_may_still_run(
    server: SshServer,
) -> None:
    def answer(_channel: paramiko.Channel, _command: bytes) -> None:
        server.stopped.wait(20)

    server.answer = answer
    message = failure(server, DropletUnreachableError)
    assert "said nothing for 1 s" in message
    assert "still at work there" in message


def test_a_command_that_is_known_to_say_nothing_for_long_is_waited_for(server: SshServer) -> None:
    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        time.sleep(2)
        channel.sendall(b"done")
        channel.send_exit_status(0)
        channel.close()

    server.answer = answer
    with hook(server) as one:
        assert one.run(["reload"], silence=30).stdout == "done"


def test_a_server_that_hangs_before_it_starts_the_command_is_given_up(server: SshServer) -> None:
    server.hangs_before_start.set()
    assert "was lost" in failure(server, DropletUnreachableError)


def test_a_server_that_never_tells_the_exit_status_is_given_up(server: SshServer) -> None:
    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        channel.shutdown_write()
        server.stopped.wait(20)

    server.answer = answer
    assert "was lost" in failure(server, DropletUnreachableError)


def test_a_lost_connection_is_told_from_a_command_that_failed(server: SshServer) -> None:
    server.answer = lambda channel, _command: channel.transport.close()
    assert "was lost" in failure(server, DropletUnreachableError)


def test_after_a_lost_connection_the_same_hook_connects_again(server: SshServer) -> None:
    server.answer = lambda channel, _command: channel.transport.close()
    with hook(server) as one:
        with pytest.raises(DropletUnreachableError):
            one.run(["true"])
        server.answer = says("again")
        assert one.run(["true"]).stdout == "again"


def test_a_command_that_ends_before_it_has_read_its_input_is_heard_nevertheless(server: SshServer) -> None:
    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        channel.recv(1)  # the client knows now that its command was started
        channel.sendall_stderr(b"python3: command not found\n")
        channel.send_exit_status(127)
        channel.close()

    server.answer = answer
    with hook(server) as one:
        result = one.run(["python3", "-"], "#" * 10_000_000)
    assert (result.status, result.stderr) == (127, "python3: command not found\n")


def test_the_kernel_is_told_how_long_a_link_may_be_silent(server: SshServer) -> None:
    import socket

    with hook(server) as one:
        one.run(["true"])
        transport = one.ssh.get_conn().get_transport()
        assert transport is not None
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000


def test_an_answer_without_end_is_given_up(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        with suppress(OSError, EOFError):
            while True:
                channel.sendall(b"x" * 65536)

    monkeypatch.setattr("bluegreen.hooks.droplet.MOST_BYTES", 1 << 20)
    server.answer = answer
    assert failure(server, DropletRefusedError).endswith("a command was given up: it wrote more than 1 MB")


def test_an_answer_that_drips_is_given_up(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        with suppress(OSError):
            while not server.stopped.wait(0.1):
                channel.sendall(b"x")

    monkeypatch.setattr("bluegreen.hooks.droplet.LONGEST_COMMAND", 1)
    server.answer = answer
    assert failure(server, DropletRefusedError).endswith("a command was given up: it did not end within 1 s")


def streamed(channel: paramiko.Channel, _command: bytes) -> None:
    channel.makefile("rb").read()
    channel.sendall(b"one\ntwo ha")
    channel.sendall_stderr(b"lves\n")
    channel.sendall(b"three")
    channel.send_exit_status(0)
    channel.close()


def test_lines_come_one_by_one_and_a_half_one_at_the_end_is_none(server: SshServer) -> None:
    server.answer = streamed
    with hook(server) as one:
        assert list(one.stream(["follow"], b"input")) == ["one", "two halves"]


def test_a_stream_that_breaks_off_is_a_lost_connection(server: SshServer) -> None:
    heard = threading.Event()

    def breaks(channel: paramiko.Channel, _command: bytes) -> None:
        channel.sendall(b"one\n")
        heard.wait(20)
        channel.get_transport().close()

    server.answer = breaks
    with hook(server) as one:
        lines = one.stream(["follow"])
        assert next(lines) == "one"
        heard.set()
        with pytest.raises(DropletUnreachableError, match="was lost"):
            next(lines)


def test_a_stream_that_says_nothing_is_a_lost_connection(server: SshServer) -> None:
    def waits(_channel: paramiko.Channel, _command: bytes) -> None:
        server.stopped.wait(20)

    server.answer = waits
    with hook(server) as one, pytest.raises(DropletUnreachableError, match="said nothing for 1 s"):
        next(one.stream(["follow"]))


def test_a_line_without_an_end_is_given_up(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def floods(channel: paramiko.Channel, _command: bytes) -> None:
        with suppress(OSError, EOFError):
            while True:
                channel.sendall(b"x" * 65536)

    monkeypatch.setattr("bluegreen.hooks.droplet.MOST_BYTES", 1 << 20)
    server.answer = floods
    with hook(server) as one, pytest.raises(DropletRefusedError, match="it wrote too much"):
        next(one.stream(["follow"]))
