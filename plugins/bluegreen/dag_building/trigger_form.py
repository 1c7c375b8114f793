"""The parameters of runs, which Airflow's trigger form and REST API validate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from agent.one_off import MOST_WORDS
from bluegreen.color import Color
from bluegreen.git_refs import REF_PATTERN, WHAT_A_REF_MAY_BE
from bluegreen.settings.policy import Artifacts, Demand
from bluegreen.settings.validation import LONGEST_BAKE

if TYPE_CHECKING:
    from bluegreen.settings.app import App

# One line, in Python and in JavaScript; `$` alone would allow a final line break.
LINE_PATTERN = r"^[^\x00-\x1f]*$(?!\n)"
DIGEST_PATTERN = r"^[0-9a-f]{64}$(?!\n)"
REVISION_PATTERN = r"^[0-9a-f]{7,40}$(?!\n)"

CAREFULLY = "How careful to be"
RARELY = "Rarely needed"


def deploy_params(app: App) -> dict[str, Param]:
    """Return the DAG params of one app's deploy; only ``ref`` must be given, or ``artifact`` where it may.

    There are no parameters for decisions of the app file.
    """
    params = {**_subject_params(app), **_careful_params(app), **_rare_params(app), "live": _live_param()}
    if app.policy.artifacts is Artifacts.NEVER:
        del params["artifact"]
    for name, demand in (("require_approval", app.policy.approval), ("allow_older", app.policy.allow_older)):
        if demand is not Demand.ASKED:
            del params[name]
    return params


def _subject_params(app: App) -> dict[str, Param]:
    """Return the params that say what is deployed, and why."""
    about: dict[str, Any] = {
        "title": "Git ref",
        "pattern": REF_PATTERN,
        "examples": [app.default_ref],
        "description": f"What to deploy: {WHAT_A_REF_MAY_BE}.",
    }
    is_required = app.policy.artifacts is Artifacts.NEVER
    return {
        "ref": Param(type="string", **about)
        if is_required
        else Param(None, type=["null", "string"], **about),
        "artifact": Param(
            None,
            type=["null", "string"],
            title="Artifact",
            pattern=DIGEST_PATTERN,
            description="Instead of a build: the SHA-256 of an artifact that CI has put into the artifact "
            "store. A ref that is given, too, has to lead to its revision.",
        ),
        "reason": _reason_param(
            "Why, for whoever approves, finds the app locked, or reads the run's record. May be empty."
        ),
    }


def _careful_params(app: App) -> dict[str, Param]:
    """Return the params that say how careful a deploy is."""
    return {
        "require_approval": Param(
            False,
            type="boolean",
            title="Ask before traffic moves",
            section=CAREFULLY,
            description="When the new release is built, started and checked, show what would be switched, "
            f"and go on only if {_approvers(app)}, within {app.timeouts.approval} s.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            section=CAREFULLY,
            description="Only find out whether this deploy would succeed; changes nothing.",
        ),
        "bake": Param(
            app.validation.bake,
            type="number",
            title="Bake time in seconds",
            section=CAREFULLY,
            minimum=app.validation.shortest_bake,
            maximum=LONGEST_BAKE,
            description="How long the new release is watched under real traffic before the switch is kept. "
            f"At least {app.validation.shortest_bake:g}: fewer requests would prove nothing.",
        ),
    }


def _rare_params(app: App) -> dict[str, Param]:
    """Return the params that lift a rule for one run."""
    return {
        "force": Param(
            False,
            type="boolean",
            title="Deploy again",
            section=RARELY,
            description="Start and switch even if this revision is live already. A release that a droplet "
            "has is not built again.",
        ),
        "allow_older": Param(
            False,
            type="boolean",
            title="Deploy an older revision",
            section=RARELY,
            description="Deploy a revision that is older than the one that is live; the run's record says "
            "who did. To go back to the release before, the rollback DAG is faster.",
        ),
        "emergency": Param(
            False,
            type="boolean",
            title="Emergency",
            section=RARELY,
            description="Judge the new release by absolute limits only, not by comparison with the live one, "
            "which may be why a fix is kept out. The run's record says so"
            + (f"; goes on only if {_approvers(app)}." if app.policy.approvers else "."),
        ),
    }


def _approvers(app: App) -> str:
    who = " or ".join(app.policy.approvers) or "somebody else"
    return f"{who} approves, who did not trigger the run"


def rollback_params() -> dict[str, Param]:
    """Return the DAG params of a rollback; none must be given."""
    return {
        "revision": Param(
            None,
            type=["null", "string"],
            title="Revision",
            pattern=REVISION_PATTERN,
            description="Which of the releases that were live before and are still on the idle droplets; "
            "the first 7 digits of its revision, or more, will do. Default: the one that was confirmed there "
            "last.",
        ),
        "i_know": Param(
            False,
            type="boolean",
            title="I know that the database does not go back",
            section=RARELY,
            description="Go back although an irreversible release was live since, if only on some proxies. "
            "It is the release from before that has to work with the database as it is now.",
        ),
        "live": _live_param(),
    }


def contract_params() -> dict[str, Param]:
    """Return the DAG params of a contract; none must be given."""
    return {
        "reason": Param(None, type=["null", "string"], title="Reason", description="For the run's record."),
        "i_know": Param(
            False,
            type="boolean",
            title="I know that there is no way back",
            description="Go on although the release from before may still be needed. No rollback to it is "
            "possible afterwards.",
        ),
    }


def certificates_params() -> dict[str, Param]:
    """Return the DAG params of a renewal of certificates; none must be given."""
    return {
        "renew": Param(
            False,
            type="boolean",
            title="Renew now",
            description="Obtain every certificate that comes by ACME again, with a new key, though it is not "
            "due: for example because a key became known. Certificate authorities limit how often.",
        )
    }


def run_params() -> dict[str, Param]:
    """Return the DAG params of a one-off command; only ``command`` must be given."""
    return {
        "command": Param(
            type="array",
            items={"type": "string"},
            minItems=1,
            maxItems=MOST_WORDS,
            title="Command",
            description="The words of the command, one a line: a program of the release or of the droplet, "
            "then its arguments. No shell takes them apart; for one: bash, -c, and the script. Everybody who "
            "may see this run can read them, so they hold no secret.",
        ),
        "reason": _reason_param("For the run's record."),
    }


def _reason_param(description: str) -> Param:
    """Return the parameter that says why a run was triggered."""
    # The form sends null for a text field that was cleared.
    return Param(
        None,
        type=["null", "string"],
        title="Reason",
        maxLength=200,
        pattern=LINE_PATTERN,
        description=description,
    )


def _live_param() -> Param:
    """Return the parameter that names the live color if the proxies disagree."""
    return Param(
        None,
        type=["null", "string"],
        enum=[None, *map(str, Color)],
        title="Live color",
        description="Only if the proxies disagree: the color that is right. It has the traffic until "
        "this run's own switch.",
        section=RARELY,
    )
