"""What the tasks share whose work is a job on one idle droplet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.file_transfer import AlteredFileError, FileTransfer
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import LockedOperator, ReleaseOperator
from bluegreen.operators.support.job_end import remove_traces, require_success
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.links import CommitLink, DropletLink
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.release import deploy_program, deploy_unit

if TYPE_CHECKING:
    from pathlib import Path

    from agent.protocol import Configuration, Program, SentFile, Verb
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.artifact_store import ArtifactStore
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.release.artifact import ArtifactFile


class DropletJobOperator(LockedOperator):
    """A task whose work is a job on one droplet, as a transient systemd unit there.

    The unit outlives this task: a retry, or a new run of the same revision after this one died, attaches to
    it; any other run that claims the droplet stops it.

    :cvar kind: what the job is called in messages.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def droplet(self) -> Droplet:
        """The droplet that the task works on.

        :raises FleetError: if it is not one that this run may change.
        """

    @property
    @abstractmethod
    def unit(self) -> str:
        """The job's name."""

    def on_kill(self) -> None:
        """End the job, so that a run that was marked failed does not go on working on the droplet."""
        # Airflow calls this in a signal handler: an error would surface in the middle of `act`.
        try:
            with self.job() as job:
                job.end()
        except (BlueGreenError, ValueError) as error:
            self.log.warning(
                "the %s job may still be at work (%s); its time limit or the next run ends it",
                self.kind,
                error,
            )

    def job(self) -> RemoteJob:
        """Return the job, whether or not it is there yet."""
        agent = DropletAgentHook.of(self.droplet, self.app)
        return RemoteJob(agent, self.app_id, self.unit, self.held_lock.fencing_token)

    def transfer(self, job: RemoteJob, proxies: ProxiesHook) -> FileTransfer:
        """Return the way for files to and from the job's droplet; the lock is renewed meanwhile."""
        return FileTransfer(
            job.agent,
            self.app_id,
            self.held_lock.fencing_token,
            self.app.timeouts.build,
            proxies.renew_in_time,
        )

    @staticmethod
    def send(
        transfer: FileTransfer,
        source: Path,
        file: ArtifactFile,
        proxies: ProxiesHook,
        *,
        optional: bool = False,
    ) -> None:
        """Send a file to the job's droplet.

        :param optional: whether it is refused rather than that the app is stopped to make room for it.
        :raises BlueGreenError: if the droplet is another run's by now, or does not take the file.
        """
        with refusals_explained(proxies):
            transfer.put(source, file, optional=optional)

    def send_release(
        self,
        job: RemoteJob,
        release: str,
        artifact: ArtifactFile,
        store: ArtifactStore,
        proxies: ProxiesHook,
        *,
        optional: bool = False,
    ) -> SentFile | None:
        """Send an artifact to the job's droplet; return ``None`` if its release is there already.

        :param optional: whether it is refused rather than that the app is stopped to make room for it.
        :raises StoreError: if the store is away, or has another file than was put there.
        """
        transfer = self.transfer(job, proxies)
        if transfer.has_release(release):
            self.log.info("%s has %s already", self.droplet.label, release)
            return None
        with store.fetched(artifact) as file:
            try:
                self.send(transfer, file, artifact, proxies, optional=optional)
            except AlteredFileError:
                raise store.altered(artifact) from None
        return artifact.sent

    def deploy_program(
        self,
        release: str,
        digest: str,
        artifact: SentFile | None,
        configuration: Configuration,
        kept: str = "",
    ) -> Program:
        """Return the program of a job that installs, loads and activates a release on the droplet.

        :param digest: of its manifest.
        :param artifact: the file that was sent, unless the release is there already.
        :param kept: digest of the pairing that a rollback goes back to; empty if there is none.
        """
        address = str(self.droplet.private)
        return deploy_program(self.app, release, digest, artifact, configuration, address, kept)

    @contextmanager
    def done(
        self, job: RemoteJob, run: ThisRun, program: Program, proxies: ProxiesHook
    ) -> Iterator[JobReport]:
        """Start the job or attach to it, follow it to its end, and yield its report; then remove its traces.

        :raises BlueGreenError: with the cause that the job gave, if it failed.
        :raises JobGoneError: if it vanished.
        """
        log, limit = JobLog(self.log), self.app.timeouts.build
        with refusals_explained(proxies):
            job.start(run.run_id, program, limit)
        report = self._follow(job, log, proxies)
        if report.state is JobState.FAILED:
            remove_traces(job, self.kind, self.log)
        late = f"the {self.kind} was not done within {limit} s (setting timeouts.build)"
        require_success(report, self.droplet.label, self.kind, log, late=late)
        yield report
        remove_traces(job, self.kind, self.log)

    def _follow(self, job: RemoteJob, log: JobLog, proxies: ProxiesHook) -> JobReport:
        """Follow the unit to its end; if that cannot be done and no retry will, end it."""
        try:
            return job.follow(log.write, proxies.renew_in_time)
        except BlueGreenError as error:
            if not error.transient:
                self._end_what_is_left(job)
            raise

    def _end_what_is_left(self, job: RemoteJob) -> None:
        """End the job; the task's own error matters more than a failure to end the job."""
        try:
            job.end()
        except BlueGreenError as error:
            self.log.warning("the %s job may still be at work: %s", self.kind, error)


class IdleDropletJobOperator(DropletJobOperator, ReleaseOperator):
    """A task whose work is a job on one idle droplet, for the run's revision."""

    operator_extra_links = (DropletLink(), CommitLink())

    def idle_proxies(self) -> ProxiesHook:
        """Return the proxies, once the droplet's color has no traffic, and cannot get it back.

        :raises ProxyError: if it has; also in a run that was cleared from here on after its switch.
        """
        proxies = self.proxies()
        proxies.require_idle(self.run_plan.idle)
        return proxies


class StartReleaseOperator(IdleDropletJobOperator):
    """A task that starts a release on one idle droplet; it is mapped over their addresses.

    :param ip: public address of the droplet; templated.
    """

    template_fields: Sequence[str] = (*IdleDropletJobOperator.template_fields, "ip")

    def __init__(self, *, ip: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ip = ip

    @property
    def droplet(self) -> Droplet:
        """The droplet that the release is started on."""
        return self.run_plan.idle_droplet(self.ip)

    @property
    def unit(self) -> str:
        """The job's name."""
        return deploy_unit(self.app_id, self.revision)

    @property
    def kept(self) -> str:
        """Digest of the pairing that was confirmed on the droplet last; empty if none is known."""
        good = self.run_plan.good
        return good.pairings.get(self.droplet.name, "") if good else ""

    def start(
        self, job: RemoteJob, run: ThisRun, program: Program, proxies: ProxiesHook, verb: Verb
    ) -> dict[str, Any]:
        """Do the job, and seal what it has started: that counts, whatever was asked for.

        :param verb: the step that starts the release.
        :return: the droplet's name and the seconds that its job took.
        :raises BlueGreenError: with the cause that the job gave, if it failed.
        """
        with self.done(job, run, program, proxies) as report:
            self.seals(run).seal_started(self.revision, self.droplet.name, report.started(verb))
            return {"droplet": self.droplet.name, "job_seconds": report.seconds}
