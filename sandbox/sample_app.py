"""The sample application as a git repository: ``examples/my_perl_app`` and the releases made from it."""

from __future__ import annotations

from pathlib import Path

from sandbox.example_repository import Example, Release

SAMPLE = Example(
    "my_perl_app",
    releases=(
        Release("v1"),
        Release("v2", "v1"),
        Release("v3-broken", "v2"),
        Release("v4-bad", "v2"),
        Release("v5-flaky", "v2"),
        Release("v6-slow", "v2"),
        Release("v7-https", "v2"),
        Release("v8-https-bad", "v7-https"),
        Release("v9-mounted", "v2"),
    ),
    main="v2",
)


def build_repository(path: Path) -> dict[str, str]:
    """Create the bare repository, or bring it up to date; return the revision of each tag."""
    return SAMPLE.build_repository(path)
