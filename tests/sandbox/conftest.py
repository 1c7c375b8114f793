"""One sandbox for all tests that need machines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.environment import DemoEnvironment
from sandbox import Sandbox
from sandbox.sample_app import build_repository
from tests.sandbox.app_droplet import AppDroplet, created
from tests.sandbox.droplets import Shop
from tests.sandbox.releases import Commit
from tests.sandbox.stack import Judge, Stack, running, start_judge, stop_judge
from tests.statsd_sink import Sink

# On a fresh machine they are made once, by whichever run of pytest comes first: minutes.
FIRST_SECONDS = 1500
# The fixtures that bring Airflow along.
WITH_AIRFLOW = {"stack", "fleet"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that deploy through Airflow, so that they can be run beside all others."""
    for item in items:
        is_here = item.path.is_relative_to(Path(__file__).parent)
        if is_here and WITH_AIRFLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker("airflow")
            item.add_marker("sandbox")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Give the first test the time to make, or to wait for, the image and the packages of all machines."""
    first = next((one for one in session.items if "sandbox" in getattr(one, "fixturenames", ())), None)
    if first:
        first.add_marker(pytest.mark.timeout(FIRST_SECONDS))


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that is up, shared by the whole session: make droplets of your own, and remove them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("the sandbox's machines need Linux and root")
    with Sandbox.up(tmp_path_factory.mktemp("sandbox"), tied=True) as box:
        yield box


@pytest.fixture(autouse=True)
def _as_new(request: pytest.FixtureRequest) -> None:
    """Let no test suffer from the faults and the requests of an earlier one."""
    if "sandbox" in request.fixturenames:
        box: Sandbox = request.getfixturevalue("sandbox")
        box.clear_faults()
        box.reset_limits()


@pytest.fixture(autouse=True)
def _no_run_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no test meet the runs of an earlier one that failed."""
    yield
    if "stack" in request.fixturenames:
        stack: Stack = request.getfixturevalue("stack")
        stack.end_runs()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let mirrors and artifacts of the tests be in a directory of the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def private_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key, with its public half beside it."""
    key = tmp_path_factory.mktemp("ssh") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


@pytest.fixture(scope="session")
def shop(sandbox: Sandbox, private_key: Path) -> Shop:
    """Where to order droplets of the shared sandbox."""
    return Shop(sandbox, private_key)


@pytest.fixture(scope="session")
def sink() -> Iterator[Sink]:
    """What hears the metrics of the shared Airflow."""
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def stack(sandbox: Sandbox, sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A provisioned fleet with v1 live, and an Airflow; shared by the whole session."""
    environment = DemoEnvironment(sandbox, tmp_path_factory.mktemp("environment"), bake=2)
    with running(environment, tmp_path_factory.mktemp("airflow"), sink.variables()) as stack:
        yield stack


@pytest.fixture(scope="module")
def judge(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Clients that ask the proxy all the time."""
    process, judge = start_judge(stack.environment.proxy_url(), tmp_path_factory.mktemp("judge"))
    yield judge
    stop_judge(process)


@pytest.fixture(scope="module")
def repository(sandbox: Sandbox) -> Path:
    path = sandbox.repositories / "droplet_scripts.git"
    build_repository(path)
    return path


@pytest.fixture(scope="module")
def revisions(repository: Path) -> dict[str, str]:
    return build_repository(repository)


@pytest.fixture(scope="module")
def commit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Commit:
    """Make a commit on top of v1, on a branch of its own, and return its revision."""

    def make(branch: str, change: Callable[[Path], None]) -> str:
        clone = tmp_path_factory.mktemp(branch) / "clone"
        subprocess.run(["git", "clone", "-q", "-b", "v1", repository, clone], check=True, capture_output=True)
        change(clone)
        for command in (
            ["checkout", "-q", "-b", branch],
            ["add", "--all"],
            ["-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-q", "-m", branch],
            ["push", "-q", "--force", "origin", branch],
        ):
            subprocess.run(["git", "-C", clone, *command], check=True)
        shown = subprocess.run(
            ["git", "-C", clone, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        return shown.stdout.strip()

    return make


@pytest.fixture(scope="module")
def droplet(sandbox: Sandbox, repository: Path) -> Iterator[AppDroplet]:
    with created(sandbox, "scripts-1") as machine:
        yield AppDroplet(machine, f"{sandbox.git_url}/{repository.name}")
