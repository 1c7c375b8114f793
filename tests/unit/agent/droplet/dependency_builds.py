"""Builds of apps that need distributions, and the mirror that has them."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.protocol import AgentError, Json
from tests.unit.agent.droplet.builds import Builder
from tests.unit.agent.droplet.small_cpan import SmallCpan

HAS_CPANM = shutil.which("cpanm") is not None


HAS_CARTON = HAS_CPANM and subprocess.run(["perl", "-MCarton", "-e1"], capture_output=True).returncode == 0


NEEDS_PROGRAMS = [
    pytest.mark.skipif(not HAS_CPANM, reason="cpanm is not installed"),
    pytest.mark.skipif(not HAS_CARTON, reason="Carton is not installed"),
]


@dataclass
class Mirror:
    """A mirror by http, and the paths and passwords that it was asked with."""

    url: str
    cpan: SmallCpan
    asked: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)


@contextmanager
def mirror_in(directory: Path) -> Iterator[Mirror]:
    """Serve a CPAN of a few distributions, some of which cannot be built."""
    cpan = SmallCpan(directory)
    cpan.add("Local::Base")
    cpan.add("Local::Plain", {"Local::Base": "0"}, bin__hello="#!perl\nprint 'hello';\n")
    cpan.add("Local::Develop")
    cpan.add("Local::Feature")
    cpan.add("Local::Untestable", t__x_t="print qq(1..1\\nnot ok 1\\n);")
    cpan.add_xs("Local::Compiled")
    cpan.add_xs("Local::NeedsHeader", "#include <libpq-fe.h>\n#include <no-such-header-anywhere.h>")
    made: list[Mirror] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(cpan.directory))

        def do_GET(self) -> None:
            made[0].asked.append(self.path)
            made[0].authorizations.add(self.headers.get("Authorization", ""))
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Mirror(f"http://127.0.0.1:{server.server_port}", cpan))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made[0]
        server.shutdown()
        thread.join()


def cpanfile(*modules: str) -> str:
    """Return a cpanfile that requires these modules."""
    return "".join(f"requires '{module}';\n" for module in modules)


def files_of(mirror: Mirror, *modules: str, also: str = "") -> dict[str, str | bytes]:
    """Return the source of an app that requires these modules."""
    snapshot = mirror.cpan.snapshot(*mirror.cpan.index)
    return {"app.psgi": "1;\n", "cpanfile": cpanfile(*modules) + also, "cpanfile.snapshot": snapshot}


def built(builder: Builder, mirror: Mirror, files: dict[str, str | bytes], **changes: Any) -> Json:
    """Build a source; ``dependencies`` are merged with the mirror's address."""
    wanted = {"mirror": mirror.url, **changes.pop("dependencies", {})}
    return builder.build(builder.send(files), dependencies=wanted, **changes)


def refused(builder: Builder, mirror: Mirror, files: dict[str, str | bytes], **changes: Any) -> str:
    """Return why a source is not built."""
    with pytest.raises(AgentError) as error:
        built(builder, mirror, files, **changes)
    return str(error.value)


def installed(release: Path) -> set[str]:
    """Return the modules that are installed in a release, by the last part of their names."""
    return {path.stem for path in release.glob("local/lib/perl5/**/Local/*.pm")}


CARTON_AND_CPANM = pytest.mark.parametrize("installer", ["carton", "cpanm"])
