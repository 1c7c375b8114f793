"""What the engine knows of the stack with all its profiles, and what no image may have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.compose.conftest import Compose


def secrets(stack: Compose) -> dict[str, str]:
    """Return every secret by a name for it; of the key, each line that only this key has."""
    files = {file.name: file for file in (stack.directory / "secrets").iterdir()}
    values = {
        name: file.read_text()
        for name, file in files.items()
        if name not in ("ssh_key", "ssh_key.pub", "known_hosts")
    }
    # The first two lines are the same in every key of this kind, and the last one is no secret.
    lines = files["ssh_key"].read_text().splitlines()[2:-1]
    return values | {f"line {number} of the key": line for number, line in enumerate(lines, start=3)}


def history(image: str) -> str:
    """Return what the engine tells about an image's layers."""
    shown = ["docker", "history", "--no-trunc", "--format", "{{json .}}", image]
    inspected = ["docker", "image", "inspect", image]
    return "".join(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (shown, inspected)
    )


def found_in_layers(image: str, values: dict[str, str], directory: Path) -> set[str]:
    """Return the names of those values that are somewhere in an image's layers.

    :param directory: for a file.
    """
    patterns = directory / "patterns"
    patterns.touch(mode=0o600)
    patterns.write_text("".join(f"{value}\n" for value in values.values()))
    saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
    search = ["grep", "--text", "--only-matching", "--fixed-strings", f"--file={patterns}"]
    found = subprocess.run(search, stdin=saved.stdout, capture_output=True, check=False, timeout=300).stdout
    assert saved.wait(60) == 0, image
    lines = set(found.decode(errors="replace").splitlines())
    return {name for name, value in values.items() if value in lines}


def users(stack: Compose) -> dict[str, str]:
    """Return the number of the user that each container's first process runs as."""
    return {
        service: one["Config"]["User"].partition(":")[0] or "0"
        for service, one in stack.containers("--all").items()
    }


def published(stack: Compose) -> set[tuple[str, str, str, str]]:
    """Return service, port inside, address and port outside of all that can be reached from outside."""
    return {
        (service, port, at["HostIp"], at["HostPort"])
        for service, one in stack.containers("--all").items()
        for port, places in (one["HostConfig"]["PortBindings"] or {}).items()
        for at in places
    }


def reaches(stack: Compose, service: str, other: str, port: int) -> bool:
    """Return whether a container can connect to another one, by its name or by any of its addresses."""
    networks = stack.containers()[other]["NetworkSettings"]["Networks"].values()
    return any(
        stack.run(
            "exec", "-T", service, "timeout", "3", "bash", "-c", f"exec 3<>/dev/tcp/{at}/{port}", check=False
        ).returncode
        == 0
        for at in (other, *(network["IPAddress"] for network in networks))
    )


def shown(stack: Compose) -> str:
    """Return all that the engine tells about the stack's containers."""
    return json.dumps(stack.containers("--all"))
