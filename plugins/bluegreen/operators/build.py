"""Building a release, once, on one idle droplet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.protocol import Code
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.hooks.cpan import cpan_credentials
from bluegreen.hooks.file_transfer import TransferError
from bluegreen.hooks.incoming_artifacts import (
    IncomingArtifacts,
    require_allowed,
    require_perl,
    require_revision,
)
from bluegreen.hooks.repository import with_source
from bluegreen.hooks.store_errors import StoreError
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.droplet_job import IdleDropletJobOperator
from bluegreen.release.artifact import ArtifactFile, ArtifactRecord, BuildAnswer, BuiltArtifact, artifact_key
from bluegreen.release.configuration import template_texts, templates_of
from bluegreen.release.release import build_program, build_unit

if TYPE_CHECKING:
    from agent.protocol import EarlierArtifact
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.file_transfer import FileTransfer
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.source.archive import Source


# The seconds that the builder's job took; nothing if the store had the artifact.
SECONDS_KEY = "job_seconds"


class BuildOperator(IdleDropletJobOperator):
    """Build the artifact of a revision on the first idle droplet, unless the store has it.

    What every droplet is going to run with is decided here, too: they all get the same.
    """

    kind = "build"

    @property
    def droplet(self) -> Droplet:
        """The builder: the first idle droplet, in the order of the fleet."""
        return self.run_plan.idle_droplets[0]

    @property
    def unit(self) -> str:
        """The job's name."""
        return build_unit(self.app_id, self.revision)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`BuiltArtifact`.

        :raises BlueGreenError: with the cause that the build gave, if it failed.
        :raises StoreError: if the store is full, away, or has another file than was put there.
        """
        perl_key = self.run_plan.perl_key
        if not perl_key:
            raise BlueGreenError(
                f"{self.droplet.label}: {self.app.server.perl} cannot be run there, so nothing can be built"
            )
        if run.artifact:
            # The app's file may have changed since this run began.
            require_allowed(self.app)
        proxies = self.idle_proxies()
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        key = artifact_key(self.app, self.revision, perl_key, run.artifact)
        if built := store.built(key):
            store.verify(built.record)
            record, configuration = built.record, configuration_of(self.app, built.texts)["digest"]
            self.log.info("%s was built before, by %s", record.release, record.run)
        elif run.artifact:
            record, configuration = self._take(run, run.artifact, key, proxies)
        else:
            record, configuration = self._build(run, key, store, proxies)
        self._prune(store, record, run.artifact)
        result = BuiltArtifact.of(record, key, configuration).model_dump(mode="json")
        self.seals(run).seal_result(self.revision, result)
        return result

    def _build(
        self, run: ThisRun, key: str, store: ArtifactStore, proxies: ProxiesHook
    ) -> tuple[ArtifactRecord, str]:
        """Return the record of the new artifact, and the digest of the configuration."""
        with with_source(self.app, self.revision, proxies.renew_in_time) as source:
            texts = template_texts(self.app, source.path)
            # Before the build, which takes long: a missing secret is reported at once.
            configuration = configuration_of(self.app, texts)["digest"]
            self.log.info("%s builds %s", self.droplet.label, self.revision)
            return self._built(run, source, texts, key, store, proxies), configuration

    def _built(
        self,
        run: ThisRun,
        source: Source,
        texts: Mapping[str, str],
        key: str,
        store: ArtifactStore,
        proxies: ProxiesHook,
    ) -> ArtifactRecord:
        """Build the source, and keep what was built; a retry attaches to a build that is at work or done."""
        sent = ArtifactFile(name=f"{source.sha256}.tar.gz", sha256=source.sha256, size=source.size)
        with self.job() as job:
            transfer = self.transfer(job, proxies)
            self.send(transfer, source.path, sent, proxies)
            earlier = self._send_earlier(store, transfer, proxies)
            program = build_program(
                self.app, self.revision, source.committed, sent.sent, cpan_credentials(self.app), earlier
            )
            with self.done(job, run, program, proxies) as report:
                run.push(SECONDS_KEY, report.seconds)
                answer = BuildAnswer.parse(report.answers.get("build"), self.revision)
                # Beside the source, in the cache: a system's directory for temporary files may be in memory.
                file = source.path.with_name(f"{answer.digest}.tar.gz")
                transfer.get(answer.artifact, file)
                record = ArtifactRecord(
                    app=self.app_id,
                    digest=answer.digest,
                    sha256=answer.artifact.sha256,
                    size=answer.artifact.size,
                    revision=self.revision,
                    key=key,
                    built_at=time.time(),
                    run=run.holder,
                    builder=self.droplet.id,
                    dependencies=answer.dependencies,
                )
                return store.put(record, texts, file)

    def _take(self, run: ThisRun, sha256: str, key: str, proxies: ProxiesHook) -> tuple[ArtifactRecord, str]:
        """Keep an artifact that CI has built; return its record, and the digest of the configuration.

        :raises PolicyError: if it is of another revision.
        :raises BlueGreenError: if it was built for another perl.
        """
        store = IncomingArtifacts.of(self.app, proxies.renew_in_time)
        with store.incoming(sha256) as artifact:
            manifest = artifact.manifest
            require_revision(manifest, self.revision)
            require_perl(manifest, self.run_plan.perl_key, self.droplet.label)
            texts: Mapping[str, str] = {}
            if templates_of(self.app):
                with with_source(self.app, self.revision, proxies.renew_in_time) as source:
                    texts = template_texts(self.app, source.path)
            configuration = configuration_of(self.app, texts)["digest"]
            record = ArtifactRecord(
                app=self.app_id,
                digest=manifest.digest,
                sha256=sha256,
                size=artifact.size,
                revision=self.revision,
                key=key,
                built_at=time.time(),
                run=run.holder,
                builder=None,
                # Whatever CI has put there must not become a part of other releases.
                dependencies=None,
            )
            self.log.info("%s was built by CI", record.release)
            return store.put(record, texts, artifact.path), configuration

    def _send_earlier(
        self, store: ArtifactStore, transfer: FileTransfer, proxies: ProxiesHook
    ) -> EarlierArtifact | None:
        """Send the newest artifact if the builder may lack its dependencies; return how a build names it.

        The last builder was a droplet of the other color. Without this, what was installed there would be
        installed again here, after each change of dependencies.
        """
        try:
            known = store.records()
            newest = next((record for record in known if record.dependencies), None)
            here = {record.dependencies for record in known if record.builder == self.droplet.id}
            if newest is None or newest.dependencies in here:
                return None
            with store.fetched(newest.file) as path, refusals_explained(proxies):
                transfer.put(path, newest.file, optional=True)
            return newest.earlier
        except (StoreError, TransferError, AgentRefusedError) as error:
            # A build needs the lock and the droplet, but neither the store nor room for more than its source.
            if isinstance(error, AgentRefusedError) and error.code != Code.FAILED:
                raise
            self.log.warning("the dependencies of an earlier artifact are not sent: %s", error)
            return None

    def _prune(self, store: ArtifactStore, record: ArtifactRecord, incoming: str | None) -> None:
        """Remove old artifacts, and what CI has put there for this run; the run does not depend on that."""
        try:
            store.prune(self.app.artifacts.keep, {record.release, *self.run_plan.in_use})
            # The same release that was packed in another way is not found by this one's name.
            if incoming == record.sha256:
                IncomingArtifacts.of(self.app).remove(incoming)
        except BlueGreenError as error:
            self.log.warning("old artifacts are left: %s", error)
