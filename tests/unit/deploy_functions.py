"""Functions of the script that deploys a release, run on this machine with programs that pretend."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bluegreen.release.release import Release, deploy_script

# Where the script begins to act; what is before that only defines.
_BEGINS = "\ninstall -d -m 700 /run/bluegreen\n"


def run_functions(
    release: Release, directory: Path, commands: str, **programs: str
) -> subprocess.CompletedProcess[str]:
    """Run commands that call functions of the script; the app's directory on the droplet is in ``directory``.

    :param programs: what stands for a program, as lines of a shell.
    """
    script, found, _ = deploy_script(release).partition(_BEGINS)
    assert found
    places = directory / "bin"
    places.mkdir(exist_ok=True)
    for name, lines in programs.items():
        (places / name).write_text(f"#!/bin/bash\n{lines}\n")
        (places / name).chmod(0o755)
    root = directory / "root"
    root.mkdir(exist_ok=True)
    ours = f"root={root}\nreserve=$root/reserve\nlog=$root/log\nPATH={places}:$PATH\n"
    return subprocess.run(
        ["bash", "-c", f"{script}\n{ours}\n{commands}\n"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
