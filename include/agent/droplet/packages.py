"""Debian packages that an app needs on its droplets."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from agent.protocol import AgentError, Code
from agent.system import output_of, since_boot

# apt-get removes a package whose name is followed by a hyphen.
NAME = r"[a-z0-9][a-z0-9+.-]{0,98}[a-z0-9+.]"
# Seconds to wait for another program that installs something, such as unattended upgrades after a boot.
LOCK_SECONDS = 300.0
# Seconds for one run of a program, downloads included.
APT_SECONDS = 1800.0
_PAUSE = 2.0
_IS_LOCKED = re.compile(
    r"Could not get lock|is another process using it|Unable to lock|was locked by another process"
)
# What apt says after dpkg was killed: of packages that are not configured, and of some that are not unpacked.
_IS_INTERRUPTED = re.compile(r"dpkg was interrupted|--fix-broken")
# Nobody is there to answer a question, and no service may be restarted: the app's is another step's. Ubuntu
# installs needrestart, which restarts them unless this variable is set (needrestart(1), since version 3.0).
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}
# A configuration file that somebody has changed stays as it is.
_KEEP_FILES = ("--force-confdef", "--force-confold")


def install_packages(packages: Sequence[str]) -> None:
    """Install those of some Debian packages that are missing; another run of apt is waited for.

    A run that was killed, such as that of an earlier job, is brought to its end first.

    :raises AgentError: with the code ``bad_request`` for a name that is none; with ``failed`` and apt's own
        line if they cannot be installed.
    """
    for name in packages:
        if not re.fullmatch(NAME, name):
            raise AgentError(Code.BAD_REQUEST, f"packages: {name!r:.60} is no name of a Debian package")
    wanted = missing_packages(packages)
    if not wanted:
        return
    for name in wanted:
        # A name with a dot that is none is a regular expression for apt-get.
        if "." in name and _output("apt-cache", "show", "--no-all-versions", "--", name)[0] != 0:
            raise AgentError(Code.FAILED, f"there is no Debian package {name}")
    print(f"installing the Debian packages {' '.join(wanted)}", flush=True)
    command = _apt_get("install", "--no-install-recommends", "--", *wanted)
    status, output = _patiently(*command)
    if status != 0:
        if _IS_INTERRUPTED.search(output):
            _repair()
        # The lists of an image are those of the day when it was made.
        _patiently(*_apt_get("update"))
        status, output = _patiently(*command)
    if status != 0:
        raise AgentError(
            Code.FAILED, f"cannot install the Debian packages {' '.join(wanted)}: {_cause(output)}"
        )


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Return those of some packages that are not installed."""
    if not packages:
        return []
    shown = "--showformat=${Package} ${Status}\n"
    output = _output("dpkg-query", "--show", shown, "--", *packages)[1]
    installed = {line.split()[0] for line in output.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in installed]


def _repair() -> None:
    """Bring to its end what a run of dpkg has left that was killed; nothing is removed.

    :raises AgentError: with the code ``failed`` if that cannot be done.
    """
    print("an earlier installation was interrupted, and is brought to its end", flush=True)
    for command in (
        ("dpkg", *_KEEP_FILES, "--configure", "-a"),
        _apt_get("--fix-broken", "--no-remove", "install"),
    ):
        status, output = _patiently(*command)
        # What is not unpacked yet keeps the first from configuring the rest; the second unpacks it.
        if status != 0 and command[0] != "dpkg":
            raise AgentError(
                Code.FAILED,
                "an earlier installation of Debian packages was interrupted on this droplet, and cannot be "
                f"brought to its end: {_cause(output)}; run dpkg --configure -a there",
            )


def _patiently(*command: str) -> tuple[int, str]:
    """Run a program, again while another one installs something; its exit status and what it wrote."""
    end = since_boot() + LOCK_SECONDS
    while True:
        status, output = _output(*command)
        if status == 0 or since_boot() > end or not _IS_LOCKED.search(output):
            return status, output
        time.sleep(_PAUSE)


def _apt_get(*words: str) -> tuple[str, ...]:
    keep = (f"--option=Dpkg::Options::={one}" for one in _KEEP_FILES)
    return ("apt-get", "--assume-yes", "--quiet", *keep, "--option=Dpkg::Use-Pty=0", *words)


def _output(*command: str) -> tuple[int, str]:
    return output_of(command, APT_SECONDS, _ENVIRONMENT)


def _cause(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E: ")]
    return (errors or lines[-1:] or ["no reason given"])[0]
