"""Installing a release on one idle droplet, and starting it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.protocol import Verb
from bluegreen.operators.support.built_release import BuiltReleaseOperator
from bluegreen.operators.support.droplet_job import StartReleaseOperator

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class DeployOperator(BuiltReleaseOperator, StartReleaseOperator):
    """Install, load and activate what the task ``build`` has built, on one droplet."""

    template_fields: Sequence[str] = (*BuiltReleaseOperator.template_fields, "ip")
    kind = "deploy"

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the droplet's name and the seconds that its job took.

        :raises BlueGreenError: with the cause that the job gave, if it failed.
        """
        run.context["droplet_name"] = self.droplet.label  # type: ignore[typeddict-unknown-key]
        proxies = self.idle_proxies()
        built, configuration, store = self.release_to_install(proxies)
        with self.job() as job:
            artifact = self.send_release(job, built.release, built.artifact, store, proxies)
            program = self.deploy_program(built.release, built.digest, artifact, configuration, self.kept)
            return self.start(job, run, program, proxies, Verb.ACTIVATE)
