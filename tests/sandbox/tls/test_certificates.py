"""Certificates of a fleet with two proxies, under load, through the scheduler."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
import requests

from sandbox import Machine
from tests.pebble import Pebble
from tests.sandbox.app_file import settings
from tests.sandbox.judged import judged
from tests.sandbox.stack import Stack
from tests.sandbox.tls.clients import NAME, https_clients
from tests.sandbox.tls.conftest import traffic
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


def shown(stack: Stack) -> list[str]:
    """Return the fingerprint of the certificate that each proxy shows to clients."""
    return [fingerprint(proxy) for proxy in stack.proxies()]


def fingerprint(proxy: Machine) -> str:
    pem = ssl.get_server_certificate((str(proxy.address), 443), timeout=10)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def addresses(stack: Stack) -> list[str]:
    return [str(proxy.address) for proxy in stack.proxies()]


def processes(stack: Stack) -> list[str]:
    """Return HAProxy's processes on each proxy."""
    return [proxy.run("pgrep -x haproxy | sort").stdout for proxy in stack.proxies()]


def test_the_first_certificate_fails_no_request_by_http(stack: Stack, tmp_path: Path) -> None:
    with judged(stack.environment.proxy_url(), tmp_path, ["/"]) as seen:
        ended = stack.run("certificates").expect("done")
    assert f"obtained {NAME} until " in ended.report["message"], ended.report["message"]
    assert seen[0].failed == 0
    assert len(set(shown(stack))) == 1
    for proxy in stack.proxies():
        listed = proxy.run("stat -c '%a %U:%G' /etc/haproxy/certificates /etc/haproxy/certificates/*").stdout
        assert listed.split("\n")[:2] == ["750 root:haproxy", "640 root:haproxy"]


def test_a_renewal_with_a_new_key_fails_no_request_and_closes_no_connection(
    stack: Stack, trusted: Path
) -> None:
    before, running = shown(stack), processes(stack)
    with https_clients(addresses(stack), trusted) as seen:
        for _ in range(2):
            stack.run("certificates", renew=True).expect("done")
            renewed = shown(stack)
            assert len(set(renewed)) == 1
            assert not {*renewed} & {*before}
            before = renewed
        nothing = stack.run("certificates").expect("nothing to do")
    assert "every proxy serves its certificates" in nothing.report["message"]
    assert processes(stack) == running
    assert seen.failures == []
    assert seen.requests > 1000


def test_a_deploy_with_redirect_and_hsts_fails_no_request(
    stack: Stack, authority: Pebble, trusted: Path
) -> None:
    with settings(stack, {"traffic": traffic(authority, redirect=True, hsts=300)}):
        with https_clients(addresses(stack), trusted) as seen:
            ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert ended.report["rests_on"]["own_requests"] > 50
        for address in addresses(stack):
            answer = requests.get(
                f"http://{address}/x?y=1", headers={"Host": NAME}, allow_redirects=False, timeout=10
            )
            assert (answer.status_code, answer.headers["Location"]) == (308, f"https://{NAME}/x?y=1")
            curl = [
                "curl",
                "-sk",
                "-D-",
                "-o/dev/null",
                "--resolve",
                f"{NAME}:443:127.0.0.1",
                f"https://{NAME}/",
            ]
            answered = stack.proxy().run(curl).stdout.lower()
            assert answered.startswith("http/2 200")
            assert "strict-transport-security: max-age=300" in answered
        stack.run("rollback").expect("live and confirmed")
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    assert seen.failures == []


def test_a_full_disk_leaves_the_old_certificates_until_there_is_room(stack: Stack) -> None:
    before, full = shown(stack), stack.proxies()[1]
    full.fill_disk()
    try:
        ended = stack.run("certificates", renew=True)
        assert ended.state == "failed"
        assert "No space left on device" in ended.report["message"], ended.report["message"]
        assert shown(stack)[1] == before[1]
    finally:
        full.free_disk()
    stack.run("certificates", renew=True).expect("done")
    assert len({*shown(stack)} - {*before}) == 1


def test_a_proxy_that_is_off_gets_its_certificate_from_the_next_run(stack: Stack) -> None:
    off = stack.proxies()[1]
    before = shown(stack)[0]
    off.power_off()
    ended = stack.run("certificates", renew=True).expect("failed")
    assert f"away, and served by the next run: {off.name}" in ended.report["message"], ended.report["message"]
    now = fingerprint(stack.proxy())
    assert now != before
    off.power_on()
    stack.wait_for_ssh(off)
    until(
        lambda: off.run("systemctl is-active haproxy", check=False).stdout.strip() == "active", "HAProxy runs"
    )
    stack.run("certificates").expect("done")
    assert shown(stack) == [now] * 2


def test_without_its_authority_a_renewal_fails_in_one_line_and_a_deploy_does_not(
    stack: Stack, authority: Pebble
) -> None:
    before = shown(stack)
    authority.process.kill()
    ended = stack.run("certificates", renew=True).expect("failed")
    assert "it cannot be asked" in ended.report["message"], ended.report["message"]
    assert "\n" not in ended.report["message"]
    stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    assert shown(stack) == before


def test_no_private_key_is_in_a_file_of_airflows_but_its_database(stack: Stack) -> None:
    kept = "\n".join(proxy.run("cat /etc/haproxy/certificates/*.pem").stdout for proxy in stack.proxies())
    private = [
        line for block in kept.split("-----BEGIN PRIVATE KEY-----\n")[1:] for line in block.split("\n")[:2]
    ]
    assert private
    logs = [path for path in stack.airflow.home.directory.rglob("*.log") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_text(errors="replace")
        assert not any(line in text for line in private), path
