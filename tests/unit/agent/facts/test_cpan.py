"""Which files a CPAN mirror has, as a droplet finds out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pytest

from agent.droplet.app_paths import AppPaths
from agent.droplet.installers import kept_tarballs
from agent.paths import Paths
from tests.unit.facts_verb import run_facts


class Mirrored(BaseHTTPRequestHandler):
    """A CPAN that has what is in a directory ``here``, moves what is in ``moved`` there, and may be slow."""

    def do_HEAD(self) -> None:
        sleep(0.5 if "slow" in self.path else 0)
        if "moved" in self.path:
            self.send_response(301)
            self.send_header("Location", self.path.replace("moved", "here"))
        else:
            statuses = {"here": 200, "unhealthy": 503, "locked": 401}
            if self.headers.get("Authorization") == "Basic bWU6czNjcmV0":
                statuses["locked"] = 200
            self.send_response(next((statuses[one] for one in statuses if one in self.path), 404))
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def cpan() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirrored) as httpd:
        Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def mirrored(
    mirror: str | None, paths: list[str], seconds: int = 20, credentials: dict[str, str] | None = None
) -> dict[str, Any]:
    """Ask a mirror for files, as a dry run does."""
    about = {"app": "app-shop", "mirror": mirror, "paths": paths, "credentials": credentials}
    request = {"kind": "mirror", **about, "seconds": seconds}
    found: dict[str, Any] = json.loads(run_facts([], request))
    return found


def test_a_file_that_the_mirror_does_not_have_is_missing(cpan: str) -> None:
    found = mirrored(cpan, ["here/A.tar.gz", "moved/A.tar.gz", "A/A+1.tar.gz"])
    assert found == {"url": cpan, "error": None, "missing": ["A/A+1.tar.gz"], "unasked": 0}


@pytest.mark.parametrize("end", ["", "/"])
def test_a_mirror_s_url_may_end_with_a_slash(cpan: str, end: str) -> None:
    assert mirrored(f"{cpan}here{end}", ["A.tar.gz"])["missing"] == []


@pytest.mark.parametrize(
    ("mirror", "why"),
    [
        ("http://127.0.0.1:1/", "refused"),
        ("{cpan}unhealthy/", "status 503"),
        ("{cpan}locked/", "status 401"),
    ],
)
def test_a_mirror_that_does_not_answer_is_no_reason_to_call_a_file_missing(
    cpan: str, mirror: str, why: str
) -> None:
    found = mirrored(mirror.format(cpan=cpan), ["A/A.tar.gz"])
    assert found["missing"] == []
    assert why in found["error"]


def test_a_mirror_s_password_is_sent_and_not_shown(cpan: str) -> None:
    credentials = {"login": "me", "password": "s3cret"}
    found = mirrored(f"{cpan}locked/", ["A.tar.gz", "B.tar.gz"], credentials=credentials)
    assert found == {"url": f"{cpan}locked/", "error": None, "missing": [], "unasked": 0}
    refused = mirrored(f"{cpan}locked/", ["A.tar.gz"], credentials={**credentials, "login": "you"})
    assert refused["error"] == "status 401"
    assert "s3cret" not in str(refused)


def test_what_a_build_has_kept_is_not_asked_for(
    cpan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLUEGREEN_ROOT", str(tmp_path))
    kept = kept_tarballs(AppPaths(Paths(), "app-shop"), cpan) / "authors/id/A/A.tar.gz"
    kept.parent.mkdir(parents=True)
    kept.touch()
    paths = ["authors/id/A/A.tar.gz", "authors/id/A/B.tar.gz", "modules/02packages.details.txt.gz"]
    assert mirrored(cpan, paths)["missing"] == paths[1:]


def test_what_there_was_no_time_to_ask_for_is_counted(cpan: str) -> None:
    found = mirrored(cpan, [f"slow/here/{number}" for number in range(60)], seconds=2)
    assert 20 < found["unasked"] < 60
