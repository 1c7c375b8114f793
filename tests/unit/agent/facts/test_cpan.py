"""Which distributions CPAN has, as a droplet finds out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from typing import Any

import pytest

from tests.unit.facts_verb import run_facts


class Mirrored(BaseHTTPRequestHandler):
    """A CPAN that has what is in a directory ``here``, moves what is in ``moved`` there, and may be slow."""

    def do_HEAD(self) -> None:
        sleep(0.5 if "slow" in self.path else 0)
        if "moved" in self.path:
            self.send_response(301)
            self.send_header("Location", self.path.replace("moved", "here"))
        else:
            self.send_response(200 if "here" in self.path else 503 if "sick" in self.path else 404)
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


def mirrored(mirrors: list[str], distributions: list[str], seconds: int = 20) -> dict[str, Any]:
    """Ask mirrors for distributions, as a dry run does."""
    request = {"kind": "mirror", "mirrors": mirrors, "distributions": distributions, "seconds": seconds}
    found: dict[str, Any] = json.loads(run_facts([], request))
    return found


def test_a_distribution_is_missing_if_no_mirror_has_it(cpan: str) -> None:
    found = mirrored([f"{cpan}a/", f"{cpan}here/"], ["A/A.tar.gz"])
    assert found == {"error": None, "missing": [], "unasked": 0}
    found = mirrored([f"{cpan}a/", f"{cpan}b/"], ["here/A.tar.gz", "moved/A.tar.gz", "A/A+1.tar.gz"])
    assert found == {"error": None, "missing": ["A/A+1.tar.gz"], "unasked": 0}


@pytest.mark.parametrize(("sick", "why"), [("http://127.0.0.1:1/", "refused"), ("{cpan}sick/", "status 503")])
def test_a_mirror_that_does_not_answer_is_no_reason_to_call_a_distribution_missing(
    cpan: str, sick: str, why: str
) -> None:
    sick = sick.format(cpan=cpan)
    found = mirrored([sick, cpan], ["A/A.tar.gz"])
    assert found["missing"] == []
    assert why in found["error"]
    assert mirrored([sick, cpan], ["here/A.tar.gz"])["error"] is None


def test_what_there_was_no_time_to_ask_for_is_counted(cpan: str) -> None:
    found = mirrored([cpan], [f"slow/here/{number}" for number in range(60)], seconds=2)
    assert 20 < found["unasked"] < 60
