"""The release that a rollback goes back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from agent.release_name import revision_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError

# A droplet's releases that were healthy there, the latest first, with the digests of their configurations.
Activated = Mapping[str, str]


class PreviousRelease(BaseModel):
    """A release that is on every idle droplet, and was healthy on each of them.

    :param configurations: by droplet, the digest of the configuration that it was healthy with there last.
    """

    model_config = ConfigDict(frozen=True)

    release: str
    configurations: dict[str, str]

    @property
    def revision(self) -> str:
        """The release's revision."""
        return revision_of(self.release)


def previous_release(wanted: str, activated: Mapping[str, Activated], color: Color) -> PreviousRelease:
    """Return the one revision that begins like this and was healthy on every droplet.

    One that was built more than once is started as it was started last.

    :param wanted: a revision, or its beginning.
    :param activated: by droplet.
    :raises BlueGreenError: if there is none, or more than one.
    """
    common = _on_all(list(activated.values()))
    found = [release for release in common if release.startswith(wanted)]
    if len({revision_of(release) for release in found}) == 1:
        configurations = {name: known[found[0]] for name, known in activated.items()}
        return PreviousRelease(release=found[0], configurations=configurations)
    there = ", ".join(sorted({revision_of(release)[:12] for release in common})) or "none"
    what = "more than one" if found else "no"
    raise BlueGreenError(
        f"{what} release on all droplets of {color} begins with {wanted}; there are: {there}. "
        "Deploy it instead, or name one of these"
    )


def _on_all(activated: Sequence[Activated]) -> list[str]:
    """Return the releases that every droplet has, in the order of the first one."""
    return [release for release in activated[0] if all(release in one for one in activated)]
