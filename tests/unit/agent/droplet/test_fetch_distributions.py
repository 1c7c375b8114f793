"""Tarballs are fetched from one mirror, whole, and a mirror in trouble is asked again."""

from __future__ import annotations

import http.server
import io
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.droplet import fetch_distributions
from agent.droplet.fetch_distributions import main


class Mirror(http.server.ThreadingHTTPServer):
    """Answers with the outcomes that a test has set for a path, the last one again and again."""

    outcomes: dict[str, list[str]]
    asked: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        outcomes = self.server.outcomes.get(self.path, ["404"])
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        kind, _, value = outcome.partition(" ")
        self.send_response(int(kind) if kind.isdigit() else 200)
        if value.startswith("http"):
            self.send_header("Location", value)
        length = 2 * len(value) if kind == "cut" else len(value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(value.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror(("127.0.0.1", 0), Handler) as server:
        server.outcomes, server.asked = {}, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_distributions, "PAUSE", 0.0)


def fetched(
    mirror: Mirror, directory: Path, monkeypatch: pytest.MonkeyPatch, *paths: str, url: str = ""
) -> tuple[int, dict[str, str]]:
    url = url or f"http://127.0.0.1:{mirror.server_port}/"
    request = {"mirror": url, "paths": paths, "directory": str(directory)}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    status = main()
    return status, {path.name: path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_files_are_fetched_and_what_is_not_there_is_left_out(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.outcomes = {"/authors/id/a": ["200 A"], "/b": ["503", "500", "200 B"], "/g": ["410"]}
    found = fetched(mirror, tmp_path, monkeypatch, "authors/id/a", "b", "nowhere", "g")
    assert found == (0, {"a": "A", "b": "B"})


@pytest.mark.parametrize(
    ("outcome", "why"),
    [("503", "it answers 503"), ("403", "it answers 403"), ("cut half", "it was cut off|IncompleteRead")],
)
def test_a_mirror_that_refuses_is_named(
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: str,
    why: str,
) -> None:
    mirror.outcomes = {"/a": [outcome]}
    status, files = fetched(mirror, tmp_path, monkeypatch, "a")
    assert (status, "a" in files) == (1, False)
    said = capsys.readouterr().out
    assert said.startswith("error: cannot fetch from http://127.0.0.1: a: ")
    assert any(one in said for one in why.split("|"))
    assert len(mirror.asked) == (1 if outcome == "403" else 3)


def test_a_redirection_is_followed_but_not_to_a_file(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"http://127.0.0.1:{mirror.server_port}"
    mirror.outcomes = {"/a": [f"302 {own}/b"], "/b": ["200 B"]}
    assert fetched(mirror, tmp_path, monkeypatch, "a") == (0, {"a": "B"})
    secret = tmp_path / "secret"
    secret.write_text("x")
    assert fetched(mirror, tmp_path / "to", monkeypatch, "a", url=f"file://{tmp_path}")[0] == 1


def test_a_way_from_https_to_http_is_not_taken() -> None:
    handler = fetch_distributions.NoDowngrade()
    request = urllib.request.Request("https://mirror.example/a")
    with pytest.raises(urllib.error.URLError, match="from https to http"):
        handler.redirect_request(request, None, 302, "", {}, "http://mirror.example/a")
    assert handler.redirect_request(request, None, 302, "", {}, "https://other.example/a") is not None


def test_a_file_that_is_too_large_is_given_up(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_distributions, "LARGEST", 3)
    mirror.outcomes = {"/a": ["200 more"]}
    assert fetched(mirror, tmp_path, monkeypatch, "a")[0] == 1
    assert not (tmp_path / "a").exists()
