"""The policy of an app file: which revision a ref means, and whether that revision may be deployed.

A deploy and a dry run call the same functions, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bluegreen.errors import PolicyError, RefError
from bluegreen.git_refs import HEADS, TAGS, meaning_of
from bluegreen.settings.app import App
from bluegreen.settings.migrations import Irreversible
from bluegreen.settings.policy import Demand, PolicySettings
from bluegreen.source.access import OWN_CONFIGURATION, Access
from bluegreen.source.irreversible import declared_irreversible
from bluegreen.source.mirror import Mirror, with_mirror
from bluegreen.source.signatures import signer_of


@dataclass(frozen=True)
class Allowed:
    """A revision that may be deployed.

    :param ref: what the user typed.
    :param revision: 40 hex digits.
    :param why: the branch or tag that allows it, for example ``branch main``.
    :param signed_by: the signer, if the app file demands one.
    :param commit: the subject of its commit; a stranger's text.
    """

    ref: str
    revision: str
    why: str
    signed_by: str | None = None
    commit: str = ""


@dataclass(frozen=True)
class Age:
    """How a revision compares with the one that is live.

    :param live: the live revision; ``None`` if it is not known which one is live.
    :param lacks: how many commits the live one has that this one lacks; ``None`` if that cannot be known.
    :param is_older: whether it would take the app back to an earlier state.
    :param irreversible: what makes it irreversible, see :mod:`bluegreen.source.irreversible`; else ``None``.
    :param undone: what makes the live one irreversible, if this one is older, and lacks that; else ``None``.
    """

    live: str | None
    lacks: int | None
    is_older: bool
    irreversible: str | None = None
    undone: str | None = None

    def __str__(self) -> str:
        """Describe the comparison in a few words, for a run's report."""
        if self.live is None:
            return "not comparable with what is live, because it is not known which revision that is"
        if self.lacks is None:
            return f"not comparable with {self.live[:12]}, which was live"
        lacks = f"older than live ({self.live[:12]}) by {self.lacks} commit{'' if self.lacks == 1 else 's'}"
        return f"{lacks}, among them what is irreversible ({self.undone})" if self.undone else lacks


def allowed(mirror: Mirror, app: App, ref: str) -> Allowed:
    """Resolve a ref, and make sure that the app's file allows its revision.

    :raises RefError: if the ref is malformed, ambiguous or not there.
    :raises PolicyError: if the revision may not be deployed; the text names the setting.
    """
    policy = app.policy
    revision = _resolve(mirror, ref)
    tags = _matching(mirror.tags_of(revision), TAGS, policy.tags)
    why = _branch_with(mirror, revision, policy) or (f"tag {tags[0].removeprefix(TAGS)}" if tags else None)
    if why is None:
        branches = ", ".join(_branches(mirror, policy)).replace(HEADS, "")
        raise PolicyError(
            f"{_named(ref, revision)} may not be deployed: it is in no branch that policy.branches allows "
            f"({_short(branches)}), and has no tag that policy.tags allows ({_short(', '.join(policy.tags))})"
            "; merge it or tag it"
        )
    if not policy.signed_by:
        return Allowed(ref, revision, why, commit=mirror.subject(revision))
    signer = signer_of(mirror, revision, tags, policy.signed_by)
    if signer is None:
        raise PolicyError(
            f"{_named(ref, revision)} may not be deployed: neither the commit nor a tag of it is signed by a "
            "key that policy.signed_by lists; sign it, or push a signed tag"
        )
    return Allowed(ref, revision, why, signer, mirror.subject(revision))


def resolve(app: App, ref: str, *, access: Access = OWN_CONFIGURATION) -> Allowed:
    """Resolve a ref in the app's repository as it is now, see :func:`allowed`.

    :param access: the credentials for the repository.
    """
    return with_mirror(app.repository, lambda mirror: allowed(mirror, app, ref), access=access)


def compare(app: App, revision: str, live: str | None, *, access: Access = OWN_CONFIGURATION) -> Age:
    """Compare a revision with the one that is live, see :func:`age_of`.

    :param live: ``None`` if something is live, and it is not known what.
    :param access: the credentials for the repository.
    :raises RefError: if the repository cannot be read.
    """
    if revision == live:
        return Age(live, 0, is_older=False)
    commits = (revision, live) if live else (revision,)
    return with_mirror(
        app.repository,
        lambda mirror: age_of(mirror, app, revision, live),
        commits=commits,
        access=access,
    )


def commits_between(
    app: App, live: str, revision: str, most: int, *, access: Access = OWN_CONFIGURATION
) -> list[str]:
    """Return the commits that only one of two revisions has, the newest first, as lines.

    A line begins with ``>`` if the new revision has the commit, and with ``<`` if the live one has.

    :param most: how many lines at most.
    :param access: the credentials for the repository.
    :raises RefError: if the repository cannot be read, or no longer has the live revision.
    """

    def log(mirror: Mirror) -> list[str]:
        if not mirror.keep(f"live/{app.id}", live):
            raise RefError(f"{app.repository} does not have {live[:12]} any more")
        return mirror.log(f"{live}...{revision}", "--left-right", "--format=%m %h %s (%an)", most=most)

    return with_mirror(app.repository, log, commits=(live, revision), access=access)


def age_of(mirror: Mirror, app: App, revision: str, live: str | None) -> Age:
    """Compare a revision with the one that is live.

    It is older if the live one descends from it, or if each has commits that the other lacks and it was
    committed earlier. A live revision that is not known, or that the repository no longer has, cannot be
    compared.
    """
    # Kept, so that a history that is rewritten later can be compared nevertheless.
    if live is None or not mirror.keep(f"live/{app.id}", live):
        return Age(live, None, is_older=True, irreversible=declared_irreversible(mirror, revision, None))
    irreversible = declared_irreversible(mirror, revision, live)
    lacks = mirror.count(live, revision)
    if lacks == 0:
        return Age(live, 0, is_older=False, irreversible=irreversible)
    is_ancestor = mirror.count(revision, live) == 0
    is_older = is_ancestor or mirror.committed(revision) < mirror.committed(live)
    undone = declared_irreversible(mirror, live, revision) if is_older else None
    return Age(live, lacks, is_older, irreversible, undone)


def require_new_enough(app: App, revision: str, age: Age, *, forced: bool) -> None:
    """Make sure that a revision is not older than what is live, or may be.

    :param forced: whether the run's parameter ``allow_older`` is set.
    :raises PolicyError: naming the setting.
    """
    demand = app.policy.allow_older
    if not age.is_older or demand is Demand.ALWAYS or (demand is Demand.ASKED and forced):
        return
    advice = "bluegreen_rollback goes back to the release before"
    if demand is Demand.ASKED:
        advice += ", and the parameter allow_older deploys it nevertheless"
    if age.live is None:
        advice += "; no proxy has it as confirmed, and its droplets report none, or several: see "
        advice += f"bluegreen_status__{app.id}"
    elif age.lacks is None:
        advice += f"; {app.repository} does not have {age.live[:12]} any more, so every revision is refused: "
        advice += f"push {age.live[:12]} to a branch to have them compared"
    if age.lacks is None and demand is Demand.NEVER:
        advice += ", or set policy.allow_older: asked for this run, and its parameter allow_older"
    raise PolicyError(
        f"{revision[:12]} may not be deployed: it is {age} (setting policy.allow_older: {demand}); {advice}"
    )


def require_reversible(app: App, revision: str, age: Age) -> None:
    """Make sure that traffic can go back after a release, or need not be able to.

    :raises PolicyError: naming the setting.
    """
    why = age.irreversible
    if why and age.live is None:
        why += " (it is not known which revision is live, so all its commits count)"
    elif why and age.live and age.lacks is None:
        why += f" ({app.repository} does not have {age.live[:12]} any more, so all its commits count)"
    require_may_be_irreversible(app, revision, why)


def require_may_be_irreversible(app: App, revision: str, why: str | None) -> None:
    """Make sure that a release may be deployed that is irreversible.

    :param why: its reasons; ``None`` if it is not.
    :raises PolicyError: naming the setting.
    """
    if why is None or app.migrations.irreversible is Irreversible.ALLOW:
        return
    raise PolicyError(
        f"{revision[:12]} may not be deployed: it is irreversible: {why}; with "
        f"migrations.irreversible: {app.migrations.irreversible} nothing is deployed that traffic could not "
        "go back from; deploy the commits before it, or set it to allow"
    )


def _resolve(mirror: Mirror, ref: str) -> str:
    """Return the revision that a ref means now."""
    meaning, repository = meaning_of(ref), mirror.repository
    if meaning.default_branch:
        if not mirror.default_branch:
            raise RefError(f"{repository} names no default branch, so {ref!r} means nothing; name a branch")
        return _commit_of(mirror, mirror.default_branch)
    names = [name for name in meaning.names if name in mirror.refs]
    names += [name for name in meaning.otherwise if name in mirror.refs]
    found = {name: _commit_of(mirror, name) for name in names}
    if len(set(found.values())) > 1:
        each = ", ".join(f"{name} is {revision[:12]}" for name, revision in found.items())
        raise RefError(f"{ref!r} is ambiguous in {repository}: {each}; give the full name")
    if found:
        return next(iter(found.values()))
    if meaning.commit and (revision := mirror.commit(meaning.commit)):
        return revision
    if len(meaning.commit) == 40:
        raise PolicyError(
            f"{meaning.commit[:12]} may not be deployed: it is in no branch and has no tag in {repository} "
            "(settings policy.branches and policy.tags), so it is a fork's, or was never pushed; merge it or "
            "tag it"
        )
    advice = "push it, or check the spelling"
    if meaning.commit:
        advice = "if it is a commit, give more digits of its id"
    raise RefError(f"there is no branch or tag {ref!r} in {repository}; {advice}")


def _commit_of(mirror: Mirror, name: str) -> str:
    revision = mirror.commit(name)
    if revision is None:
        raise RefError(f"{name} in {mirror.repository} names no commit, so there is nothing to deploy")
    return revision


def _branches(mirror: Mirror, policy: PolicySettings) -> list[str]:
    """Return the full names of the branches that may be deployed."""
    if policy.branches is None:
        return [mirror.default_branch] if mirror.default_branch else []
    return _matching(mirror.refs, HEADS, policy.branches)


def _branch_with(mirror: Mirror, revision: str, policy: PolicySettings) -> str | None:
    """Return the branch that may be deployed and has a revision, in words; the one whose tip it is first."""
    having = set(mirror.branches_with(revision))
    names = [name for name in _branches(mirror, policy) if name in having]
    names.sort(key=lambda name: mirror.refs[name] != revision)
    return f"branch {names[0].removeprefix(HEADS)}" if names else None


def _matching(names: Iterable[str], start: str, patterns: Sequence[str]) -> list[str]:
    """Return the names that begin like this, and go on like one of the patterns."""
    short = ((name, name.removeprefix(start)) for name in names if name.startswith(start))
    return [name for name, rest in short if any(fnmatchcase(rest, pattern) for pattern in patterns)]


def _named(ref: str, revision: str) -> str:
    return revision[:12] if revision.startswith(ref.lower()) else f"{ref} ({revision[:12]})"


def _short(listed: str) -> str:
    return listed if 0 < len(listed) <= 100 else f"{listed[:100]}…" if listed else "none"
