"""Which revisions may be deployed, and who has to approve it: the section ``policy`` of an app's file."""

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
    """What may be deployed, and who has to approve it; nothing in the trigger form changes these."""

    branches: tuple[Line, ...] | None = None
    tags: tuple[Line, ...] = ("*",)
    signed_by: tuple[Annotated[Line, AfterValidator(_allowed_signer)], ...] = ()
    allow_older: Demand = Demand.ASKED
    artifacts: Artifacts = Artifacts.NEVER
    approval: Demand = Demand.ASKED
    approvers: tuple[Line, ...] = ()

    @model_validator(mode="after")
    def _something_to_deploy(self) -> Self:
        """Refuse a policy that allows neither branches nor tags."""
        if self.branches == () and not self.tags:
            raise ValueError("branches and tags are both empty, so nothing could be deployed")
        return self
