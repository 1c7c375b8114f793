"""Tarballs are fetched from one mirror, whole, and a mirror in trouble is asked again."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import os
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from agent.droplet import fetch_distributions
from agent.droplet.fetch_distributions import DAMAGED, main, require_whole


class Mirror(http.server.ThreadingHTTPServer):
    """Answers with the outcomes that a test has set for a path, the last one again and again."""

    outcomes: dict[str, list[str]]
    asked: list[str]
    authorizations: set[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        outcomes = self.server.outcomes.get(self.path, ["404"])
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        kind, _, value = outcome.partition(" ")
        self.server.authorizations.add(self.headers.get("Authorization", ""))
        self.send_response(int(kind) if kind.isdigit() else 200)
        if value.startswith("http"):
            self.send_header("Location", value)
        data = value.encode() if kind == "page" else gzip.compress(value.encode() * 100)
        if kind != "unsized":
            self.send_header("Content-Length", str(2 * len(data) if kind == "cut" else len(data)))
        self.end_headers()
        self.wfile.write(data[:-4] if kind == "unsized" else data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror(("127.0.0.1", 0), Handler) as server:
        server.outcomes, server.asked, server.authorizations = {}, [], set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_distributions, "PAUSE", 0.0)


def fetched(
    mirror: Mirror, directory: Path, monkeypatch: pytest.MonkeyPatch, *paths: str, url: str = "", **also: Any
) -> tuple[int, dict[str, str]]:
    """Fetch files; return the status, and what is in them, a hundred times the text of an outcome."""
    url = url or f"http://127.0.0.1:{mirror.server_port}/"
    request = {"mirror": url, "paths": paths, "directory": str(directory), "kept": "/nowhere", "known": []}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({**request, "credentials": None, **also})))
    directory.mkdir(exist_ok=True)
    status = main()
    files = [
        path for path in directory.rglob("*") if path.suffix not in (".part", ".json") and path.is_file()
    ]
    return status, {path.name: gzip.decompress(path.read_bytes()).decode()[:1] for path in files}


def test_files_are_fetched_and_what_is_not_there_is_left_out(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.outcomes = {"/authors/id/a": ["200 A"], "/b": ["503", "500", "200 B"], "/g": ["410"]}
    found = fetched(mirror, tmp_path, monkeypatch, "authors/id/a", "b", "nowhere", "g")
    assert found == (0, {"a": "A", "b": "B"})


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        ("503", "it answers 503"),
        ("403", "it answers 403"),
        ("cut half", "it was cut off|IncompleteRead"),
        ("unsized half", "it is damaged, or no archive"),
        ("page <html>Log in</html>", "it is damaged, or no archive"),
    ],
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


def test_what_is_kept_and_damaged_is_fetched_anew_and_named(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, data in (("good", gzip.compress(b"x")), ("cut", gzip.compress(b"x")[:-4]), ("gone", b"")):
        (kept / name).write_bytes(data)
    mirror.outcomes = {"/cut": ["200 C"], "/new": ["200 N"]}
    known = ["cut", "gone", "good", "lost"]
    found = fetched(mirror, tmp_path / "to", monkeypatch, "new", kept=str(kept), known=known)
    assert found == (0, {"cut": "C", "new": "N"})
    assert json.loads((tmp_path / "to" / DAMAGED).read_text()) == ["cut", "gone", "lost"]
    assert "/good" not in mirror.asked


def test_credentials_are_sent_to_the_mirror_and_to_no_other_host(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.outcomes = {
        "/a": ["200 A"],
        "/b": [f"302 http://localhost:{mirror.server_port}/c"],
        "/c": ["200 C"],
    }
    credentials = {"login": "me", "password": "s3cr:t"}
    assert fetched(mirror, tmp_path, monkeypatch, "a", credentials=credentials)[0] == 0
    assert mirror.authorizations == {"Basic bWU6czNjcjp0"}
    assert fetched(mirror, tmp_path, monkeypatch, "b", credentials=credentials)[0] == 0
    assert mirror.authorizations == {"Basic bWU6czNjcjp0", ""}


def tar(mode: Literal["w:", "w:gz", "w:bz2", "w:xz"]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        member = tarfile.TarInfo("Local-Base-1.0/lib/Local/Base.pm")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(os.urandom(100_000)))
    return data.getvalue()


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("Local-Base-1.0/lib/Local/Base.pm", "1;\n" * 1000)
    return data.getvalue()


@pytest.mark.parametrize(
    "archive",
    [tar("w:"), tar("w:gz"), tar("w:bz2"), tar("w:xz"), zipped()],
    ids=["tar", "gz", "bz2", "xz", "zip"],
)
def test_an_archive_is_whole_or_it_is_not(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archive)
    require_whole(path)
    for length in (0, 1, 2, 10, 600, len(archive) // 2, len(archive) - 11000, len(archive) - 20):
        path.write_bytes(archive[: max(length, 0)])
        # A tar file ends with zeros, and some programs write fewer of them.
        if archive[:2] != b"Lo" or length < len(archive) - 20:
            with pytest.raises(OSError, match=r"damaged, or no archive|Invalid data"):
                require_whole(path)


def test_what_follows_an_archive_does_not_count_and_a_changed_byte_does(tmp_path: Path) -> None:
    path, archive = tmp_path / "a.tar.gz", tar("w:gz")
    path.write_bytes(archive + b"\0\0signature")
    require_whole(path)
    path.write_bytes(archive[:5000] + bytes([archive[5000] ^ 1]) + archive[5001:])
    with pytest.raises(OSError, match="damaged"):
        require_whole(path)


def test_a_zip_with_names_that_are_no_text_is_damaged(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("Lä/x.pm", "1;\n")
    (tmp_path / "a.zip").write_bytes(data.getvalue().replace("ä".encode(), b"\xff\xfe"))
    with pytest.raises(OSError, match="damaged"):
        require_whole(tmp_path / "a.zip")


def test_an_archive_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_distributions, "LONGEST", 0.0)
    (tmp_path / "a").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(OSError, match="it has no end"):
        require_whole(tmp_path / "a")
