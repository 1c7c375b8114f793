"""The credentials that git reads repositories with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote


@dataclass(frozen=True)
class Access:
    """What git needs to log in to a forge; without anything, the configuration of Airflow's user counts.

    :param name: the Airflow connection that it comes from. Mirrors are kept apart by it: what one connection
        may read must not reach an app that has another one.
    :param environment: variables for git, which lead it to a key or a credential helper.
    :param secrets: texts that must not be in an error, whatever a forge answers.
    """

    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def hide(self, text: str) -> str:
        """Return a text with ``***`` instead of each secret, also where it is encoded as HTTP encodes it."""
        for secret in self.secrets:
            for shown in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()):
                text = text.replace(shown, "***")
        return text


# Git's own configuration, and the keys of Airflow's user.
OWN_CONFIGURATION = Access()
