"""From what the user typed to one revision that may be deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import SkipMixin
from airflow.sdk.bases.xcom import BaseXCom

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.incoming_artifacts import manifest_of_incoming, require_revision
from bluegreen.hooks.repository import repository_access
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.links import CommitLink
from bluegreen.operators.support.seals import Seals
from bluegreen.operators.support.this_run import NOTHING_TO_DEPLOY
from bluegreen.source.policy import Allowed, resolve

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun

# The XCom with the subject of the revision's commit, for people.
COMMIT_KEY = "commit"


class ResolveRefOperator(BlueGreenOperator, SkipMixin):
    """Resolve a ref to the revision that the whole run then uses, and choose between a deploy and a dry run.

    An artifact that CI has built says of which revision it is. That has to be one that may be deployed.

    :param ref: branch, tag or commit; templated; empty if only an artifact says what to deploy.
    :param begins_deploy: id of the first task of a deploy.
    :param begins_dry_run: id of the task that takes its place if the DAG's param ``dry_run`` is set.
    """

    inherits_from_skipmixin = True
    template_fields: Sequence[str] = ("ref",)
    operator_extra_links = (CommitLink(),)

    def __init__(
        self,
        *,
        begins_deploy: str,
        begins_dry_run: str,
        ref: str = "{{ params.ref or '' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.begins_deploy = begins_deploy
        self.begins_dry_run = begins_dry_run

    def act(self, run: ThisRun) -> None:
        """Push the revision, 40 hex digits, as the task's return value.

        :raises BlueGreenError: if the run has a parameter that the DAG does not have.
        :raises SettingsError: if the connection for the repository is missing or not usable.
        :raises RefError: if the ref is malformed or not there, or the repository cannot be read.
        :raises PolicyError: if the app's file does not allow its revision. A dry run reports each of these
            with everything else that it finds.
        """
        run.refuse_unknown_params()
        dry_run = bool(run.params["dry_run"])
        try:
            found = self._resolved(run)
        except BlueGreenError as error:
            if not dry_run:
                raise
            self.log.info("%s looks at this again: %s", self.begins_dry_run, error)
        else:
            signed = f", signed by {found.signed_by}" if found.signed_by else ""
            self.log.info(
                "%s is revision %s of %s, which may be deployed: %s%s",
                *(found.ref, found.revision, self.app.repository, found.why, signed),
            )
            Seals(run, self.app).seal_revision(found.revision)
            # The skip ends the task without a return value.
            run.push(BaseXCom.XCOM_RETURN_KEY, found.revision)
            run.push(COMMIT_KEY, found.commit)
        not_taken = self.begins_deploy if dry_run else self.begins_dry_run
        self.skip(run.context["ti"], [run.context["dag"].get_task(not_taken)])

    def _resolved(self, run: ThisRun) -> Allowed:
        """Return the revision of the ref, which is also that of the artifact if there is one."""
        if not self.ref and not run.artifact:
            raise BlueGreenError(NOTHING_TO_DEPLOY)
        manifest = manifest_of_incoming(self.app, run.artifact) if run.artifact else None
        claimed = manifest.revision if manifest else ""
        with repository_access(self.app) as access:
            found = resolve(self.app, self.ref or claimed, access=access)
        if manifest:
            require_revision(manifest, found.revision)
        return found
