"""The CPAN mirror: its index, its distributions, who may read it, and its faults."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from sandbox.api.faults import Fault, Faults
from sandbox.cpan import mirror, stock
from sandbox.cpan.repackaged import Package
from sandbox.cpan.server import Mirrors, make_app

INDEX = f"/cpan/{mirror.INDEX}"
GREETING = "authors/id/S/SA/SANDBOX/Sandbox-Greeting-0.01.tar.gz"
TOKEN = "cpan_of_a_test"


def index_of(content: bytes) -> dict[str, list[str]]:
    """Return version and path by module."""
    lines = gzip.decompress(content).decode().partition("\n\n")[2].splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cpan") / "mirror"
    mirror.build(directory)
    return directory


def stocked(directory: Path) -> Path:
    """Write what the stock would be with one distribution."""
    path = "D/DE/DEBIAN/Real-1.5.tar.gz"
    file = directory / "authors/id" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"real")
    lines = [mirror.index_line(module, "1.5", path) for module in ("sandbox", "Sandboxed", "Real")]
    (directory / "packages").write_text("".join(f"{line}\n" for line in lines))
    return directory


def test_the_index_leads_to_the_latest_of_each_distribution(built: Path) -> None:
    modules = index_of((built / mirror.INDEX).read_bytes())
    assert modules["Sandbox::Greeting"] == ["0.02", "S/SA/SANDBOX/Sandbox-Greeting-0.02.tar.gz"]
    assert all((built / "authors/id" / path).is_file() for _, path in modules.values())
    assert (built / GREETING).is_file()


def test_a_distribution_is_whole_and_always_the_same(built: Path, tmp_path: Path) -> None:
    mirror.build(tmp_path / "again")
    content = (built / GREETING).read_bytes()
    assert (tmp_path / "again" / GREETING).read_bytes() == content
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = {name.removeprefix("Sandbox-Greeting-0.01/") for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    assert names >= {"Makefile.PL", "META.json", "MANIFEST", "lib/Sandbox/Greeting.pm"}
    distribution = tmp_path / "Sandbox-Greeting-0.01"
    assert set((distribution / "MANIFEST").read_text().split()) == names
    asked = [
        "perl",
        f"-I{distribution}/lib",
        "-MSandbox::Greeting",
        "-e",
        "print Sandbox::Greeting::greeting()",
    ]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert shown == "Hello from Sandbox::Greeting 0.01"


def test_the_index_is_in_the_order_that_carton_looks_modules_up_in(tmp_path: Path) -> None:
    mirror.build(tmp_path / "mirror", stocked(tmp_path / "stock"))
    modules = list(index_of((tmp_path / "mirror" / mirror.INDEX).read_bytes()))
    assert modules == sorted(modules, key=str.lower)


def test_the_stock_is_in_the_index_too(tmp_path: Path) -> None:
    mirror.build(tmp_path / "mirror", stocked(tmp_path / "stock"))
    modules = index_of((tmp_path / "mirror" / mirror.INDEX).read_bytes())
    assert modules["Real"] == ["1.5", "D/DE/DEBIAN/Real-1.5.tar.gz"]
    assert (tmp_path / "mirror/authors/id/D/DE/DEBIAN/Real-1.5.tar.gz").read_bytes() == b"real"


def test_a_package_counts_in_the_file_that_is_called_like_it(tmp_path: Path) -> None:
    for path, text in {
        "One-1/lib/One.pm": "package One;\nour $VERSION = '1.2';\npackage Hidden;\npackage One::Inner;\n",
        "One-1/lib/One/Plain.pm": "package One::Plain;\n",
        "One-1/t/lib/Mine.pm": "package Mine;\n",
        "One-1/Root.pm": "package Root;\nour $VERSION = '3';\n",
        "One-1/Leaf.pm": "package Old::Leaf;\npackage Old::Other;\n",
        "One-1/lib/Deep.pm": "package Not::Deep;\n",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = subprocess.run(
        ["perl", str(stock.PROVIDES), str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = {"One": "1.2", "One::Plain": None, "Root": "3", "Old::Leaf": None}
    assert json.loads(done.stdout) == {str(tmp_path): found}


def package(directory: Path, **files: str) -> Package | None:
    """Build a binary package, and read it."""
    control = (
        "Package: libshop-list-perl\nVersion: 1:2.5+dfsg-3\nArchitecture: all\nMaintainer: x <x@y.z>\n"
        "Homepage: https://example.org/release/Shop-List\nDepends: perl, libtry-tiny-perl (>= 0.1) | none\n"
        "Description: x\n"
    )
    for path, text in {"DEBIAN/control": control, **files}.items():
        (directory / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / "tree" / path).write_text(text)
    built = directory / "libshop-list-perl_2.5.deb"
    subprocess.run(["dpkg-deb", "--build", directory / "tree", built], check=True, capture_output=True)
    return Package.of(built)


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg: Debian or Ubuntu")
def test_a_binary_package_of_pure_perl_becomes_a_distribution(tmp_path: Path) -> None:
    module = "package Shop::List;\nour $VERSION = '2.5';\n1;\n"
    made = package(tmp_path, **{"usr/share/perl5/Shop/List.pm": module, "usr/bin/shop": "#!/usr/bin/perl\n"})
    assert made is not None
    assert made.unpack(tmp_path / "place", {"libtry-tiny-perl": "Try::Tiny"}.get)
    distribution = tmp_path / "place/Shop-List-2.5"
    subprocess.run(["perl", "Makefile.PL"], cwd=distribution, check=True, capture_output=True)
    meta = json.loads((distribution / "MYMETA.json").read_text())
    assert (meta["name"], meta["version"]) == ("Shop-List", "2.5")
    assert meta["prereqs"]["runtime"]["requires"] == {"Try::Tiny": "0"}
    assert "bin/shop" in (distribution / "Makefile").read_text()


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg: Debian or Ubuntu")
def test_a_binary_package_with_compiled_modules_does_not(tmp_path: Path) -> None:
    files = {"usr/share/perl5/Shop/List.pm": "", "usr/lib/x86_64-linux-gnu/perl5/5.36/auto/Shop/List.so": ""}
    made = package(tmp_path, **files)
    assert made is not None
    assert not made.unpack(tmp_path / "place", lambda _package: None)


def serve(directory: Path, check: Callable[[TestClient, Faults], Awaitable[None]]) -> None:  # type: ignore[type-arg]
    """Run a check against a server whose stock is ``stock``, once that exists."""

    async def run() -> None:
        faults, source = Faults(), directory / "stock"
        mirrors = Mirrors(directory / "cpan", lambda: source if source.is_dir() else None)
        async with TestClient(TestServer(make_app(mirrors, faults, TOKEN))) as client:
            await check(client, faults)

    asyncio.run(run())


def test_a_stock_that_has_been_fetched_is_served_from_then_on(tmp_path: Path) -> None:
    async def check(client: TestClient, _faults: Faults) -> None:  # type: ignore[type-arg]
        assert "Real" not in index_of(await (await client.get(INDEX)).read())
        stocked(tmp_path / "stock")
        assert "Real" in index_of(await (await client.get(INDEX)).read())
        assert await (await client.get("/cpan/authors/id/D/DE/DEBIAN/Real-1.5.tar.gz")).read() == b"real"

    serve(tmp_path, check)


def test_the_private_mirror_wants_its_token(tmp_path: Path) -> None:
    async def check(client: TestClient, _faults: Faults) -> None:  # type: ignore[type-arg]
        private = f"/private-cpan/{mirror.INDEX}"
        logins = [{"Authorization": aiohttp.encode_basic_auth("x", each)} for each in ("wrong", TOKEN)]
        statuses = [(await client.get(private, headers=headers)).status for headers in ({}, *logins)]
        assert statuses == [401, 401, 200]

    serve(tmp_path, check)


@pytest.mark.parametrize("path", ["/cpan/none.tar.gz", "/cpan/authors", "/cpan/%2e%2e/%2e%2e/secret"])
def test_what_is_not_on_the_mirror_is_not_found(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("hush")

    async def check(client: TestClient, _faults: Faults) -> None:  # type: ignore[type-arg]
        assert (await client.get(path)).status == 404

    serve(tmp_path, check)


def test_an_altered_tarball_does_not_unpack(tmp_path: Path) -> None:
    async def check(client: TestClient, faults: Faults) -> None:  # type: ignore[type-arg]
        faults.add(Fault("altered", path="/cpan/authors/*"))
        content = await (await client.get(f"/cpan/{GREETING}")).read()
        with pytest.raises((gzip.BadGzipFile, OSError, EOFError, ValueError)):
            gzip.decompress(content)

    serve(tmp_path, check)


@pytest.mark.skipif(not shutil.which("cpanm"), reason="cpanminus is not installed here")
def test_cpanm_installs_a_module_with_what_it_needs(built: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("cpanm", "--quiet", "--local-lib-contained", str(tmp_path / "local"), "--mirror-only"),
            *("--mirror", f"file://{built}", "Sandbox::Menu"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    shown = [path.name for path in (tmp_path / "local/lib/perl5/Sandbox").iterdir()]
    assert sorted(shown) == ["Greeting.pm", "Menu.pm"]
