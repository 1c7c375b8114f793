"""Which certificates are on a proxy, and which of them HAProxy's configuration names."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path

from agent.paths import Paths
from agent.proxy.configuration import LARGEST_CONFIG
from agent.proxy.messages import CertificatePaths

MOST_FILES = 1000


def certificate_paths(paths: Paths) -> CertificatePaths:
    """Return where certificates are, without a look into them."""
    delivered: list[str] = []
    with contextlib.suppress(OSError), contextlib.closing(paths.certificates.glob("[!.]*.pem")) as found:
        delivered = sorted(str(one) for one in itertools.islice(found, MOST_FILES) if one.is_file())
    return {"delivered": delivered, "configured": _configured(paths.config)}


def _configured(config: Path) -> list[str]:
    """Return the paths that HAProxy's configuration names and that are there, in its order."""
    try:
        with config.open("rb") as file:
            text = file.read(LARGEST_CONFIG).decode(errors="replace")
    except OSError:
        return []
    binds = [line for line in text.splitlines() if line.split()[:1] == ["bind"]]
    named = dict.fromkeys(path for line in binds for path in re.findall(r" crt (/\S+)", line))
    return [path for path in named if Path(path).exists()]
