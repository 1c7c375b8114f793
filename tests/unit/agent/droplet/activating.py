"""A droplet on which releases are activated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from agent.call import Call
from agent.droplet.activated import Activated, Pairing
from agent.droplet.activation import activate
from agent.droplet.configuration import install_configuration
from agent.protocol import AgentError, Verb
from tests.unit.agent.droplet.local_droplet import ASKED, LocalDroplet, about, configuration

SAID = configuration({"A": "new"})
EARLIER = configuration({"A": "old"})


class ActivatingDroplet(LocalDroplet):
    """A droplet with a new release, and two that were healthy there."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path, monkeypatch)
        self.new = self.put("a" * 40)
        self.old, self.older = self.put("b" * 40), self.put("c" * 40)
        for wanted in (SAID, EARLIER):
            install_configuration(self.app, wanted)
        for age, release in enumerate((self.old, self.older)):
            self.was_healthy(self.pairing(release), age)

    @property
    def activated(self) -> Activated:
        return Activated(self.app)

    def pairing(
        self, release: str, configured: Mapping[str, Any] = EARLIER, text: str = "unit of"
    ) -> Pairing:
        return Pairing(release, configured["digest"], f"{text} {release}\n")

    def was_healthy(self, pairing: Pairing, age: int = 0) -> Pairing:
        """Let something have been healthy so many seconds before 1970-01-01 00:16:40."""
        with patch.object(time, "time", lambda: 1000.0 - age):
            self.activated.record(pairing, ASKED)
        return pairing

    def activate(self, **changes: Any) -> Any:
        release = changes.get("release", self.new)
        wanted = {
            "release": release,
            "configuration": SAID["digest"],
            "unit_text": f"unit of {release}\n",
            "units": {},
            "kept": "",
            "keep": 5,
            **ASKED,
        }
        return activate(Call.of(Verb.ACTIVATE), about(**{**wanted, **changes}))

    def known(self) -> set[Pairing]:
        """What was healthy, and is still there."""
        return {one.pairing for one in self.activated.all()}

    def refusal(self, **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.activate(**changes)
        return raised.value
