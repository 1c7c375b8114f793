"""The mirror of Debian's packages: what a machine's apt is given, and what it is answered."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sandbox import debian_mirror
from sandbox.api.faults import Fault, Faults
from sandbox.debian_mirror import FRESH_SECONDS, DebianMirror, make_app

pytestmark = pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt: Debian or Ubuntu")

PACKAGE, INDEX = "pool/main/x/x_1.deb", "dists/bookworm/InRelease"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory as an archive over http; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/debian"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    directory = tmp_path / "archive/debian"
    for path in (PACKAGE, INDEX):
        (directory / path).parent.mkdir(parents=True)
        (directory / path).write_text(f"first {path}")
    return directory


def image(root: Path, lists: dict[str, str]) -> Path:
    """Make the part of an image that has apt's sources."""
    (root / "etc/apt/sources.list.d").mkdir(parents=True)
    for name, text in lists.items():
        (root / "etc/apt" / name).write_text(text)
    return root


def ask(mirror: DebianMirror, check: Callable[[TestClient[Any, Any], Faults], Awaitable[None]]) -> None:
    async def run() -> None:
        faults = Faults()
        async with TestClient(TestServer(make_app(mirror, faults))) as client:
            await check(client, faults)

    asyncio.run(run())


def mirror_of(uri: str, directory: Path) -> DebianMirror:
    mirror = DebianMirror("http://mirror", directory / "cache")
    mirror.configuration(image(directory / "image", {"sources.list": f"deb {uri} bookworm main\n"}))
    return mirror


def test_a_machine_gets_the_sources_of_its_image_by_the_mirror(tmp_path: Path) -> None:
    one_line = "# see https://example.com/\ndeb [signed-by=/k.gpg] https://a.example.com/debian/ a main\n"
    stanza = "Types: deb\nURIs: http://archive.example.com/security\nSuites: bookworm\nSigned-By: /k.gpg\n"
    mirror = DebianMirror("http://mirror", tmp_path / "cache")
    root = image(tmp_path / "image", {"sources.list": one_line, "sources.list.d/a.sources": stanza})
    given = mirror.configuration(root)
    assert given["etc/apt/sources.list"] == "deb [signed-by=/k.gpg] http://mirror/debian a main\n"
    assert "URIs: http://mirror/security\n" in given["etc/apt/sources.list.d/a.sources"]
    assert "Signed-By: /k.gpg\n" in given["etc/apt/sources.list.d/a.sources"]


def test_two_archives_of_one_name_are_told_apart_and_one_archive_keeps_its_name(tmp_path: Path) -> None:
    mirror = DebianMirror("http://mirror", tmp_path / "cache")
    text = "deb http://one/debian a main\ndeb http://two/debian a main\ndeb http://one/debian/ b main\n"
    given = mirror.configuration(image(tmp_path / "image", {"sources.list": text}))["etc/apt/sources.list"]
    assert [line.split()[1] for line in given.splitlines()] == [
        "http://mirror/debian",
        "http://mirror/debian-1",
        "http://mirror/debian",
    ]


def test_packages_are_fetched_once_and_indexes_again_after_a_while(archive: Path, tmp_path: Path) -> None:
    mirror = mirror_of(f"file:{archive}", tmp_path)

    async def check(client: TestClient[Any, Any], _faults: Faults) -> None:
        async def content(path: str) -> str:
            return await (await client.get(f"/debian/{path}")).text()

        for path in (PACKAGE, INDEX):
            assert await content(path) == f"first {path}"
            (archive / path).write_text("second")
            assert await content(path) == f"first {path}"
        for file in (tmp_path / "cache").rglob("*"):
            os.utime(file, (0, 0))
        assert await content(PACKAGE) == f"first {PACKAGE}"
        assert await content(INDEX) == "second"

    ask(mirror, check)


def test_an_archive_that_does_not_answer_is_answered_for_with_what_is_there(
    archive: Path, tmp_path: Path
) -> None:
    with served(archive.parent) as uri:
        mirror = mirror_of(uri, tmp_path)

        async def first(client: TestClient[Any, Any], _faults: Faults) -> None:
            assert (await client.get(f"/debian/{INDEX}")).status == 200
            assert (await client.get("/debian/dists/none")).status == 404

        ask(mirror, first)
    mirror._fetching.clear()
    for file in (tmp_path / "cache").rglob("InRelease"):
        old = file.stat().st_mtime - FRESH_SECONDS - 1
        os.utime(file, (old, old))

    async def second(client: TestClient[Any, Any], _faults: Faults) -> None:
        assert await (await client.get(f"/debian/{INDEX}")).text() == f"first {INDEX}"
        answer = await client.get(f"/debian/{PACKAGE}")
        assert (answer.status, "cannot fetch x_1.deb" in await answer.text()) == (502, True)

    ask(mirror, second)


@pytest.mark.parametrize("path", ["/other/x", "/debian/", "/debian/%2e%2e/%2e%2e/secret"])
def test_only_the_archives_of_the_images_are_served(archive: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("hush")

    async def check(client: TestClient[Any, Any], _faults: Faults) -> None:
        assert (await client.get(path)).status == 404

    ask(mirror_of(f"file:{archive}", tmp_path), check)


def test_its_faults_are_those_of_a_mirror_in_trouble(archive: Path, tmp_path: Path) -> None:
    async def check(client: TestClient[Any, Any], faults: Faults) -> None:
        faults.add(Fault("status", status=503, path="/debian/dists/*"))
        faults.add(Fault("altered", path="/debian/pool/*"))
        assert (await client.get(f"/debian/{INDEX}")).status == 503
        altered = await (await client.get(f"/debian/{PACKAGE}")).read()
        assert len(altered) == len(f"first {PACKAGE}")
        assert altered != f"first {PACKAGE}".encode()

    ask(mirror_of(f"file:{archive}", tmp_path), check)


def test_a_machine_without_apt_helper_is_described(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian_mirror, "HELPER", str(tmp_path / "none"))

    async def check(client: TestClient[Any, Any], _faults: Faults) -> None:
        assert "apt-helper is not installed" in await (await client.get(f"/debian/{INDEX}")).text()

    ask(mirror_of(f"file:{archive}", tmp_path), check)
