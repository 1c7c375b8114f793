"""What may be deployed, who has to approve it, and who may run commands: the section ``policy``."""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from bluegreen.settings.section import Line, Section

# Principals, options and a key, see ALLOWED SIGNERS in ssh-keygen(1); the key itself begins with its type.
_KEY = re.compile(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]+={0,2})(?:\s|$)")


class Demand(StrEnum):
    """Whether something is demanded in every run, in none, or in runs whose parameter asks for it."""

    ALWAYS = "always"
    NEVER = "never"
    ASKED = "asked"


class Artifacts(StrEnum):
    """Whether artifacts that CI has built may be deployed."""

    NEVER = "never"
    ALLOWED = "allowed"


def _allowed_signer(line: str) -> str:
    allowed = (
        "allowed are lines as in git's gpg.ssh.allowedSignersFile, such as "
        '"alice@example.com ssh-ed25519 AAAA…"'
    )
    key = _KEY.search(line)
    if key is None or not line[: key.start()].strip() or line.lstrip().startswith("#"):
        raise ValueError(allowed)
    try:
        blob = base64.b64decode(key[2], validate=True)
    except binascii.Error:
        raise ValueError(f"the key is incomplete; {allowed}") from None
    kind = key[1].encode()
    if blob[: 4 + len(kind)] != len(kind).to_bytes(4) + kind:
        raise ValueError(f"the key is not of the type {key[1]}; {allowed}")
    return line


class PolicySettings(Section):
    """What may be deployed, and who may decide what; nothing in the trigger form changes these."""

    branches: tuple[Line, ...] | None = None
    """Branches whose commits may be deployed: patterns in which * stands for anything, `/` included. By
    default the repository's default branch, whatever its name is. [] for none.
    """
    tags: tuple[Line, ...] = ("*",)
    """Tags whose commits may be deployed, likewise. A tag allows the commit that it names and none below it.
    """
    signed_by: tuple[Annotated[Line, AfterValidator(_allowed_signer)], ...] = ()
    """If set, a commit, or a tag above that names it, has to be signed with one of these SSH keys. Each is a
    line as in git's gpg.ssh.allowedSignersFile: a name, options if any, and a public key:
      signed_by: ["alice@example.com ssh-ed25519 AAAAC3Nz…"]
    The machine that runs the tasks needs ssh-keygen then. OpenPGP signatures do not count.
    """
    allow_older: Demand = Demand.ASKED
    """Whether a revision may be deployed that is older than the live one: `always`, `never`, or `asked`: only
    in a run whose parameter `allow_older` is set, and the run's report says so. Older means an ancestor of
    the live revision or, on another line of history, a commit that was made earlier. What cannot be
    compared, because it is not known what is live, counts as older. Rollbacks are not affected.
    """
    artifacts: Artifacts = Artifacts.NEVER
    """Whether a run may deploy an artifact that CI has built, by its parameter `artifact`, instead of
    building one: `never` or `allowed`. Whoever can write to `incoming` in the artifact store, and may
    trigger a run, then decides what is in it; see docs/ci.md. Its revision has to be one that may be
    deployed.
    """
    approval: Demand = Demand.ASKED
    """Whether somebody has to approve each switch in Airflow: `always`, `never`, or `asked`: in a run whose
    parameter `require_approval` is set. The user who triggered a run can never approve it.
    """
    approvers: tuple[Line, ...] = ()
    """Names of the Airflow users who may approve. By default everybody but the user who triggered the run. If
    there are any, a run with the parameter `emergency` waits for them as well, whatever `approval` is.
    """
    run: tuple[Line, ...] = ()
    """Names of the Airflow users who may run one-off commands in the live release, by bluegreen_run__<app>,
    which is there only with such names. Such a command can do whatever the app can: read its secrets,
    change its database (docs/one-off-commands.md).
    """

    @model_validator(mode="after")
    def _something_to_deploy(self) -> Self:
        """Refuse a policy that allows neither branches nor tags."""
        if self.branches == () and not self.tags:
            raise ValueError("branches and tags are both empty, so nothing could be deployed")
        return self
