"""How a release is built and kept: the sections ``dependencies``, ``build`` and ``artifacts``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bluegreen.settings.fields import Commands
from bluegreen.settings.section import Line, Section

MOST_COMMANDS = 50

# A phase, such as `develop`, or a feature of a cpanfile.
Group = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]


class Installer(StrEnum):
    """What installs the distributions that an app needs."""

    CARTON = "carton"
    CPANM = "cpanm"
    NONE = "none"


def _mirror(url: str) -> str:
    allowed = "allowed is http:// or https://, a host name, perhaps a port and a path"
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(allowed) from None
    if "@" in parts.netloc:
        raise ValueError(f"a password or token belongs in connections.cpan, not in this file; {allowed}")
    if not usable or parts.scheme not in ("http", "https") or parts.query or parts.fragment or " " in url:
        raise ValueError(allowed)
    return url


class DependencySettings(Section):
    """Which distributions of the app's dependency files are installed, from where and by what."""

    installer: Installer = Installer.CARTON
    without: list[Group] = ["develop"]
    features: list[Group] = []
    mirror: Annotated[Line, AfterValidator(_mirror)] | None = None
    run_tests: bool = False

    @model_validator(mode="after")
    def _different(self) -> Self:
        """A feature that is both installed and left out is a mistake that installers decide differently."""
        both = [feature for feature in self.features if feature in self.without]
        if both:
            raise ValueError(f"{', '.join(both)} is both in features and in without; remove one of them")
        return self


class BuildSettings(Section):
    """The app's own commands before a release is sealed."""

    commands: Annotated[Commands, Field(max_length=MOST_COMMANDS)] = []
    network: bool = False


def _store(place: str) -> str:
    allowed = (
        "allowed is an absolute path of a directory, or a URL of Airflow's object storage such as "
        "s3://connection@bucket/prefix"
    )
    try:
        parts = urlsplit(place)
    except ValueError:
        raise ValueError(allowed) from None
    if parts.password is not None:
        raise ValueError(f"a password does not belong in this file; {allowed}")
    is_url = bool(parts.scheme) and (bool(parts.netloc) or parts.path.startswith("/"))
    if not (is_url or place.startswith("/")) or parts.query or parts.fragment:
        raise ValueError(allowed)
    if ".." in parts.path.split("/"):
        raise ValueError(f"'..' leads out of the store; {allowed}")
    return place


class ArtifactSettings(Section):
    """Where built releases are kept, and how many."""

    store: Annotated[Line, AfterValidator(_store)] | None = None
    keep: Annotated[int, Field(ge=2, le=1000)] = 10
