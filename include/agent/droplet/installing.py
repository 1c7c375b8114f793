"""Installing a release on a droplet: the bytes that were built once, and its configuration."""

from __future__ import annotations

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
from agent.droplet.perl_key import perl_key, require_roots, shown_key
from agent.droplet.receiving import received, sent_file
from agent.droplet.reserve import check_room
from agent.droplet.users import STATE_MODE, require_user
from agent.fields import PROGRAM, text, words
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
    require_user(app.name)
    # Deploys that fail one after another must not fill the disk with what they have left.
    Activated(app).remove_failed(release)
    check_room(app)
    install_packages(packages)
    is_there = (app.releases / release).is_dir()
    manifest = _checked(app, release, digest) if is_there else _unpacked(call, app, request)
    _require_same_perl(manifest, text(request, "perl", PROGRAM))
    _make_shared(job, manifest)
    install_configuration(app, request["configuration"])
    return {"unpacked": not is_there}


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


def _require_same_perl(manifest: Manifest, perl: str) -> None:
    """Make sure that the release's compiled modules fit: they were built with a perl on another droplet.

    :raises AgentError: with the code ``failed``.
    """
    require_roots(perl)
    key = perl_key(perl)
    if key != manifest.perl:
        raise AgentError(
            Code.FAILED,
            f"the release was built with {shown_key(manifest.perl)}, and this droplet has {shown_key(key)}: "
            "give the droplets of a color the same image and Debian packages",
        )


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
    properties = (*MAKES_DIRECTORIES, f"StateDirectory={app.name}", STATE_MODE)
    done = run_caged(job.unit, "shared", app.name, properties, command)
    if done.status != 0:
        cause = failure_cause(done.output)
        raise AgentError(Code.FAILED, f"the shared directories cannot be made: {cause}")
