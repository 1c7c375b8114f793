"""Links that a deploy refuses, and submodules, which it leaves empty.

A deploy inspects its build with ``droplet/inspect.pl``; these checks apply the same rules to the commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bluegreen.checks.facts import Facts, Source
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.checks.revision import has_cpanfile

# As in inspect.pl.
MOST_LINKS_ON_A_WAY = 40
SHOWN = 5
LONGEST = 200


def links(facts: Facts) -> Iterator[Finding]:
    """No link leads out of a release: a deploy refuses such links."""
    source = facts.source
    if not isinstance(source, Source):
        return
    there = {path: target for path, target in source.links.items() if not _is_replaced(source, path)}
    refused = [(path, why) for path in sorted(there) if (why := refusal(path, there))]
    for path, why in refused[:SHOWN]:
        more = f", and {len(refused) - SHOWN} more are refused" if len(refused) > SHOWN else ""
        yield error(
            _shown(path),
            f"in {source.ref} it {why}{more if path == refused[0][0] else ''}",
            "commit the file that it points to, or give the app its path in the environment",
        )
    if source.links_unread:
        yield warning(
            source.ref,
            f"{source.links_unread} of its links were not read",
            "a deploy refuses links out of a release",
        )


def submodules(facts: Facts) -> Iterator[Finding]:
    """There are no submodules: a release has an empty directory in their place."""
    source = facts.source
    if isinstance(source, Source) and source.submodules:
        first, *others = sorted(source.submodules)
        more = f", as are {len(others)} more" if others else ""
        yield warning(
            _shown(first),
            f"in {source.ref} it is a submodule{more}: a release has an empty directory there",
            "commit its files, or install it as a dependency",
        )


def refusal(path: str, links: Mapping[str, str]) -> str:
    """Return why a link would be refused; empty if it is allowed.

    :param links: the target of each link of the revision, by its path.
    """
    *there, last = path.split("/")
    ahead, followed = [last], 0
    while ahead:
        name = ahead.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            if not there:
                return f"is a link out of it, to {_shown(links[path])}"
            there.pop()
            continue
        target = links.get("/".join((*there, name)))
        if target is None:
            there.append(name)
            continue
        if target.startswith("/"):
            return f"is a link out of it, to {_shown(target)}"
        followed += 1
        if followed > MOST_LINKS_ON_A_WAY:
            return "is a link that leads round in circles"
        ahead[:0] = target.split("/")
    return ""


def _is_replaced(source: Source, path: str) -> bool:
    """Whether a deploy replaces whatever is committed at a path."""
    first = path.partition("/")[0]
    return first in (".bluegreen", "REVISION") or (first == "local" and has_cpanfile(source))


def _shown(text: str) -> str:
    seen = "".join(letter if letter.isprintable() else "?" for letter in text)
    return seen if len(seen) <= LONGEST else f"{seen[:LONGEST]}…"
