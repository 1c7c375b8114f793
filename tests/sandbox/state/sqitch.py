"""Sqitch's files in a release: one plan for what an expand adds, and one for what a contract removes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CONFIGURATION = "[core]\n\tengine = pg\n\ttop_dir = db\n"
PLANNED = "2026-11-01T00:00:00Z State <state@example.com> # Planned."
# Sqitch keeps what it has deployed in a schema of its own.
REGISTRY = "sqitch"


def command(*words: str, phase: str) -> list[str]:
    """Return a command of Sqitch's for the plan of a phase."""
    return ["sqitch", *words, "--plan-file", f"db/{phase}.plan"]


def deploy(phase: str) -> list[str]:
    """Return the command that deploys a phase as the documentation has it."""
    return command("deploy", "--verify", "--mode", "change", "--lock-timeout", "10", phase=phase)


@dataclass(frozen=True)
class Change:
    """A change of the schema, by the scripts of its name.

    :param needs: what has to be deployed before, as Sqitch's plans have it: ``project:change``.
    """

    name: str
    deploy: str
    verify: str = "SELECT true;"
    revert: str = "SELECT true;"
    needs: str = ""

    @property
    def line(self) -> str:
        """Its line in a plan."""
        needs = f" [{self.needs}]" if self.needs else ""
        return f"{self.name}{needs} {PLANNED}"

    def scripts(self) -> dict[str, str]:
        """Return its scripts, by path."""
        texts = {"deploy": self.deploy, "verify": self.verify, "revert": self.revert}
        return {f"db/{kind}/{self.name}.sql": f"{text}\n" for kind, text in texts.items()}


def plans(project: str, expand: Iterable[Change], contract: Iterable[Change] = ()) -> dict[str, str]:
    """Return the files of a release whose plans have some changes, by path.

    :param project: a name that no other history of changes has in the database.
    """
    files = {"sqitch.conf": CONFIGURATION}
    for phase, name, changes in (
        ("expand", project, tuple(expand)),
        ("contract", f"{project}_contract", tuple(contract)),
    ):
        head = ["%syntax-version=1.0.0", f"%project={name}", ""]
        files[f"db/{phase}.plan"] = "\n".join([*head, *(change.line for change in changes), ""])
        for change in changes:
            files |= change.scripts()
    return files
