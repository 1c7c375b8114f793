"""Which certificates a dry run finds: those that HAProxy takes, each with what is wrong with it."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.facts.proxy import without_missing_certificates
from tests.sandbox.certificates import self_signed
from tests.unit.facts_verb import run_facts

CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend test
    bind 127.0.0.1:1 ssl crt {path}
"""


def pem() -> tuple[str, str]:
    """Return a certificate and its key."""
    text = self_signed(datetime.now(UTC) + timedelta(days=90))
    certificate, mark, key = text.partition("-----BEGIN PRIVATE KEY-----")
    return certificate, mark + key


def found(path: Path | str) -> dict[str, str]:
    """Return what is wrong with each certificate, by the name of its file."""
    request: dict[str, Any] = {
        "kind": "proxy",
        "ports": [],
        "unit": "haproxy.service",
        "files": [],
        "config": None,
        "certificates": [str(path)],
        "servers": [],
        "path": "/health",
        "host": None,
        "https": False,
        "pages": [],
        "page_server": None,
        "seconds": 10,
    }
    said = run_facts([], request)
    assert "PRIVATE KEY" not in said
    certificates: dict[str, Any] = json.loads(said)["certificates"]
    return {Path(name).name: one["error"] for name, one in certificates.items()}


def is_taken(path: Path) -> bool:
    """Whether HAProxy itself takes the file or directory."""
    config = CONFIG.format(path=path)
    done = subprocess.run(["haproxy", "-c", "-f", "/dev/stdin"], input=config, capture_output=True, text=True)
    return done.returncode == 0


def test_every_certificate_of_a_directory_is_found_and_nothing_else_of_it(tmp_path: Path) -> None:
    certificate, key = pem()
    (tmp_path / "one.pem").write_text(certificate + key)
    (tmp_path / "two").write_text(key + certificate)
    (tmp_path / "three.crt").write_text(certificate)
    (tmp_path / "three.crt.key").write_text(key)
    (tmp_path / "one.pem.issuer").write_text(certificate)
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link.pem").symlink_to("one.pem")
    assert found(tmp_path) == dict.fromkeys(("link.pem", "one.pem", "three.crt", "two"), "")
    assert found(f"{tmp_path}/") == found(tmp_path)
    assert is_taken(tmp_path)


@pytest.mark.parametrize("wrong", ["no key", "another key", "locked key", "no certificate", "nothing"])
@pytest.mark.parametrize("where", ["file", "directory"])
def test_what_haproxy_would_not_take_is_named(tmp_path: Path, wrong: str, where: str) -> None:
    certificate, key = pem()
    (tmp_path / "good.pem").write_text(certificate + key)
    locked = subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:x"],
        input=key,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    texts = {
        "no key": certificate,
        "another key": certificate + pem()[1],
        "locked key": certificate + locked,
        "no certificate": key,
        "nothing": "",
    }
    (tmp_path / "bad.pem").write_text(texts[wrong])
    said = found(tmp_path / "bad.pem" if where == "file" else tmp_path)
    expected = "it holds no certificate" if wrong in ("no certificate", "nothing") else "its private key is"
    assert said["bad.pem"].startswith(expected)
    assert said.get("good.pem", "") == ""
    assert not is_taken(tmp_path / "bad.pem" if where == "file" else tmp_path)


def test_a_directory_without_certificates_and_one_that_is_not_there_are_named(tmp_path: Path) -> None:
    assert found(tmp_path) == {tmp_path.name: "the directory holds no certificate"}
    assert found(tmp_path / "none") == {"none": "it cannot be read"}
    assert not is_taken(tmp_path)


def test_certificates_that_a_deploy_delivers_are_not_missed(tmp_path: Path) -> None:
    one, other = ("/etc/haproxy/certificates/one.example.com.pem", "/etc/haproxy/certificates/other.pem")
    by_hand = tmp_path / "by-hand.pem"
    binds = (
        f"    bind *:443 ssl crt {one} crt {by_hand} crt {other} alpn h2\n",
        f"    bind :::443 ssl crt {one} crt {other} alpn h2\n",
    )
    config = f"frontend f\n    bind *:80\n{binds[0]}{binds[1]}"
    expected = f"frontend f\n    bind *:80\n    bind *:443 ssl crt {by_hand} alpn h2\n"
    assert without_missing_certificates(config) == expected
