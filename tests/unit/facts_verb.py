"""The verb that answers with facts, run as on a droplet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.facts_call import facts_command, facts_input


def run_facts(machine: list[str], request: dict[str, Any]) -> str:
    """Run the script that a droplet runs, on a machine that a command makes, and return what it prints."""
    command = [*machine, sys.executable, *facts_command()[1:]]
    done = subprocess.run(command, input=facts_input(request), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.dumps(json.loads(done.stdout)["facts"])


NEEDS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="namespaces need Linux and root"
)
