"""Signatures: whether a key in the app file has signed a commit, or a tag that names it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from bluegreen.errors import RefError
from bluegreen.source.mirror import Mirror

# Only the keys of the app's file count, not the keyrings and signer lists of Airflow's user.
_ONLY_THESE_KEYS = ("gpg.program=false", "gpg.x509.program=false", "gpg.minTrustLevel=fully")

_GOOD = re.compile(r'^Good "git" signature for (.+) with \S+ key SHA256:\S+$', re.MULTILINE)


def signer_of(
    mirror: Mirror, revision: str, tags: Sequence[str], allowed_signers: Sequence[str]
) -> str | None:
    """Return the allowed signer of a commit, or of an annotated tag that names it; ``None`` if there is none.

    :param tags: full names of the tags that may be deployed.
    :param allowed_signers: lines as in git's ``gpg.ssh.allowedSignersFile``.
    :raises RefError: if signatures cannot be checked here.
    """
    if shutil.which("ssh-keygen") is None:
        raise RefError(
            "ssh-keygen is not installed where Airflow runs its tasks, and policy.signed_by needs it"
        )
    file = mirror.path / "allowed_signers"
    file.write_text("".join(f"{line}\n" for line in allowed_signers), encoding="utf-8")
    settings = [*_ONLY_THESE_KEYS, f"gpg.ssh.allowedSignersFile={file}"]
    options = [word for setting in settings for word in ("-c", setting)]
    for kind, name in [("verify-commit", revision), *(("verify-tag", tag) for tag in tags)]:
        answer = mirror.run(*options, kind, "--raw", name)
        if answer.status == 0 and (good := _GOOD.search(answer.stderr)):
            return good[1]
    return None
