"""Installing a release on a droplet: the bytes that were built once, and its configuration."""

from __future__ import annotations

import pwd
import secrets

from agent.call import Call
from agent.droplet.activated import Activated
from agent.droplet.app_paths import AppPaths
from agent.droplet.artifact import unpack
from agent.droplet.caged import run_caged
from agent.droplet.configuration import install_configuration
from agent.droplet.failure_cause import failure_cause
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.manifest import LINK, Manifest, verify
from agent.droplet.packages import install_packages
from agent.droplet.receiving import received, sent_file
from agent.droplet.reserve import check_room
from agent.fields import text, words
from agent.protocol import AgentError, Code, Json
from agent.release_name import DIGEST, RELEASE, release_name, revision_of
from agent.system import remove_tree, sync_directory

# Of the unit that makes directories as the app's user, who may have put links there.
MAKES_DIRECTORIES = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "PrivateNetwork=yes",
    "UMask=0027",
)


def install(call: Call, request: Json) -> Json:
    """Put a release and a configuration on the droplet. Nothing that runs is touched.

    A release that is there already is compared with its manifest. One that was changed is refused.

    Request: ``protocol.InstallRequest``. Answer: ``unpacked``, false if the release was there. Codes:
    ``failed``. Killed anywhere, release and configuration are there as a whole or not at all, beside
    leftovers that the next job removes.
    """
    job, packages = Job.of(call, request), words(request, "packages")
    app, digest, release = job.app, text(request, "digest", DIGEST), text(request, "release", RELEASE)
    if release != release_name(revision_of(release), digest):
        raise AgentError(Code.BAD_REQUEST, f"release: {release} is not of the digest {digest}")
    require_user(app)
    # Deploys that fail one after another must not fill the disk with what they have left.
    Activated(app).remove_failed(release)
    check_room(app)
    install_packages(packages)
    is_there = (app.releases / release).is_dir()
    manifest = _checked(app, release, digest) if is_there else _unpacked(call, app, request)
    _make_shared(job, manifest)
    install_configuration(app, request["configuration"])
    return {"unpacked": not is_there}


def require_user(app: AppPaths) -> None:
    """Make sure that the app's user exists.

    :raises AgentError: with the code ``failed``.
    """
    try:
        pwd.getpwnam(app.name)
    except KeyError:
        message = f"the user {app.name} does not exist on this droplet"
        raise AgentError(Code.FAILED, message) from None


def _checked(app: AppPaths, release: str, digest: str) -> Manifest:
    say(f"the release {release} is there already")
    return verify(app.releases / release, app.name, digest)


def _unpacked(call: Call, app: AppPaths, request: Json) -> Manifest:
    release, digest = request["release"], request["digest"]
    if request.get("artifact") is None:
        raise AgentError(Code.FAILED, f"the release {release} is not on this droplet, and was not sent")
    file = received(call, app, sent_file(request["artifact"]))
    say(f"unpacking the release {release}")
    partial = app.releases / f"{release}.partial.{secrets.token_hex(4)}"
    try:
        manifest = unpack(file, partial, app.name, digest)
        if manifest.release != release:
            raise AgentError(Code.FAILED, f"the artifact is of the release {manifest.release}")
        partial.rename(app.releases / release)
    finally:
        remove_tree(partial)
    sync_directory(app.releases)
    return manifest


def _make_shared(job: Job, manifest: Manifest) -> None:
    """Make the directories of the app's state that the release has links to.

    Root makes nothing where the app's user may have put a link: the user makes them.
    """
    app = job.app
    shared = f"/var/lib/{app.name}/shared/"
    targets = {one.target for one in manifest.entries if one.kind == LINK and one.target.startswith(shared)}
    if not targets:
        return
    command = ["/usr/bin/mkdir", "-p", "-m", "0750", "--", *sorted(targets)]
    properties = (*MAKES_DIRECTORIES, f"StateDirectory={app.name}")
    done = run_caged(job.unit, "shared", app.name, properties, command)
    if done.status != 0:
        cause = failure_cause(done.output)
        raise AgentError(Code.FAILED, f"the shared directories cannot be made: {cause}")
