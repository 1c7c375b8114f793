"""What a droplet knows about an app's release and what it runs with."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    """A part of a machine's answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Load(Fact):
    """How loading a release ended.

    :param status: its exit status; 124 if there was no time to see its end, ``None`` if it was not loaded.
    :param cause: why it ended so.
    :param read_only: whether it wanted to write, which it was kept from.
    """

    status: int | None
    cause: str
    read_only: bool

    @classmethod
    def not_done(cls, why: str) -> Self:
        """Return that it was not loaded, and why."""
        return cls(status=None, cause=why, read_only=False)

    @property
    def is_judged(self) -> bool:
        """Whether the result is conclusive: a deploy has more time, and its app may write."""
        return self.status == 0 or (self.status not in (None, 124) and not self.read_only)


class PendingMigrations(Fact):
    """Which migrations of a release are pending.

    :param status: the exit status of the app's command; 124 if there was no time to see its end, ``None`` if
        it was not run.
    :param pending: the command's words, or why it has none.
    """

    status: int | None
    pending: str

    @classmethod
    def not_done(cls, why: str) -> Self:
        """Return that it was not asked, and why."""
        return cls(status=None, pending=why)


class ReachedServices(Fact):
    """Which of the app's backing services a droplet reaches.

    :param causes: by service why it was not reached, empty if it was; without those that were not tried.
    :param problem: why none was tried, or ``None``.
    """

    causes: dict[str, str] = {}
    problem: str | None = None

    @classmethod
    def not_done(cls, why: str) -> Self:
        """Return that none was tried, and why."""
        return cls(problem=why)


class Mirror(Fact):
    """Which of the files that a build would fetch the CPAN mirror has.

    :param url: the mirror's; empty if it was not asked.
    :param error: why it did not answer for one of them.
    :param missing: those that it does not have.
    :param unasked: how many there was no time to ask for.
    """

    url: str = ""
    error: str | None
    missing: tuple[str, ...] = ()
    unasked: int = 0

    @classmethod
    def not_done(cls, why: str) -> Self:
        """Return that it was not asked, and why."""
        return cls(error=why)


class ChangedFile(Fact):
    """A path of a release that is not as its manifest says, and what is wrong there.

    The path is empty for the manifest itself.
    """

    path: str
    what: str


class Comparison(Fact):
    """How the current release differs from its manifest.

    :param problem: why not all of it was compared, or ``None``.
    :param files: the first of the paths that differ, and ``more`` the number of the others.
    """

    problem: str | None
    files: tuple[ChangedFile, ...] = ()
    more: int = 0


class UsedConfiguration(Fact):
    """The configuration that an app's unit names.

    :param digest: 64 hex digits.
    :param problem: how its files are not as they were delivered, or ``None``.
    """

    digest: str
    problem: str | None = None


class AppEnvironment(Fact):
    """What systemd makes of the file with the app's environment.

    :param error: why it cannot read it; then the app does not start.
    :param ignored: names whose assignments it leaves out.
    :param ignored_unnamed: how many lines besides it leaves out, which have no name that may be shown.
    :param readable: whether everybody on the droplet can read it.
    :param changeable: whether others than root can change it.
    """

    error: str | None = None
    ignored: tuple[str, ...] = ()
    ignored_unnamed: int = 0
    readable: bool = False
    changeable: bool = False
