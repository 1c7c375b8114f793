"""What the sandbox tells the host's firewall, tried in a network namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

PROGRAM = """
import json, subprocess, sys
from pathlib import Path
from sandbox import network

def rules():
    return subprocess.run(["iptables", "-S"], capture_output=True, text=True, check=True).stdout.splitlines()

Path("/proc/sys/net/ipv4/ip_forward").write_text(sys.argv[2])
for chain in ("FORWARD", "INPUT"):
    subprocess.run(["iptables", "-P", chain, sys.argv[3]], check=True)
owner = Path(sys.argv[1])
before = rules()
net = network.create(owner)
other = network.create(owner.parent / "other")
up = rules()
network.remove(owner)
links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
network.remove(owner.parent / "other")
print(json.dumps({"numbers": [net.number, other.number], "up": up, "clean": rules() == before,
                  "kept": other.bridge in links, "gone": net.bridge not in links}))
"""


def in_namespace(directory: Path, forwarding: str, policy: str) -> dict[str, object]:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", PROGRAM, str(directory), forwarding, policy],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.usefixtures("sandbox")
def test_a_firewall_that_drops_is_told_to_let_machines_talk(tmp_path: Path) -> None:
    answer = in_namespace(tmp_path, "0", "DROP")
    assert answer["numbers"] == [1, 2]
    assert "-A FORWARD -i bgs1 -o bgs1 -j ACCEPT" in str(answer["up"])
    assert "-A INPUT -i bgs1 -j ACCEPT" in str(answer["up"])
    assert (answer["kept"], answer["gone"], answer["clean"]) == (True, True, True)


@pytest.mark.usefixtures("sandbox")
def test_a_host_that_forwards_is_told_to_keep_machines_in(tmp_path: Path) -> None:
    answer = in_namespace(tmp_path, "1", "ACCEPT")
    rules = answer["up"]
    assert isinstance(rules, list)
    assert "-A FORWARD -i bgs1 ! -o bgs1 -j DROP" in rules
    assert [line for line in rules if "INPUT -i" in line and "REJECT" not in line] == []
    assert answer["clean"] is True


@pytest.mark.usefixtures("sandbox")
def test_machines_are_kept_from_the_forge_before_anything_is_accepted(tmp_path: Path) -> None:
    for policy in ("ACCEPT", "DROP"):
        rules = in_namespace(tmp_path, "0", policy)["up"]
        assert isinstance(rules, list)
        about = [line for line in rules if "-A INPUT " in line and "-i bgs1 " in line]
        assert [("198.18.1.10-" in line, "198.19.1.10-" in line) for line in about[:2]] == [
            (False, True),
            (True, False),
        ]
        assert all("--dport 8080:8082 -j REJECT" in line for line in about[:2])
        assert [line for line in about[2:] if "REJECT" in line] == []
