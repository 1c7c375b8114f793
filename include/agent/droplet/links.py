"""Where the links of a release may lead: inside of it, or to the places that the app's settings name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# The kernel follows no more of them on one way.
MOST_LINKS = 40


def refusal(path: str, links: Mapping[str, str], allowed: Collection[str]) -> str:
    """Return why a link may not be in a release, in words that follow its path; empty if it may.

    :param links: every link of the release with its target, by its path.
    :param allowed: absolute targets that links may have.
    """
    *there, name = path.split("/")
    ahead, followed = [name], 0
    while ahead:
        name = ahead.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            if not there:
                return f"is a link out of it, to {links[path]}"
            there.pop()
            continue
        there.append(name)
        target = links.get("/".join(there))
        if target is None:
            continue
        if target in allowed:
            # What is there is the app's own, but the way on may not lead back out of that.
            return f"is a link out of it, to {links[path]}" if ".." in ahead else ""
        if target.startswith("/"):
            return f"is a link out of it, to {target}"
        followed += 1
        if followed > MOST_LINKS:
            return "is a link that leads round in circles"
        there.pop()
        ahead = target.split("/") + ahead
    return ""


def may_be_linked_to(app: str, target: str) -> bool:
    """Whether an absolute target is a shared path of an app, or a file that is delivered to it."""
    inside = any(target.startswith(f"{place}/{app}/") for place in ("/var/lib", "/etc"))
    return inside and not {"", ".", ".."} & set(target.split("/")[1:])
