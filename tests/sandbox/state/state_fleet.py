"""The app in ``app/`` with its releases, and the fleet that it is deployed to."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from demo.environment import APP, DemoEnvironment
from sandbox import Sandbox
from sandbox.example_repository import run_git
from tests.sandbox.state.services import Services

SOURCE = Path(__file__).parent / "app"
CONNECTION = "state_environment"
DROPLETS = 2
# The disk of the smallest size has no room for the packages beside two releases and the reserve.
SIZE = "s-2vcpu-4gb"
PACKAGES = (
    *("libdbd-pg-perl", "postgresql-client", "sqitch"),
    *("libminion-perl", "libmojo-pg-perl"),
    *("libplack-middleware-session-perl", "libredis-perl"),
)
# Those of the app that read and write its table.
PATHS = ("/", "/visit")


class Releases:
    """The app's repository, in which ``v1`` and ``v2`` differ by their names only.

    :param path: of the bare repository.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.revisions: dict[str, str] = {}

    def create(self) -> None:
        """Create the repository with its first two releases."""
        run_git(self._path.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(self._path))
        with self._work_tree() as tree:
            shutil.copytree(SOURCE, tree, dirs_exist_ok=True)
            self._commit(tree, "v1")
        self.add("v2", {}, on="v1")

    def add(self, tag: str, files: Mapping[str, str | None], on: str, irreversible: str | None = None) -> str:
        """Make a release on top of another one; ``main`` is at the newest.

        :param tag: its name, also in the answers of the app.
        :param files: what is different, by path; ``None`` removes a file.
        :param on: the tag of the release before.
        :param irreversible: why there is no way back from it, if its commit says so.
        :return: its revision.
        """
        with self._work_tree() as tree:
            run_git(tree, "checkout", "--quiet", "-B", "main", on)
            for name, content in files.items():
                file = tree / name
                if content is None:
                    file.unlink()
                    continue
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
                file.chmod(0o755 if content.startswith("#!") else 0o644)
            return self._commit(tree, tag, f"\n\nIrreversible: {irreversible}" if irreversible else "")

    @contextmanager
    def _work_tree(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=f".{self._path.name}.", dir=self._path.parent) as made:
            run_git(Path(made), "clone", "--quiet", str(self._path), "tree")
            yield Path(made) / "tree"

    def _commit(self, tree: Path, tag: str, trailer: str = "") -> str:
        (tree / "RELEASE").write_text(f"{tag}\n")
        run_git(tree, "-c", "core.fileMode=true", "add", "--all")
        run_git(tree, "commit", "--quiet", "--message", f"Release {tag}{trailer}")
        run_git(tree, "tag", tag)
        run_git(tree, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main", f"refs/tags/{tag}")
        self.revisions[tag] = run_git(tree, "rev-parse", "HEAD")
        return self.revisions[tag]


class StateEnvironment(DemoEnvironment):
    """An app whose state is in PostgreSQL and Redis, and whose droplets are the sandbox's.

    :param services: where its state is.
    :param confirm_within: seconds after which the proxy takes an unconfirmed switch back.
    """

    def __init__(
        self, sandbox: Sandbox, directory: Path, services: Services, confirm_within: int = 30
    ) -> None:
        super().__init__(sandbox, directory, bake=2, confirm_within=confirm_within)
        self.services = services
        self.releases = Releases(sandbox.repositories / "state.git")

    def prepare(self) -> None:
        """Build the app's repository, register an SSH key, and write the app file."""
        super().prepare()
        self.releases.create()
        # The fleet knows by them what is live; releases that are added later are among them.
        self.revisions = self.releases.revisions
        file = self.directory / "apps" / f"{APP}.yaml"
        settings = yaml.safe_load(file.read_text())
        settings["repository"] = f"{self.sandbox.git_url}/state.git"
        settings["fleet"] |= {"droplets_per_color": DROPLETS, "size": SIZE, "packages": list(PACKAGES)}
        # Where the services are.
        settings["fleet"]["vpc"] = "default-nyc3"
        settings["dependencies"] = {"installer": "none"}
        settings["server"] = {"workers": 4}
        settings["validation"]["paths"] = list(PATHS)
        settings["connections"] = {"environment": CONNECTION}
        file.write_text(yaml.safe_dump(settings, sort_keys=False))

    def variables(self) -> dict[str, str]:
        """Return the environment variables that Airflow needs besides its own."""
        extra = {"environment": self.services.environment}
        connection = json.dumps({"conn_type": "generic", "extra": extra})
        return {**super().variables(), f"AIRFLOW_CONN_{CONNECTION.upper()}": connection}
