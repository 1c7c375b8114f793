"""What a release has besides the repository's files: the sections ``files`` and ``shared``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from bluegreen.settings.fields import RelativePath, relative_path
from bluegreen.settings.section import Line, Section

MOST_FILES = 100
# Names of a release that are not the repository's.
_RESERVED = (".bluegreen", ".git", "REVISION")

# The owner is root. The app's group may read, nobody else on the droplet may, and only root may write.
Mode = Literal["0440", "0640", "0550", "0750"]


def _path(path: str) -> str:
    relative_path(path.removeprefix("/"))
    return path


class ContentFrom(Section):
    """Where a delivered file's content comes from: exactly one of these."""

    template: RelativePath | None = None
    """A file in the repository. Each {{ NAME }} in it becomes the value of that variable of the environment.
    """
    connection: Line | None = None
    """A key of `files` in the extra of the connection `connections.environment`, such as tls.pem."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.template is None) == (self.connection is None):
            raise ValueError("exactly one of template and connection is needed")
        return self


class DeliveredFile(Section):
    """A file that is not in the repository: in the release, or below the app's directory in ``/etc``."""

    path: Annotated[Line, AfterValidator(_path)]
    """Where the app finds the file: a path in the release, or one below /etc/app-<app>/."""
    content_from: ContentFrom
    """One of `template` and `connection`."""
    mode: Mode = "0640"
    """`0640`, `0440`, `0750` or `0550`, in quotes. The owner is root, the group the app's."""

    @property
    def mode_bits(self) -> int:
        """The mode as a number, as for ``os.chmod``."""
        return int(self.mode, 8)


def check_paths(
    files: Sequence[DeliveredFile],
    shared: Sequence[str],
    etc: str,
    started_from: Sequence[str],
    dependencies: str,
) -> None:
    """Check that no path of ``files`` and ``shared`` is in the way of another one, or of the app.

    :param etc: the directory of delivered files on a droplet, for example ``/etc/app-shop``.
    :param started_from: paths in the release that the app is started from.
    :param dependencies: the path of one of them, whose content is kept for other releases, too.
    :raises ValueError: naming the paths.
    """
    _check_apart([(f"files: {file.path}", _below(file.path, etc)) for file in files])
    linked = [(f"files: {file.path}", file.path) for file in files if not file.path.startswith("/")]
    linked += [(f"shared: {path}", path) for path in shared]
    _check_apart(linked)
    for label, path in linked:
        first = path.partition("/")[0]
        if first in _RESERVED:
            raise ValueError(f"{label}: {first} is reserved; choose another path")
        if path.startswith(f"{dependencies}/"):
            raise ValueError(
                f"{label} is below {dependencies}, which has the dependencies; choose another path"
            )
        for needed in started_from:
            if needed == path or needed.startswith(f"{path}/"):
                raise ValueError(f"{label} would replace {needed}, which the app is started from")


def _below(path: str, etc: str) -> str:
    """Return where a delivered file is, as a path below the app's directory in ``/etc``."""
    if path.startswith("/") and not path.startswith(f"{etc}/"):
        raise ValueError(f"files: found {path!r}; allowed is a path in the release, or one below {etc}/")
    return path.removeprefix(f"{etc}/")


def _check_apart(paths: Sequence[tuple[str, str]]) -> None:
    """Refuse a path that is another one, or that leads through another one."""
    for (label, path), (other, beside) in itertools.combinations(paths, 2):
        if path == beside:
            raise ValueError(f"{label} and {other} are the same path; remove one of them")
        if path.startswith(f"{beside}/") or beside.startswith(f"{path}/"):
            raise ValueError(f"{label} and {other}: one of them contains the other")
