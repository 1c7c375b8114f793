"""A release on a droplet, compared with its manifest."""

from __future__ import annotations

import json
import sys
from typing import Any

from bluegreen.agent_bundle import AGENT_DIRECTORY
from tests.unit.facts_verb import run_facts

# A release of what the third argument makes, its manifest, and then what the fourth does to it.
RELEASE = r"""
set -e
python=$1 agent=$2
mount -n -t tmpfs none /opt && mkdir -p /opt/app-shop/releases/new/.bluegreen && cd /opt/app-shop/releases/new
exec 3>&1 >&2
umask 022
echo one >file && mkdir lib && echo 1 >lib/Shop.pm && ln -s file link && touch script && chmod 755 script
eval "$3"
release=$("$python" -c 'import sys; sys.path.append(sys.argv[1])
from pathlib import Path
from agent.droplet.manifest import PLACE, Manifest, scan
here = Path(".")
manifest = Manifest("app-shop", "a" * 40, 1700000000, "5.36.0 x\nglibc 2.36", scan(here))
(here / PLACE).write_bytes(manifest.data)
print(manifest.release)' "$agent")
cd .. && mv new "$release" && ln -s "releases/$release" ../current && cd "$release"
eval "$4"
shift 4
"$@" >&3
"""


def compared(contents: str = "true", by_hand: str = "true") -> dict[str, Any]:
    """Compare a release with its manifest, as a dry run does."""
    found: dict[str, Any] = app_server_facts(contents, by_hand)["compared"]
    return found


def app_server_facts(contents: str = "true", by_hand: str = "true") -> dict[str, Any]:
    """Return what a dry run reads on a droplet with a release to which something was done."""
    request = {
        "kind": "app_server",
        "app": "app-shop",
        "unit": "app-shop.service",
        "files": [],
        "users": ["root"],
        "perl": "perl",
        "tools": [],
        "packages": [],
        "compare": True,
        "ports": [],
        "seconds": 20,
    }
    places = (sys.executable, str(AGENT_DIRECTORY.parent))
    command = ["unshare", "--mount", "sh", "-c", RELEASE, "sh", *places, contents, by_hand]
    found: dict[str, Any] = json.loads(run_facts(command, request))
    return found
