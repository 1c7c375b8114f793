"""Restoring what was confirmed: the same bytes, the same configuration, the same unit."""

from __future__ import annotations

from agent.call import Call
from agent.droplet.activated import Activated
from agent.droplet.activation import Activation
from agent.droplet.configuration import digest_on_disk
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.manifest import verify
from agent.droplet.users import require_user
from agent.fields import text
from agent.protocol import AgentError, Code, Json
from agent.release_name import DIGEST, RELEASE


def restore(call: Call, request: Json) -> Json:
    """Start what was healthy on the droplet before, exactly as it was; otherwise go back to another release.

    The bytes of release and configuration are compared with their digests first. The unit is the recorded
    one, whatever the settings say now. Processes that are left here are asked to end, and not waited for.

    Request: ``messages.RestoreRequest``. Answer: ``messages.Started``. Codes: ``claimed``, ``unhealthy``,
    ``failed``; nothing is started if something was changed, or is not there. Killed anywhere, the service
    runs one pairing or another one; the next call finishes.
    """
    app = Job.of(call, request).app
    release, configuration = text(request, "release", RELEASE), text(request, "configuration", DIGEST)
    require_user(app.name)
    record = Activated(app).find(text(request, "pairing", DIGEST))
    if record is None or (record.pairing.release, record.pairing.configuration) != (release, configuration):
        raise _refused(f"{release} is not on this droplet with the configuration and unit that it had")
    # The digest is of the units. Whoever could change the record might have them name another release.
    if (
        not all(release in text for text in record.pairing.texts)
        or configuration not in record.pairing.unit_text
    ):
        raise _refused(f"the record of {release} does not belong to its unit")
    say(f"comparing {release} with its manifest")
    verify(app.releases / release, app.name, release.partition("-")[2])
    if digest_on_disk(app.configurations / configuration) != configuration:
        raise _refused(f"the configuration {configuration[:16]} was changed on this droplet")
    # Clients may get a bad release meanwhile: a worker's last job is no reason to let them wait.
    return Activation.again(call, request, record).run(is_urgent=True)


def _refused(why: str) -> AgentError:
    return AgentError(Code.FAILED, f"{why}; nothing was started, deploy it instead")
