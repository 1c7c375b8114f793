"""The examples for frameworks and servers as git repositories, two releases each."""

from __future__ import annotations

from pathlib import Path

from sandbox.example_repository import Example, Release

NAMES = (
    *("mojolicious_chat", "dancer2_blog", "catalyst_shop"),
    *("plack_starlet", "plack_sessions", "cgi_guestbook"),
)
RELEASES = (Release("v1"), Release("v2", "v1"))


def build_repositories(directory: Path) -> dict[str, dict[str, str]]:
    """Create ``<name>.git`` of each example in a directory, or bring it up to date; ``main`` is at ``v2``.

    :return: by name: the revision of each tag.
    :raises RuntimeError: if git fails; the message has git's output.
    """
    return {
        name: Example(name, RELEASES, main="v2").build_repository(directory / f"{name}.git") for name in NAMES
    }
