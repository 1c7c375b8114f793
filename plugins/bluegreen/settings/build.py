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


# Of the phases of a cpanfile, cpanm and Carton install these in any case.
_ALWAYS = ("configure", "build", "test", "runtime")


def _without(group: str) -> str:
    if group in _ALWAYS:
        raise ValueError(
            f"{group} is a phase that cpanm and Carton install in any case; allowed are develop and "
            "features, so move what droplets do not need to `on develop`"
        )
    return group


class DependencySettings(Section):
    """Which distributions of the app's dependency files are installed, from where and by what."""

    installer: Installer = Installer.CARTON
    """`carton` installs what cpanfile.snapshot names, which `carton install` writes and you commit. `cpanm`
    needs no snapshot: it installs the newest versions that a cpanfile, Makefile.PL, Build.PL or META file
    allows. `none` installs nothing: the app uses Debian's modules, or a local/ that is committed.
    """
    without: list[Annotated[Group, AfterValidator(_without)]] = ["develop"]
    """The phase develop, and features of the cpanfile, that are left out."""
    features: list[Group] = []
    """Features of the cpanfile that are installed. The others are not."""
    mirror: Annotated[Line, AfterValidator(_mirror)] | None = None
    """URL of the one CPAN mirror that is asked, for example https://cpan.example.com. Distributions in
    vendor/cache need none. A private one's password is in the connection `connections.cpan`.
    """
    run_tests: bool = False
    """Whether the tests of distributions are run before they are installed."""

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
    """For example [[npm, ci], [npm, run, build]]. Each command is a list of words. No shell, unless you write
    [bash, -c, "…"]. The first one that fails ends the build.
    """
    network: bool = False
    """Whether the commands may reach the network, which npm needs for example. Never the metadata service.
    """


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
    """A directory on Airflow's machine, or a URL of Airflow's object storage, such as
    s3://spaces@my-bucket/artifacts with the Airflow connection `spaces`. All workers have to reach it. By
    default a directory below BLUEGREEN_CACHE_DIR, which is refused unless all tasks run on one machine, or
    BLUEGREEN_CACHE_IS_SHARED=True says that workers share it.
    """
    keep: Annotated[int, Field(ge=2, le=1000)] = 10
    """How many are kept. Those of the live release, and of the one that a rollback would go to, stay in any
    case.
    """
