"""Links beside a task in Airflow's UI; made when the task ends, from what it was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

from bluegreen.run.plan import Plan
from bluegreen.settings.app_file import load_app

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PANEL = "https://cloud.digitalocean.com/droplets"


def commit_url(repository: str, revision: str) -> str:
    """Return the page of a commit on a forge; empty if the repository is not on one.

    GitHub, GitLab, Gitea, Forgejo and Codeberg all answer below ``/commit/``, Bitbucket below ``/commits/``.

    :param repository: the repository's URL, as in the app's settings.
    :param revision: 40 hex digits.
    """
    scp_like = re.fullmatch(r"[^@/]+@([^:/]+):/?(.+)", repository)
    parts = urlsplit(f"ssh://{scp_like[1]}/{scp_like[2]}" if scp_like else repository)
    path = parts.path.strip("/").removesuffix(".git")
    if not parts.hostname or path.count("/") < 1:
        return ""
    scheme = parts.scheme if parts.scheme in ("http", "https") else "https"
    # An SSH port is not the one of the forge's pages.
    port = f":{parts.port}" if parts.port and parts.scheme != "ssh" else ""
    commits = "commits" if parts.hostname == "bitbucket.org" else "commit"
    return f"{scheme}://{parts.hostname}{port}/{quote(path)}/{commits}/{revision}"


def _plan(operator: Any) -> Plan | None:
    """The run's plan, if the task was given one: before that, or if it never came so far, there is none."""
    plan = getattr(operator, "plan", None)
    return Plan.model_validate(plan) if isinstance(plan, dict) else None


class DropletLink(BaseOperatorLink):
    """The droplet that a task works on, in DigitalOcean's panel."""

    name = "Droplet at DigitalOcean"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty if the plan is not known."""
        plan, ip = _plan(operator), getattr(operator, "ip", None)
        if plan is None:
            return ""
        # Only a mapped task has an address: a build is on the first droplet.
        droplet = plan.idle_droplets[0] if ip is None else plan.idle_droplet(str(ip))
        return f"{PANEL}/{droplet.id}"


class CommitLink(BaseOperatorLink):
    """The commit that is deployed, on the forge of the app's repository."""

    name = "Commit"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty if the revision is not known, or the repository is on no forge."""
        revision, app_id = getattr(operator, "revision", None), str(getattr(operator, "app_id", ""))
        if revision is None:
            # In a task process this is the running task instance, which can ask for the task's own result.
            revision = getattr(ti_key, "xcom_pull", lambda **_: None)(task_ids="resolve_ref")
        return commit_url(load_app(app_id).repository, revision) if isinstance(revision, str) else ""
