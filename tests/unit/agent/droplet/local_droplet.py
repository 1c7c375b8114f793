"""The agent on this machine as if it were a droplet: directories, a systemd and a journal of the test's."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.configuration import configuration_digest
from agent.droplet import installing, reserve
from agent.droplet import job as job_module
from agent.droplet.app_paths import AppPaths
from agent.droplet.artifact import pack
from agent.protocol import Configuration, ConfigurationFile, SentFile, Verb
from agent.release_name import release_name
from tests.unit.agent.droplet.built_release import APP, BuiltRelease, build_release

SERVICE = f"{APP}.service"
UNIT = f"bluegreen-{APP}-{'a' * 12}"
SALT = "5a17" * 8

# Knows the service's unit as a file, what it has read of it, and what the service runs.
# Each other unit that is in memory is a file in `units`: its ActiveState and SubState. One in `slow` takes so
# many looks to end; one in `stuck` does not end; one in `crashing` does not stay up.
SYSTEMCTL = """#!/bin/bash
cd "$DROPLET" || exit 1
echo "$@" >>said
unit=etc/systemd/system/app-shop.service
case "$1 ${2-}" in
    "show --property=NeedDaemonReload") cmp -s $unit loaded && echo no || echo yes ;;
    "is-enabled --quiet") [ -e enabled ] ;;
    "enable --quiet") touch enabled ;;
    "daemon-reload ") [ ! -e refused ] || { cat refused; exit 1; }; cp $unit loaded ;;
    "restart "*)
        if [ -e unstartable ] && grep -q "$(head -n 1 unstartable)" loaded; then
            tail -n +2 unstartable
            exit 1
        fi
        cp loaded running
        ;;
    "stop app-shop.service") rm -f running ;;
    "list-units --all")
        if read -r looks name 2>/dev/null <late; then
            [ "$looks" -gt 0 ] && echo "$((looks - 1)) $name" >late ||
                { echo "activating start" >"units/$name"; rm late; }
        fi
        for unit in units/*; do
            [ -e "$unit" ] || continue
            name=${unit##*/}
            read -r active sub <"$unit"
            echo "$name loaded $active $sub what it is"
            [ "$active" = deactivating ] && [ ! -e "stuck/$name" ] || continue
            read -r looks <"slow/$name"
            if [ "$looks" -gt 1 ]; then echo $((looks - 1)) >"slow/$name"; else rm "slow/$name" "$unit"; fi
        done
        exit "$(cat broken 2>/dev/null || echo 0)"
        ;;
    "show --property=Id,"*)
        for name in "${@:3}"; do
            active=inactive sub=dead
            [ ! -e "units/$name" ] || read -r active sub <"units/$name"
            file=${name/@*./@.}
            printf '%s\\n' "Id=$name" "ActiveState=$active" "SubState=$sub" "Result=success" \\
                "ExecMainStatus=0" "NRestarts=0" "StateChangeTimestampMonotonic=1"
            while IFS= read -r line; do
                [[ $line != WorkingDirectory=* ]] || echo "$line"
            done 2>/dev/null <"etc/systemd/system/$file"
            echo
        done
        ;;
    "stop --no-block")
        ls etc/systemd/system/*.wants >enabled-at-stop 2>/dev/null
        for name in "${@:4}"; do
            [ -e "units/$name" ] || exit 5
            if [ -e "slow/$name" ] || [ -e "stuck/$name" ]; then
                echo "deactivating stop-sigterm" >"units/$name"
            else
                rm "units/$name"
            fi
        done
        ;;
    "stop --") for name in "${@:3}"; do rm "units/$name"; done ;;
    "kill --signal=KILL")
        for name in "${@:4}"; do [ -e "stuck/$name" ] || rm -f "units/$name" "slow/$name"; done
        ;;
    "start --")
        for name in "${@:3}"; do
            [ ! -e "crashing/$name" ] || { echo "activating auto-restart" >"units/$name"; continue; }
            case $name in *.timer) echo "active waiting" ;; *) echo "active running" ;; esac >"units/$name"
        done
        ;;
    "reset-failed --") for name in "${@:3}"; do rm -f "units/$name"; done ;;
esac
"""
# Writes what a test has prepared instead of running its command.
SYSTEMD_RUN = """#!/bin/bash
cd "$DROPLET" || exit 1
printf '%s\\n' "$@" >"run-$(printf '%s\\n' "$@" | sed -n 's/^--unit=.*-//p')"
cat output 2>/dev/null
exit "$(cat status 2>/dev/null || echo 0)"
"""
# How the app is asked whether it is healthy, as a record of what was healthy has it.
ASKED: dict[str, Any] = {
    "address": "127.0.0.1",
    "port": 8080,
    "path": "/health",
    "host": None,
    "https": False,
    "statuses": [],
    "healthy_threshold": 3,
    "timeout": 1,
}


class LocalDroplet:
    """A droplet on which nothing is installed yet, and a release that was built elsewhere."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path / "droplet"
        for name in ("bin", "etc/systemd/system", "run/bluegreen", f"opt/{APP}/activated"):
            (self.path / name).mkdir(parents=True)
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("systemd-run", SYSTEMD_RUN),
            ("journalctl", "#!/bin/sh\n"),
            ("systemd-analyze", "#!/bin/sh\necho 'Next elapse: tomorrow'\n"),
            # Other programs may keep this machine's disk busy for minutes.
            ("sync", "#!/bin/sh\n"),
        ):
            self.program(name, text)
        monkeypatch.setenv("BLUEGREEN_ROOT", str(self.path))
        monkeypatch.setenv("DROPLET", str(self.path))
        monkeypatch.setenv("PATH", f"{self.path}/bin:/usr/bin:/bin")
        monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
        # Twenty thousand files would take longer than all tests.
        monkeypatch.setattr(reserve, "RESERVE_INODES", 3)
        monkeypatch.setattr(reserve, "RESERVE_MB", 1)
        monkeypatch.setattr(job_module, "PATH", os.environ["PATH"])
        # The app's user is whoever runs the tests.
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
        monkeypatch.setattr(pwd, "getpwnam", lambda _name: me)
        monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
        self.job = self.path / "run/bluegreen" / UNIT
        self.job.mkdir()
        (self.job / "token").write_text("7\n")
        self.app = AppPaths(Call.of(Verb.JOB).paths, APP)
        self.built: BuiltRelease = build_release(path / "built")
        self.release = self.built.manifest.release
        monkeypatch.setattr(installing, "perl_key", lambda _: self.built.manifest.perl)

    def program(self, name: str, text: str) -> None:
        """Put a program on the droplet."""
        (self.path / "bin" / name).write_text(text)
        (self.path / "bin" / name).chmod(0o755)

    def claimed_by(self, token: int) -> None:
        """Let another run claim the droplet."""
        (self.path / "run/bluegreen" / f"{APP}.token").write_text(f"{token}\n")

    def send(self, name: str = "artifact.tar.gz") -> SentFile:
        """Send the release's artifact as Airflow does."""
        self.app.incoming.mkdir(mode=0o700, exist_ok=True)
        (self.app.incoming / name).unlink(missing_ok=True)
        return pack(self.built.directory, self.app.incoming / name, APP)

    def put(self, revision: str, digest: str = "d" * 64) -> str:
        """Put another release on the droplet, and return its name."""
        name = release_name(revision, digest)
        (self.app.releases / name / "lib").mkdir(parents=True)
        return name

    def read(self, name: str) -> str | None:
        """Return a file of the droplet's systemd: ``loaded`` or ``running``."""
        path = self.path / name
        return path.read_text() if path.exists() else None

    @property
    def told(self) -> list[str]:
        """What systemd was told."""
        return (self.read("said") or "").splitlines()

    @property
    def unit(self) -> Path:
        """The service's unit."""
        return self.app.paths.units / SERVICE

    @property
    def current(self) -> str | None:
        """The release that ``current`` leads to."""
        link = self.app.root / "current"
        return str(link.readlink()).removeprefix("releases/") if link.is_symlink() else None

    def forget_release(self) -> None:
        """Remove the release that is installed."""
        shutil.rmtree(self.app.releases / self.release, ignore_errors=True)


def configuration(
    variables: Mapping[str, str] | None = None, files: Mapping[str, tuple[bytes, int]] | None = None
) -> Configuration:
    """Return a configuration with its digest."""
    delivered: list[ConfigurationFile] = [
        {"path": path, "content": base64.b64encode(data).decode(), "mode": mode}
        for path, (data, mode) in (files or {}).items()
    ]
    known = dict(variables or {})
    digest = configuration_digest(SALT, known, delivered)
    return {"digest": digest, "salt": SALT, "variables": known, "files": delivered}


def about(**values: Any) -> dict[str, Any]:
    """Return a step's request for the job."""
    return {"app": APP, "unit": UNIT, **values}
