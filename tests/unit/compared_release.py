"""A release on a droplet, compared with its commit."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.facts_verb import run_facts

# A release of the commit that the first argument makes, and what the second does to it.
RELEASE = r"""
set -e
mount -n -t tmpfs none /opt && mkdir -p /opt/work /opt/shop/releases && cd /opt/work
exec 3>&1 >&2
git init --quiet && echo one >file && touch cpanfile && eval "$1" && git add --all
git -c user.name=test -c user.email=test@example.com commit --quiet --message test
revision=$(git rev-parse HEAD)
git clone --quiet --bare . /opt/shop/repo.git
release=/opt/shop/releases/$revision
mkdir "$release" && git archive --format=tar HEAD | tar -x -C "$release" && ln -s "$release" /opt/shop/current
cd "$release" && rm -rf local && mkdir .bluegreen local && touch .bluegreen/start local/module
echo "$revision" >REVISION
eval "$2"
shift 2
"$@" >&3
"""


def compared(commit: str = "true", by_hand: str = "true") -> dict[str, Any]:
    """Compare a release with its commit, as a dry run does."""
    found: dict[str, Any] = json.loads(app_server_facts(commit, by_hand))["compared"]
    return found


def app_server_facts(commit: str, by_hand: str) -> str:
    """Return what a dry run reads on a droplet with a release of a commit to which something was done."""
    request = {
        "kind": "app_server",
        "app": "shop",
        "unit": "shop.service",
        "files": [],
        "fetch_user": "root",
        "build_user": "root",
        "run_user": "root",
        "environment": "/none",
        "repository": "https://localhost:1/shop.git",
        "patterns": ["HEAD"],
        "compare": True,
        "load": None,
        "seconds": 20,
    }
    return run_facts(["unshare", "--mount", "sh", "-c", RELEASE, "sh", commit, by_hand], request)
