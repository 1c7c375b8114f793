"""Commands of the settings run as the user that they name, with what that user needs and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.call import Call
from agent.droplet.running import run
from agent.protocol import Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import LocalDroplet, about


@pytest.mark.parametrize(
    ("user", "rights"),
    [
        (APP, {f"StateDirectory={APP}", "StateDirectoryMode=0700"}),
        # A release is readable for the app's group only; what people have put there for the app is not meant.
        (
            "build-shop",
            {
                f"SupplementaryGroups={APP}",
                f"InaccessiblePaths=-/etc/{APP}",
                f"InaccessiblePaths=-/var/lib/{APP}",
            },
        ),
    ],
)
def test_each_user_has_the_rights_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, rights: set[str]
) -> None:
    droplet = LocalDroplet(tmp_path, monkeypatch)
    request = about(release="", user=user, command=["true"], environment={}, cage=[])
    assert run(Call.of(Verb.RUN), request) == {}
    words = (droplet.read("run-run") or "").splitlines()
    properties = {word.removeprefix("--property=") for word in words if word.startswith("--property=")}
    given = {one for one in properties if one.startswith(("StateDir", "Supplement", "Inaccess"))}
    assert (given, f"User={user}" in properties) == (rights, True)
