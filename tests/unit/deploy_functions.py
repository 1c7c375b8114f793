"""Functions of the script that deploys a release, run on this machine with programs that pretend."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from agent.droplet.jobs import files_of
from agent.shell import assignments
from bluegreen.release.release import Release, deploy_program

# Where the script begins to act; what is before that only defines.
_BEGINS = b"\ninstall -d -m 700 /run/bluegreen\n"


def run_functions(
    release: Release, directory: Path, commands: str, **programs: str
) -> subprocess.CompletedProcess[str]:
    """Run commands that call functions of the script; the app's directory on the droplet is in ``directory``.

    :param programs: what stands for a program, as lines of a shell.
    """
    program = deploy_program(release)
    job, places, root = directory / "job", directory / "bin", directory / "root"
    for place in (job, places, root):
        place.mkdir(exist_ok=True)
    for name, data in files_of(program["script"]).items():
        (job / name).write_bytes(data)
    (job / "settings.sh").write_text(assignments({**program["settings"], "agent": "/none"}))
    for name, lines in programs.items():
        (places / name).write_text(f"#!/bin/bash\n{lines}\n")
        (places / name).chmod(0o755)
    script = job / program["script"]
    begin, found, _ = script.read_bytes().partition(_BEGINS)
    assert found
    ours = f"root={root}\nreserve=$root/reserve\nlog=$root/log\nPATH={places}:$PATH\n"
    script.write_bytes(begin + f"\n{ours}\n{commands}\n".encode())
    return subprocess.run(["bash", script], capture_output=True, text=True, check=False, env=dict(os.environ))
