"""A release is built once, on one droplet, and kept."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from agent.protocol import Code, Verb
from bluegreen.color import Color
from bluegreen.errors import AgentRefusedError, BlueGreenError, ProxyError, SettingsError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.file_transfer import AlteredFileError, TransferError
from bluegreen.hooks.incoming_artifacts import IncomingArtifacts
from bluegreen.hooks.store_errors import StoreError
from bluegreen.operators import build
from bluegreen.release.artifact import artifact_key
from bluegreen.run.plan import Plan
from bluegreen.settings.app_file import load_app
from tests.unit.artifacts import CONTENT, DIGEST, PERL, RELEASE, SOURCE, Transfers, record, source_of
from tests.unit.ci_artifacts import allowing, packed, put, with_perl
from tests.unit.droplet_agents import DropletAgents, Refusal, ended
from tests.unit.fleets import GREEN, ONE_EACH, droplet
from tests.unit.runs import APP, LOCK, LOST, REVISION, context

pytestmark = pytest.mark.usefixtures("trusting")

SECOND = droplet(9, "green-2")
FLEET = ONE_EACH.model_copy(update={"green": (GREEN, SECOND)})
ARTIFACT = {"name": "out.tar.gz", "sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
DEPENDENCIES = "5" * 40
ANSWER = {"release": RELEASE, "digest": DIGEST, "artifact": ARTIFACT, "dependencies": DEPENDENCIES}


def task(**plan: Any) -> build.BuildOperator:
    known = {"live": Color.BLUE, "idle": Color.GREEN, "fleet": FLEET, "perl_key": PERL}
    one = build.BuildOperator(
        task_id="build",
        app_id=APP,
        lock=LOCK,
        plan=Plan(**{**known, **plan}).model_dump(mode="json"),
        revision=REVISION,
    )
    assert isinstance(one, build.BuildOperator)
    return one


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ArtifactStore:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path / "cache"))
    return ArtifactStore.of(load_app(APP))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    return source_of(monkeypatch, build, tmp_path)


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> Transfers:
    return Transfers(monkeypatch)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> DropletAgents:
    one = DropletAgents(monkeypatch)
    one.answers["green-1", Verb.FOLLOW_JOB] = ended("success", build=ANSWER)
    return one


@pytest.mark.usefixtures("proxies", "asked")
def test_the_first_idle_droplet_builds_and_the_store_keeps_what_it_made(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents
) -> None:
    run = context()
    result = task().execute(run)
    assert {name for name, _ in agents.sent} == {"green-1"}
    assert transfers.sent == [(f"{hashlib.sha256(SOURCE).hexdigest()}.tar.gz", SOURCE)]
    assert result["release"] == RELEASE
    assert result["artifact"]["sha256"] == ARTIFACT["sha256"]
    kept = store.built(result["key"])
    assert kept is not None
    assert kept.record.run == "deploy/run"
    store.verify(kept.record)
    # What the next tasks require.
    assert run["ti"].said["done"]["token"] == 7
    assert run["ti"].said["job_seconds"] == 1.5


@pytest.mark.usefixtures("proxies")
def test_an_artifact_that_is_there_is_taken_and_nothing_is_asked_of_the_forge_or_a_droplet(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents, asked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "artifact").write_bytes(CONTENT)
    store.put(record(), {}, tmp_path / "artifact")
    assert task().execute(context())["release"] == RELEASE
    assert (asked, transfers.sent, agents.sent) == ([], [], [])


@pytest.mark.usefixtures("proxies", "asked", "transfers")
def test_an_artifact_for_another_perl_is_not_taken(
    store: ArtifactStore, agents: DropletAgents, tmp_path: Path
) -> None:
    (tmp_path / "artifact").write_bytes(CONTENT)
    store.put(record(key=artifact_key(load_app(APP), REVISION, "another perl")), {}, tmp_path / "artifact")
    task().execute(context())
    assert ("green-1", Verb.START_JOB) in agents.sent


@pytest.mark.usefixtures("proxies", "asked", "transfers")
def test_an_artifact_that_was_changed_in_the_store_ends_the_run(
    store: ArtifactStore, agents: DropletAgents, tmp_path: Path
) -> None:
    (tmp_path / "artifact").write_bytes(CONTENT)
    store.put(record(), {}, tmp_path / "artifact")
    (tmp_path / "cache/artifacts" / APP / f"{DIGEST}.tar.gz").write_bytes(b"an artifacT")
    with pytest.raises(
        AirflowFailException, match=r"the artifact store .* is not what a build has put there"
    ):
        task().execute(context())
    assert agents.sent == []


def earlier(store: ArtifactStore, directory: Path, **changes: Any) -> None:
    """Put an artifact of another revision into the store."""
    known = {"digest": "e" * 64, "revision": "e" * 40, "key": "e" * 64, "dependencies": DEPENDENCIES}
    (directory / "artifact").write_bytes(CONTENT)
    store.put(record(**{**known, **changes}), {}, directory / "artifact")


def requested(agents: DropletAgents) -> Any:
    """Return the request of the build."""
    [step] = next(request["program"]["steps"] for request in agents.requests if "program" in request)
    return step["request"]


@pytest.mark.usefixtures("proxies", "asked")
def test_dependencies_that_another_droplet_has_built_are_sent_along(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents, tmp_path: Path
) -> None:
    earlier(store, tmp_path, built_at=2.0)
    earlier(store, tmp_path, built_at=1.0, digest="c" * 64, dependencies="c" * 40)
    result = task().execute(context())
    assert transfers.sent[1:] == [(f"{'e' * 64}.tar.gz", CONTENT)]
    asked_for = requested(agents)["earlier"]
    assert (asked_for["dependencies"], asked_for["digest"]) == (DEPENDENCIES, "e" * 64)
    kept = store.built(result["key"])
    assert kept is not None
    assert (kept.record.builder, kept.record.dependencies) == (GREEN.id, DEPENDENCIES)


@pytest.mark.usefixtures("proxies", "asked")
@pytest.mark.parametrize("changes", [{"builder": GREEN.id}, {"dependencies": None}])
def test_dependencies_that_the_builder_has_are_not_sent(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents, tmp_path: Path, changes: dict[str, Any]
) -> None:
    earlier(store, tmp_path, **changes)
    task().execute(context())
    assert len(transfers.sent) == 1
    assert requested(agents)["earlier"] is None


@pytest.mark.usefixtures("proxies", "asked", "transfers")
def test_an_earlier_artifact_that_cannot_be_read_only_makes_a_build_slower(
    store: ArtifactStore, agents: DropletAgents, tmp_path: Path
) -> None:
    earlier(store, tmp_path)
    (tmp_path / "cache/artifacts" / APP / f"{'e' * 64}.tar.gz").unlink()
    assert task().execute(context())["release"] == RELEASE
    assert requested(agents)["earlier"] is None


@pytest.mark.usefixtures("proxies", "asked")
@pytest.mark.parametrize(
    "error",
    [
        AlteredFileError("it is not what it was when it was made"),
        TransferError("green-1: 3 of 90 MB were transferred within 900 s"),
        AgentRefusedError("green-1: no room for it", Code.FAILED),
    ],
)
def test_an_earlier_artifact_that_does_not_reach_the_builder_only_makes_a_build_slower(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents, tmp_path: Path, error: BlueGreenError
) -> None:
    earlier(store, tmp_path)
    transfers.refused = error
    assert task().execute(context())["release"] == RELEASE
    assert requested(agents)["earlier"] is None


@pytest.mark.usefixtures("proxies", "asked")
def test_a_droplet_that_was_claimed_meanwhile_is_not_built_on_without_dependencies(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents, tmp_path: Path
) -> None:
    earlier(store, tmp_path)
    transfers.refused = AgentRefusedError("green-1: another run has claimed it", Code.CLAIMED)
    with pytest.raises(AirflowFailException, match="another run has claimed it"):
        task().execute(context())
    assert agents.sent == []


@pytest.mark.usefixtures("proxies", "asked", "transfers", "store")
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({}, "the builder's answer is not whole: it is missing"),
        ({"build": {**ANSWER, "release": f"{'b' * 40}-{'d' * 16}"}}, "has built b+-d+, and not a+"),
        ({"build": {**ANSWER, "digest": "e" * 64}}, "has built"),
        ({"build": {**ANSWER, "artifact": {**ARTIFACT, "name": "../../etc/x"}}}, "not whole: artifact.name"),
        ({"build": {**ANSWER, "artifact": {**ARTIFACT, "size": 1 << 50}}}, "not whole: artifact.size"),
    ],
)
def test_an_answer_that_is_of_something_else_is_refused(
    agents: DropletAgents, answer: dict[str, Any], text: str
) -> None:
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("success", **answer)
    with pytest.raises(AirflowFailException, match=text):
        task().execute(context())


@pytest.mark.usefixtures("proxies", "asked", "transfers", "store")
def test_the_cause_of_a_failed_build_is_what_the_droplet_gave(agents: DropletAgents) -> None:
    cause = "bluegreen: fatal error: libpq-fe.h: No such file or directory (install libpq-dev)"
    agents.answers["green-1", Verb.FOLLOW_JOB] = [
        {"lines": ["compiling", cause], "cursor": 9},
        *ended("failed", "exit-code"),
    ]
    with pytest.raises(AirflowFailException, match=r"^green-1 .*: fatal error: libpq-fe.h.*libpq-dev\)$"):
        task().execute(context())
    assert agents.sent[-1] == ("green-1", Verb.END_JOB)


@pytest.mark.usefixtures("proxies", "asked", "transfers", "store")
def test_a_build_that_took_too_long_names_the_limit(agents: DropletAgents) -> None:
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("failed", "timeout")
    with pytest.raises(AirflowFailException, match=r"the build was not done within 900 s .*timeouts.build"):
        task().execute(context())


@pytest.mark.usefixtures("proxies", "asked", "transfers", "store")
def test_a_build_that_vanished_is_called_so_and_may_be_tried_again(agents: DropletAgents) -> None:
    agents.answers["green-1", Verb.FOLLOW_JOB] = ended("missing")
    with pytest.raises(AirflowException, match="its build job is gone") as raised:
        task().execute(context())
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.usefixtures("proxies", "asked")
def test_what_was_built_is_fetched_before_its_job_is_removed(
    store: ArtifactStore, transfers: Transfers, agents: DropletAgents
) -> None:
    """A retry attaches to the job, and finds there what it has made."""
    transfers.cut = LOST
    with pytest.raises(AirflowException):
        task().execute(context())
    assert ("green-1", Verb.END_JOB) not in agents.sent
    transfers.cut = None
    assert task().execute(context())["release"] == RELEASE
    assert agents.sent[-1] == ("green-1", Verb.END_JOB)


@pytest.mark.usefixtures("asked", "transfers", "store")
def test_nothing_is_built_while_the_color_has_traffic(proxies: Any, agents: DropletAgents) -> None:
    proxies.require_idle.side_effect = ProxyError("green has the traffic", "not_idle")
    with pytest.raises(AirflowFailException, match="green has the traffic"):
        task().execute(context())
    assert agents.sent == []


@pytest.mark.usefixtures("proxies", "transfers", "store")
def test_a_secret_that_is_missing_is_reported_before_the_build(
    agents: DropletAgents, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise SettingsError("there is no Airflow connection 'shop_env'")

    monkeypatch.setattr(build, "configuration_of", missing)
    with pytest.raises(AirflowFailException, match="shop_env"):
        task().execute(context())
    assert agents.sent == []


@pytest.mark.usefixtures("proxies", "transfers", "store")
def test_without_a_perl_nothing_is_built(agents: DropletAgents, asked: list[str]) -> None:
    with pytest.raises(AirflowFailException, match="/usr/bin/perl cannot be run there"):
        task(perl_key="").execute(context())
    assert asked == []


@pytest.mark.usefixtures("proxies", "asked", "transfers", "store")
def test_a_droplet_that_a_later_run_has_claimed_is_left_alone(agents: DropletAgents) -> None:
    agents.answers["green-1", Verb.START_JOB] = Refusal("another run has claimed it")
    with pytest.raises(AirflowFailException, match="another run has claimed it"):
        task().execute(context())


@pytest.mark.usefixtures("proxies", "asked", "transfers", "agents")
def test_old_artifacts_that_cannot_be_removed_do_not_stop_a_deploy(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise BlueGreenError("the store is away")

    monkeypatch.setattr(ArtifactStore, "prune", away)
    assert task().execute(context())["release"] == RELEASE


@pytest.mark.usefixtures("proxies", "asked", "transfers", "agents")
def test_what_droplets_run_stays_in_the_store(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned: list[Any] = []
    monkeypatch.setattr(ArtifactStore, "prune", lambda _self, *how: pruned.append(how))
    task(in_use=("x", "y")).execute(context())
    assert pruned == [(10, {RELEASE, "x", "y"})]


def test_a_task_that_is_killed_ends_its_build_and_raises_nothing(agents: DropletAgents) -> None:
    task().on_kill()
    assert agents.sent == [("green-1", Verb.END_JOB)]
    agents.answers["green-1", Verb.END_JOB] = LOST
    task().on_kill()


def run_with(artifact: str) -> Any:
    run = context()
    run["dag"].params["artifact"] = None
    run["params"] = {"artifact": artifact}
    return run


@pytest.fixture
def of_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: ArtifactStore, capsys: pytest.CaptureFixture[str]
) -> str:
    """The SHA-256 of an artifact that CI has put into the store, which the app's file allows."""
    monkeypatch.setattr(build.BuildOperator, "app", allowing())
    with_perl(monkeypatch)
    sha256 = str(packed(tmp_path, capsys)["sha256"])
    put(tmp_path, store, sha256)
    return sha256


@pytest.mark.usefixtures("proxies", "transfers")
def test_an_artifact_of_ci_is_kept_and_nothing_is_built(
    store: ArtifactStore, agents: DropletAgents, asked: list[str], of_ci: str
) -> None:
    result = task().execute(run_with(of_ci))
    assert (result["artifact"]["sha256"], result["revision"]) == (of_ci, REVISION)
    assert (agents.sent, asked) == ([], [])
    kept = store.built(result["key"])
    assert kept is not None
    assert kept.record.release == result["release"]
    # A build of the revision is another artifact.
    assert result["key"] != artifact_key(load_app(APP), REVISION, PERL)
    # It is not left where CI has put it, and a run that is cleared, or a later one, needs it there no more.
    assert not [*Path(store._directory.path).glob("incoming/*")]
    assert task().execute(run_with(of_ci)) == result


@pytest.mark.usefixtures("proxies", "transfers", "agents", "asked")
def test_an_artifact_of_ci_that_cannot_be_removed_where_it_was_put_stops_no_deploy(
    store: ArtifactStore, of_ci: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise StoreError("the store cannot be written")

    monkeypatch.setattr(IncomingArtifacts, "remove", refused)
    assert task().execute(run_with(of_ci))["revision"] == REVISION


@pytest.mark.usefixtures("proxies", "transfers", "agents", "asked")
def test_an_artifact_of_ci_that_the_store_has_under_another_name_stays_where_it_was_put(
    store: ArtifactStore, of_ci: str, tmp_path: Path
) -> None:
    place = Path(store._directory.path) / "incoming" / f"{of_ci}.tar.gz"
    packed_again = gzip.compress(gzip.decompress(place.read_bytes()), compresslevel=1, mtime=0)
    other = hashlib.sha256(packed_again).hexdigest()
    (tmp_path / f"{other}.tar.gz").write_bytes(packed_again)
    put(tmp_path, store, other)
    for sha256 in (of_ci, other):
        assert task().execute(run_with(sha256))["artifact"]["sha256"] == of_ci
    assert [path.name for path in place.parent.iterdir()] == [f"{other}.tar.gz"]


@pytest.mark.usefixtures("proxies", "transfers", "asked")
def test_an_artifact_of_ci_for_another_perl_or_that_is_not_allowed_any_more_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, store: ArtifactStore, agents: DropletAgents, of_ci: str
) -> None:
    with pytest.raises(AirflowFailException, match=r"was built for 5\.36\.0 .*, and green-1 .* has 5\.38"):
        task(perl_key="5.38.2 x").execute(run_with(of_ci))
    key = task().execute(run_with(of_ci))["key"]
    monkeypatch.setattr(build.BuildOperator, "app", load_app(APP))
    with pytest.raises(AirflowFailException, match=r"setting policy\.artifacts: never"):
        task().execute(run_with(of_ci))
    assert store.built(key) is not None
    assert agents.sent == []
