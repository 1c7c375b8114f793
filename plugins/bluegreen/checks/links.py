"""Links that a deploy refuses: the rules are those of the inspection of a build, applied to its source."""

from __future__ import annotations

from collections.abc import Iterator

from agent.droplet.links import refusal
from bluegreen.checks.dependencies import has_cpanfile
from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.finding import Finding, error
from bluegreen.settings.app import App
from bluegreen.settings.build import Installer

SHOWN = 5
LONGEST = 200


def links(facts: Facts) -> Iterator[Finding]:
    """No link leads out of a release, but those that the settings ask for: a deploy refuses other links."""
    source = facts.source
    if not isinstance(source, Source):
        return
    there = {
        path: target for path, target in source.links.items() if not _is_replaced(facts.app, source, path)
    }
    allowed = frozenset(facts.app.links.values())
    refused = [(path, why) for path in sorted(there) if (why := refusal(path, there, allowed))]
    for path, why in refused[:SHOWN]:
        more = f", and {len(refused) - SHOWN} more are refused" if len(refused) > SHOWN else ""
        yield error(
            _shown(path),
            f"in {source.ref} it {_shown(why)}{more if path == refused[0][0] else ''}",
            "commit the file that it points to, or remove it and set its path in shared or files",
        )
    yield from _in_the_way(facts.app, source)


def _in_the_way(app: App, source: Source) -> Iterator[Finding]:
    """Nothing is committed where a link to a shared path, or to a delivered file, is to be."""
    paths = source.files or frozenset()
    for path in sorted(app.links):
        if path in paths or any(one.startswith(f"{path}/") for one in paths):
            yield error(
                _shown(path),
                f"it is committed in {source.ref}, and shared or files of the settings put a link there",
                "remove it from the repository, or from the settings",
            )


def _is_replaced(app: App, source: Source, path: str) -> bool:
    """Whether a build replaces whatever is committed at a path."""
    first = path.partition("/")[0]
    if first in (".bluegreen", "REVISION"):
        return True
    local = "local" if app.server.root == "." else f"{app.server.root}/local"
    installs = app.dependencies.installer is not Installer.NONE and has_cpanfile(source)
    return installs and (path == local or path.startswith(f"{local}/"))


def _shown(text: str) -> str:
    seen = "".join(letter if letter.isprintable() else "?" for letter in text)
    return seen if len(seen) <= LONGEST else f"{seen[:LONGEST]}…"
