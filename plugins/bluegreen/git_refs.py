"""Git refs: what a user may type, and which branch, tag or commit it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bluegreen.errors import RefError

# The rule of `git check-ref-format --branch`, as JSON Schema (which Airflow's form checks in JavaScript and
# its REST API with Python's re.search, so `$` alone would let a final line break through). Beyond git's rule,
# characters that cannot be seen, or that reorder a line, are refused: a ref stands in logs and approvals.
REF_PATTERN = (
    r"^(?!-)(?!@$)(?!\.)(?!/)(?!.*(\.\.|//|/\.|@\{|\.lock/|\.lock$|/$|\.$))"
    r"[^\u0000-\u0020~^:?*\[\\\u007f-\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    r"\ud800-\udfff\ufeff\ufff9-\uffff]{1,200}$(?!\n)"
)

WHAT_A_REF_MAY_BE = (
    "a ref is a branch, a tag or a commit id: up to 200 characters, none of them a blank or one of "
    "~ ^ : ? * [ \\, not starting with '-', '.' or '/', without '..', '//', '/.' and '@{', not ending in "
    "'/', '.' or '.lock'"
)

HEADS, TAGS = "refs/heads/", "refs/tags/"

_REVISION = re.compile(r"[0-9a-fA-F]{40}")
_SHORT_REVISION = re.compile(r"[0-9a-fA-F]{7,39}")
# What `git describe` prints of a commit after a tag.
_DESCRIBED = re.compile(r".*-\d+-g([0-9a-f]{7,40})")
_REMOTE = ("refs/remotes/origin/", "remotes/origin/", "origin/")


@dataclass(frozen=True)
class Meaning:
    """The possible meanings of a ref.

    :param names: full names of branches and tags, the preferred ones first.
    :param otherwise: full names to try if none of these exists.
    :param commit: a commit id, or its beginning, in small letters; empty if the ref cannot be one.
    :param default_branch: whether the repository's default branch is meant.
    """

    names: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    commit: str = ""
    default_branch: bool = False


def check_ref(ref: object) -> str:
    """Return the ref if it is well-formed.

    :raises RefError: with the text that was found and the rule.
    """
    if not isinstance(ref, str) or not re.fullmatch(REF_PATTERN, ref):
        shown = ref if not isinstance(ref, str) or len(ref) <= 60 else f"{ref[:60]}… ({len(ref)} characters)"
        raise RefError(f"refused ref {shown!r}: {WHAT_A_REF_MAY_BE}")
    return ref


def meaning_of(ref: str) -> Meaning:
    """Return the possible meanings of a ref, judged by its spelling alone.

    CI systems hand over ``refs/heads/main``, ``origin/main``, ``HEAD``, commit ids in capitals, and what
    ``git describe`` prints.

    :raises RefError: if the ref is malformed, or names neither a branch nor a tag.
    """
    check_ref(ref)
    if ref in ("HEAD", "origin/HEAD", "refs/remotes/origin/HEAD"):
        return Meaning(default_branch=True)
    if _REVISION.fullmatch(ref):
        return Meaning(commit=ref.lower())
    if ref.startswith((HEADS, TAGS)):
        return Meaning(names=(ref,))
    described = _DESCRIBED.fullmatch(ref)
    commit = ref.lower() if _SHORT_REVISION.fullmatch(ref) else described[1] if described else ""
    otherwise = tuple(HEADS + ref.removeprefix(start) for start in _REMOTE if ref.startswith(start))
    if ref.startswith("refs/"):
        if not otherwise:
            raise RefError(
                f"{ref!r} is neither a branch nor a tag, and only these can be deployed; "
                "merge it, or name the commit"
            )
        return Meaning(names=otherwise)
    if ref.startswith(("heads/", "tags/")):
        otherwise += (f"refs/{ref}",)
    return Meaning(names=(TAGS + ref, HEADS + ref), otherwise=otherwise, commit=commit)
