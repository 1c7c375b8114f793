"""Two proxies behind a managed one, then behind a reserved IP, with clients that ask all the time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from bluegreen.color import Color
from bluegreen.fleet import host_keys as hostkey
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.entry_point import EntryPointOperator
from bluegreen.settings.app_file import load_app
from bluegreen.settings.app_files import REFERENCE
from sandbox import Machine
from sandbox.traffic_records import Summary, read, summarize
from tests.contract.test_entry_point import TaskInstance
from tests.sandbox.droplets import Shop
from tests.sandbox.local_applications import ADDRESSES, REVISIONS
from tests.sandbox.stack import Judge, start_judge, stop_judge
from tests.started import started
from tests.waiting import until

pytestmark = pytest.mark.sandbox

APP = "front"
# The application of both colors, on each proxy's own loopback: this is about what is in front.
APPLICATIONS = """
import http.server, socket, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("X-Revision", self.server.revision)
        self.send_header("X-Machine", socket.gethostname())
        self.send_header("X-Client", ", ".join(self.headers.get_all("X-Forwarded-For") or []))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *arguments):
        pass
for revision, addresses in %r:
    for address in addresses:
        server = http.server.ThreadingHTTPServer((address, 8080), Handler)
        server.revision = revision
        threading.Thread(target=server.serve_forever).start()
"""
APPLICATIONS_UNIT = """[Service]
ExecStart=/usr/bin/python3 /root/applications.py
[Install]
WantedBy=multi-user.target
"""
# From when the first check may fail: two of them, three seconds each and as many apart.
DETECTION_SECONDS = 20
# A request that was first sent to a machine that is off takes longer.
PROMPT_SECONDS = 1


def ask(address: str, seconds: float = 5) -> Any:
    """Return the headers of one answer over a new connection; empty if there is none in time."""
    session = requests.Session()
    session.trust_env = False
    try:
        return session.get(f"http://{address}/", timeout=seconds).headers
    except requests.RequestException:
        return {}


class Front:
    """Two proxies of one app, and what provisioning puts in front of them."""

    def __init__(self, machines: list[Machine], directory: Path, hook: ProxiesHook) -> None:
        self.machines = machines
        self.directory = directory
        self.hook = hook

    def provision(self) -> str:
        """Run provisioning's task; return the address that clients connect to."""
        task = EntryPointOperator(task_id="entry_point", app_id=APP)
        return str(task.execute({"ti": TaskInstance()})["address"])  # type: ignore[typeddict-item]

    def switch(self, to: Color) -> None:
        """Move traffic, and keep it there."""
        self.hook.switch(
            to=to,
            revision=REVISIONS[to],
            started=started(REVISIONS[to]),
            confirm_within=60,
            min_servers=2,
            health_path="/health",
        )
        self.hook.confirm(REVISIONS[to])


def write_settings(directory: Path, entry_point: str) -> None:
    """Write the app file."""
    settings = yaml.safe_load(REFERENCE.read_text())
    settings["fleet"] |= {"entry_point": entry_point, "tags": {"app": f"app:{APP}"}}
    (directory / f"{APP}.yaml").write_text(yaml.safe_dump(settings))


@pytest.fixture(scope="module")
def front(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Return two proxies with blue live on both, and nothing in front of them yet."""
    directory, key = tmp_path_factory.mktemp("apps"), hostkey.generate()
    write_settings(directory, "managed_load_balancer")
    machines = shop.order(
        "front-lb-1",
        "front-lb-2",
        user_data=render_user_data(app=APP, proxy=True, host_key=key),
        tags=(f"app:{APP}", "role:loadbalancer", key.tag),
    )
    connections = {
        "DIGITALOCEAN": {
            "conn_type": "http",
            "host": shop.box.api_url,
            "password": shop.box.token,
            "extra": {"ca_file": shop.box.ca_file},
        },
        "BLUEGREEN_SSH": {"conn_type": "ssh", "login": "root", "extra": {"key_file": str(shop.key)}},
        "BLUEGREEN_SEAL": {"conn_type": "generic", "password": "5" * 32},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEGREEN_APPS_DIR", str(directory))
        for name, connection in connections.items():
            patch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
        for machine in machines:
            machine.wait_ready()
            shop.wait_for_ssh(machine)
            behind = [(REVISIONS[color], ADDRESSES[color]) for color in Color]
            machine.run(["tee", "/root/applications.py"], text=APPLICATIONS % behind)
            machine.run(["tee", "/etc/systemd/system/applications.service"], text=APPLICATIONS_UNIT)
            machine.run("systemctl enable --now applications")
        app = load_app(APP)
        found = shop.client().droplets.list(tag_name=f"app:{APP}")["droplets"]
        fleet = Fleet.of([Droplet.from_api(each) for each in found], app.fleet.tags)
        hook = ProxiesHook(app, fleet.proxies)
        front = Front(machines, directory, hook)
        hook.lock("test", "deploy/run-1", "v1", lambda other: True)
        hook.sync(haproxy_config(app, with_applications(fleet), (2, 6)), live=None, idle=Color.BLUE)
        front.switch(Color.BLUE)
        yield front
        hook.close()
        for machine in machines:
            shop.client().droplets.destroy(machine.droplet_id)


def with_applications(fleet: Fleet) -> Fleet:
    """Return the fleet with the applications of each color as if they were droplets."""
    droplets = {
        str(color): tuple(
            Droplet(
                id=1, name=f"{color}-{number}", status="active", public=None, private=IPv4Address(address)
            )
            for number, address in enumerate(ADDRESSES[color], 1)
        )
        for color in Color
    }
    return fleet.model_copy(update=droplets)


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Callable[[str], Judge]]:
    """Return what lets clients ask an address all the time from now on."""
    processes = []

    def start(address: str) -> Judge:
        process, judge = start_judge(f"http://{address}/", tmp_path)
        processes.append(process)
        next_requests(judge)
        return judge

    yield start
    for process in processes:
        stop_judge(process)


def next_requests(judge: Judge, count: int = 300) -> Summary:
    """Wait for the next requests, and return how they ended."""
    began = time.time()
    until(lambda: summarize(read(judge.records), began).requests >= count, "the clients ask")
    return summarize(read(judge.records), began)


def wait_for_answers(address: str, machines: list[Machine], seconds: float) -> None:
    """Wait until answers come from these machines, from each of them, and none of them late."""

    def answered() -> bool:
        seen = {ask(address, PROMPT_SECONDS).get("X-Machine") for _ in range(10)}
        return seen == {machine.name for machine in machines}

    names = " and ".join(machine.name for machine in machines)
    until(answered, f"{names} answer at {address}", seconds)


def test_a_managed_load_balancer_passes_a_switch_on_and_leaves_a_dead_proxy(
    front: Front, judged: Callable[[str], Judge]
) -> None:
    write_settings(front.directory, "managed_load_balancer")
    address = front.provision()
    assert front.provision() == address
    assert address not in [machine.address for machine in front.machines]
    first, second = front.machines
    wait_for_answers(address, front.machines, DETECTION_SECONDS)
    asked = ["curl", "--silent", "--include", "--header", "X-Forwarded-For: 6.6.6.6", f"http://{address}/"]
    assert f"x-client: {first.address}" in first.run(asked).stdout.splitlines()

    judge = judged(address)
    began = time.time()
    front.switch(Color.GREEN)
    switched = time.time()
    assert set(next_requests(judge).colors) == {"green"}
    through = summarize(read(judge.records), began)
    assert (through.failed, through.app_errors) == (0, 0), through.failures
    assert through.last_start["blue"] < switched

    first.power_off()
    wait_for_answers(address, [second], DETECTION_SECONDS)
    afterwards = next_requests(judge)
    assert (afterwards.failed, afterwards.app_errors) == (0, 0), afterwards.failures

    began = time.time()
    first.power_on()
    wait_for_answers(address, front.machines, 30)
    next_requests(judge)
    back = summarize(read(judge.records), began)
    assert (back.failed, set(back.colors)) == (0, {"green"}), back.failures
    # Nobody is told that it takes traffic before it has decided where to.
    order = "systemctl show --property={} --value {}"
    decided, started = (
        int(first.run(order.format(moment, unit)).stdout)
        for moment, unit in (
            ("ExecMainExitTimestampMonotonic", "bluegreen-boot"),
            ("ExecMainStartTimestampMonotonic", "haproxy"),
        )
    )
    assert 0 < decided < started
    front.hook.close()


def test_a_reserved_ip_is_moved_by_provisioning_and_its_clients_with_it(
    front: Front, shop: Shop, judged: Callable[[str], Judge]
) -> None:
    write_settings(front.directory, "reserved_ip")
    first, second = front.machines
    (bystander,) = shop.order("bystander")
    address = front.provision()
    assert front.provision() == address
    wait_for_answers(address, [first], DETECTION_SECONDS)

    first.power_off()
    assert front.provision() == address
    wait_for_answers(address, [second], DETECTION_SECONDS)
    afterwards = next_requests(judged(address))
    assert (afterwards.failed, afterwards.app_errors) == (0, 0), afterwards.failures
    asked = ["curl", "--silent", "--include", "--max-time", "5", f"http://{address}/"]
    assert f"x-machine: {second.name}" in bystander.run(asked).stdout.splitlines()

    first.power_on()
    until(lambda: ask(first.address).get("X-Machine") == first.name, f"{first.name} is back")
    assert front.provision() == address
    wait_for_answers(address, [second], DETECTION_SECONDS)
    assert f" {address}/" not in first.run("ip address show").stdout

    # By hand, while both are up. Neighbours that are not told go on asking the other for 8 s and more.
    order = {"type": "assign", "droplet_id": first.droplet_id}
    shop.client().reserved_ips_actions.post(address, body=order)
    wait_for_answers(address, [first], 5)
    assert f"x-machine: {first.name}" in bystander.run(asked).stdout.splitlines()
