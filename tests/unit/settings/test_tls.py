"""Which sections ``traffic.tls`` are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from bluegreen.settings.app import App
from tests.unit.app_settings import settings_of

ACME = "acme: {email: ops@example.com}"
DNS = "acme: {email: ops@example.com, challenge: dns-01}"
NAMES = "certificates: [{acme: [www.example.com]}]"


def shop(tmp_path: Path, tls: str, public_url: str = "https://www.example.com") -> App:
    replaced = {"  # affinity: none": f"  public_url: {public_url}\n  tls: {{{tls}}}"}
    return settings_of(tmp_path, replaced=replaced)


def test_the_three_sources_stand_side_by_side(tmp_path: Path) -> None:
    certificates = (
        "certificates: [{acme: [www.example.com, example.com]}, {connection: tls}, {path: /etc/x.pem}]"
    )
    tls = shop(tmp_path, f"{certificates}, {ACME}").traffic.tls
    assert tls is not None
    assert [one.name for one in tls.certificates] == ["www.example.com", "tls", None]
    assert (tls.redirect, tls.hsts, tls.is_delivered) == (True, 0, True)


def test_a_wildcard_certificate_has_a_name_that_is_no_pattern_of_files(tmp_path: Path) -> None:
    tls = shop(tmp_path, f"certificates: [{{acme: ['*.example.com', example.com]}}], {DNS}").traffic.tls
    assert tls is not None
    assert [one.name for one in tls.certificates] == ["_any.example.com"]


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("certificates: []", r"traffic\.tls\.certificates: .*at least 1"),
        ("certificates: [{}]", r"one source; allowed is one of acme, connection and path"),
        ("certificates: [{path: /a.pem, connection: x}]", r"one source"),
        ("certificates: [{path: null}]", r"one source"),
        ("certificates: [{path: a.pem}]", r"certificates\.0\.path"),
        (f"certificates: [{{acme: ['*.example.com']}}], {ACME}", r"\*\.example\.com needs .* dns-01"),
        (f"certificates: [{{acme: ['www.*.com']}}], {DNS}", r"acme\.0: found 'www\.\*\.com'"),
        (f"certificates: [{{acme: ['*']}}], {DNS}", r"acme\.0: found '\*'"),
        (f"{NAMES}, acme: {{email: a@b.com, challenge: tls-alpn-01}}", r"acme\.challenge"),
        (f"{NAMES}, {ACME}, redirct: true", r"tls\.redirct: unknown key; allowed here are .*redirect"),
        (f"{NAMES}, acme: {{mail: a@b.com}}", r"acme\.mail: unknown key; allowed here are .*email"),
        (NAMES, r"tls\.acme names the certificate authority"),
        (f"certificates: [{{path: /a.pem}}], {ACME}", r"tls\.acme names the certificate authority"),
        (f"certificates: [{{acme: [a.com]}}, {{acme: [b.com, a.com]}}], {ACME}", r"a\.com is there twice"),
        ("certificates: [{connection: x}, {connection: x}]", r"x is there twice"),
        (f"{NAMES}, acme: {{email: 'a@b.com,c@d.com'}}", r"acme\.email"),
        (f"{NAMES}, acme: {{email: a@b.com, directory: 'http://ca/'}}", r"allowed is the https:// URL"),
        (f"{NAMES}, acme: {{email: a@b.com, directory: 'https://u:p@ca/'}}", r"allowed is the https:// URL"),
        (f"{NAMES}, {ACME}, hsts: -1", r"hsts"),
        (f"{NAMES}, {ACME}, hsts: 99999999999", r"hsts"),
    ],
)
def test_what_cannot_work_is_refused(tls: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=expected):
        shop(tmp_path, tls)


def test_a_redirect_needs_https_to_be_what_clients_use(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"public_url has to be an https:// URL; or set tls\.redirect"):
        shop(tmp_path, "certificates: [{path: /a.pem}]", "http://www.example.com")
    assert shop(tmp_path, "certificates: [{path: /a.pem}], redirect: false", "http://www.example.com")
