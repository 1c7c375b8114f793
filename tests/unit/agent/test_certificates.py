"""Certificates on a proxy: delivered, served without a reload, and the old one whatever fails."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
import stat
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bluegreen.traffic.certificates import KeyedCertificate, path_of
from tests.unit.certificate_authority import issued
from tests.unit.killed_agent import KILL_AT_A_LINE
from tests.unit.local_haproxy import Deployed, LocalHaproxy

THUMBPRINT = "a" * 43


def delivered(deployed: Deployed, **certificates: KeyedCertificate) -> dict[str, Any]:
    return deployed.world.ok("deliver_certificates", **request(deployed, **certificates))


def request(deployed: Deployed, **certificates: KeyedCertificate) -> dict[str, Any]:
    return {
        "token": deployed.token,
        "certificates": [
            {"name": name, "pem": one.pem, "host_names": list(one.names)}
            for name, one in certificates.items()
        ],
        "thumbprint": THUMBPRINT,
    }


def serving(deployed: Deployed, **certificates: KeyedCertificate) -> None:
    """Let HAProxy serve some certificates."""
    delivered(deployed, **certificates)
    deployed.sync(deployed.world.render(certificates=[path_of(name) for name in certificates]))


def shown(world: LocalHaproxy, name: str) -> str:
    """Return the fingerprint of the certificate that a client gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", world.https_port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()


def kept(world: LocalHaproxy) -> dict[str, str]:
    """Return the files in the directory of certificates."""
    directory = world.root / "etc/haproxy/certificates"
    return {one.name: one.read_text() for one in directory.iterdir()}


def workers(deployed: Deployed) -> str:
    return deployed.world.ask("show info").partition("\nPid: ")[2].partition("\n")[0]


def test_certificates_are_there_before_the_configuration_names_them(deployed: Deployed) -> None:
    www = issued("www.example.com")
    found = delivered(deployed, www=www)["certificates"]["www"]
    assert found == {"changed": True, "loaded": False, "served": {}}
    deployed.sync(deployed.world.render(certificates=[path_of("www")]))
    found = delivered(deployed, www=www)["certificates"]["www"]
    assert found == {"changed": False, "loaded": True, "served": {"www.example.com": www.fingerprint}}


def test_each_name_gets_its_certificate_and_a_stranger_the_first(deployed: Deployed) -> None:
    www, shop = issued("www.example.com", "example.com"), issued("*.shop.example.com")
    serving(deployed, www=www, shop=shop)
    world = deployed.world
    assert shown(world, "example.com") == shown(world, "elsewhere.net") == www.fingerprint
    assert shown(world, "a.shop.example.com") == shop.fingerprint
    served = delivered(deployed, www=www, shop=shop)["certificates"]["shop"]["served"]
    assert served == {"*.shop.example.com": shop.fingerprint}


def test_a_new_certificate_is_served_without_a_reload(deployed: Deployed) -> None:
    serving(deployed, www=issued("www.example.com"))
    worker, new = workers(deployed), issued("www.example.com", "new.example.com")
    answer = delivered(deployed, www=new)
    assert answer["certificates"]["www"]["served"] == dict.fromkeys(new.names, new.fingerprint)
    assert answer["reloaded"] is False
    assert workers(deployed) == worker
    assert kept(deployed.world) == {"www.pem": new.pem}


def test_a_connection_that_is_kept_alive_outlives_its_certificate(deployed: Deployed) -> None:
    serving(deployed, www=issued("www.example.com"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", deployed.world.https_port), 5) as plain,
        context.wrap_socket(plain, server_hostname="www.example.com") as secure,
    ):
        for _ in range(2):
            secure.sendall(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
            assert secure.recv(4096).startswith(b"HTTP/1.1 200 ")
            delivered(deployed, www=issued("www.example.com"))


def test_a_delivery_that_was_killed_before_haproxy_took_it_is_finished(deployed: Deployed) -> None:
    serving(deployed, www=issued("www.example.com"))
    new = issued("www.example.com")
    (deployed.world.root / "etc/haproxy/certificates/www.pem").write_text(new.pem)
    answer = delivered(deployed, www=new)["certificates"]["www"]
    assert answer == {"changed": False, "loaded": True, "served": {"www.example.com": new.fingerprint}}


def test_what_a_killed_call_has_begun_in_haproxy_is_ended(deployed: Deployed) -> None:
    www, shop = issued("www.example.com"), issued("shop.example.com")
    serving(deployed, www=www, shop=shop)
    path = deployed.world.root / "etc/haproxy/certificates/shop.pem"
    assert "Transaction" in deployed.world.ask(f"set ssl cert {path} <<\n{issued('x.com').pem}\n")
    new = issued("www.example.com")
    assert delivered(deployed, www=new)["reloaded"] is False
    assert shown(deployed.world, "www.example.com") == new.fingerprint
    assert shown(deployed.world, "shop.example.com") == shop.fingerprint


def test_a_key_of_another_certificate_changes_nothing(deployed: Deployed) -> None:
    www, shop = issued("www.example.com"), issued("shop.example.com")
    serving(deployed, www=www, shop=shop)
    before = kept(deployed.world)
    new = issued("www.example.com")
    wrong = new.pem.partition("-----BEGIN CERT")[2].rpartition("-----BEGIN")[0]
    broken = f"-----BEGIN CERT{wrong}{shop.pem[shop.pem.rindex('-----BEGIN') :]}"
    asked = request(deployed, shop=issued("shop.example.com"), www=new)
    asked["certificates"][1]["pem"] = broken
    code, message = deployed.world.refused("deliver_certificates", **asked)
    assert (code, "nothing was changed" in message) == ("certificate_refused", True)
    assert kept(deployed.world) == before
    assert shown(deployed.world, "shop.example.com") == shop.fingerprint


def test_what_haproxy_does_not_take_is_put_back(deployed: Deployed) -> None:
    """It has read the file, and refuses the configuration that a person has broken meanwhile."""
    www = issued("www.example.com")
    serving(deployed, www=www)
    deployed.world.install_edited(
        "proxy/certificates.py", lambda text: text.replace('"commit ssl cert', '"no such command')
    )
    config = deployed.world.config.read_text()
    deployed.world.config.write_text(config + "nonsense\n")
    code, message = deployed.world.refused(
        "deliver_certificates", **request(deployed, www=issued("www.example.com"))
    )
    assert (code, "the old one serves" in message) == ("certificate_refused", True)
    assert kept(deployed.world) == {"www.pem": www.pem}
    assert shown(deployed.world, "www.example.com") == www.fingerprint


def test_where_the_runtime_api_refuses_haproxy_is_reloaded(deployed: Deployed) -> None:
    serving(deployed, www=issued("www.example.com"))
    new = issued("www.example.com")
    deployed.world.install_edited(
        "proxy/certificates.py", lambda text: text.replace('"commit ssl cert', '"no such command')
    )
    answer = delivered(deployed, www=new)
    assert answer["reloaded"] is True
    assert answer["certificates"]["www"]["served"] == {"www.example.com": new.fingerprint}
    assert deployed.status()["haproxy"]["config_sha256"] is not None


def test_nobody_else_reads_a_private_key(deployed: Deployed) -> None:
    delivered(deployed, www=issued("www.example.com"))
    directory = deployed.world.root / "etc/haproxy/certificates"
    for path in (directory, directory / "www.pem"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o027, path


@pytest.mark.parametrize("name", ["../www", ".www", "a/b", "", "a b", "a\n", "x" * 300, None, 1], ids=str)
def test_a_name_that_could_be_another_path_is_refused(deployed: Deployed, name: Any) -> None:
    asked = request(deployed, www=issued("www.example.com"))
    asked["certificates"][0]["name"] = name
    assert deployed.world.refused("deliver_certificates", **asked)[0] == "bad_request"


@pytest.mark.parametrize("pem", ["", "x", "a\n\nquit\n", "a\r\nb\n", "ü\n", "a\n" * 40000, None])
def test_a_text_that_could_be_another_command_is_refused(deployed: Deployed, pem: Any) -> None:
    asked = request(deployed, www=issued("www.example.com"))
    asked["certificates"][0]["pem"] = pem
    code, message = deployed.world.refused("deliver_certificates", **asked)
    assert (code, "pem is no text" in message) == ("bad_request", True)


def test_a_link_in_the_place_of_the_directory_is_not_followed(deployed: Deployed, tmp_path: Path) -> None:
    (deployed.world.root / "etc/haproxy/certificates").symlink_to(tmp_path)
    deployed.world.refused("deliver_certificates", **request(deployed, www=issued("www.example.com")))
    assert list(tmp_path.iterdir()) == []


def test_challenges_are_answered_whatever_is_live(deployed: Deployed) -> None:
    assert delivered(deployed)["answers_challenges"] is False
    deployed.sync(deployed.world.render(acme_thumbprint=THUMBPRINT))
    assert delivered(deployed)["answers_challenges"] is True


def test_a_delivery_that_is_killed_at_any_line_is_finished_by_the_next(deployed: Deployed) -> None:
    world, known = deployed.world, issued("www.example.com")
    serving(deployed, www=known)
    trace = KILL_AT_A_LINE.replace('"pending_switch.py"', '"proxy/certificates.py"')
    world.install_edited(
        "__main__.py", lambda text: text.replace("\nimport json\n", f"{trace}\nimport json\n", 1)
    )
    for line in count(1, 11):
        new = issued("www.example.com")
        environment = {**world.environment, "KILL_AT": str(line)}
        command = world.command("deliver_certificates", request(deployed, www=new))
        call = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        assert shown(world, "www.example.com") in (known.fingerprint, new.fingerprint)
        assert kept(world)["www.pem"] in (known.pem, new.pem)
        found = delivered(deployed, www=new)["certificates"]["www"]
        assert found["served"] == {"www.example.com": new.fingerprint}
        assert kept(world) == {"www.pem": new.pem}
        if call.returncode == 0:
            assert line > 40, "it was killed nowhere"
            return
        assert call.returncode == -signal.SIGKILL
        known = new


def test_a_full_disk_leaves_everything_as_it_was(deployed: Deployed) -> None:
    www, shop = issued("www.example.com"), issued("shop.example.com")
    serving(deployed, www=www, shop=shop)
    deployed.world.install_edited(
        "proxy/certificates.py",
        lambda text: text.replace(
            "                os.fsync(file.fileno())\n",
            '                if "shop" in str(path):\n'
            '                    raise OSError(28, "No space left on device")\n',
        ),
    )
    code, message = deployed.world.refused(
        "deliver_certificates",
        **request(deployed, www=issued("www.example.com"), shop=issued("shop.example.com")),
    )
    assert (code, "No space left on device" in message) == ("failed", True)
    assert kept(deployed.world) == {"www.pem": www.pem, "shop.pem": shop.pem}
    assert shown(deployed.world, "www.example.com") == www.fingerprint


def test_a_call_that_is_killed_after_a_refusal_leaves_no_refused_file(deployed: Deployed) -> None:
    """The file that HAProxy would start with is the old one again as soon as anything is delivered."""
    www = issued("www.example.com")
    serving(deployed, www=www)
    deployed.world.install_edited(
        "proxy/certificates.py",
        lambda text: text.replace('"commit ssl cert', '"no such command').replace(
            "        is_back = files.restore(wanted.name)\n", "        os._exit(1)\n"
        ),
    )
    config = deployed.world.config.read_text()
    deployed.world.config.write_text(config + "nonsense\n")
    command = deployed.world.command("deliver_certificates", request(deployed, www=issued("www.example.com")))
    subprocess.run(command, env=deployed.world.environment, stdout=subprocess.DEVNULL, check=False)
    assert kept(deployed.world)["www.pem"] != www.pem
    deployed.world.install_edited(
        "proxy/certificates.py", lambda text: text.replace('"commit ssl cert', '"no such command')
    )
    code, message = deployed.world.refused(
        "deliver_certificates", **request(deployed, www=issued("www.example.com"))
    )
    assert (code, "the old one serves" in message) == ("certificate_refused", True)
    assert kept(deployed.world) == {"www.pem": www.pem}


def test_putting_the_old_one_back_needs_no_room(deployed: Deployed) -> None:
    www = issued("www.example.com")
    serving(deployed, www=www)
    deployed.world.install_edited(
        "proxy/certificates.py",
        lambda text: text.replace('"commit ssl cert', '"no such command').replace(
            "        config = paths.config.read_bytes()\n",
            '        raise OSError(28, "No space left on device")\n',
        ),
    )
    code, _ = deployed.world.refused(
        "deliver_certificates", **request(deployed, www=issued("www.example.com"))
    )
    assert code == "failed"
    assert kept(deployed.world) == {"www.pem": www.pem}


def test_names_that_another_certificate_is_for_share_one_wait(deployed: Deployed) -> None:
    """They are reported, and do not use up the time of the call."""
    names = [f"n{number}.example.com" for number in range(24)]
    first, second = issued(*names), issued(*names)
    serving(deployed, first=first, second=second)
    found = delivered(deployed, first=first, second=second)["certificates"]
    assert found["first"]["served"] == found["second"]["served"] == dict.fromkeys(names, first.fingerprint)
