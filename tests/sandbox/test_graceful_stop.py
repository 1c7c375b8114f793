"""Work in progress on a real droplet that is stopped, restarted or rebooted by whoever runs it."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.sandbox.app_droplet import SYSTEM_NAME, AppDroplet
from tests.sandbox.releases import comes_back, running
from tests.waiting import until

pytestmark = pytest.mark.sandbox

BYTES = 1_000_000
UNIT = f"{SYSTEM_NAME}.service"
# Words of `systemctl`. None waits: the reboot takes the connection of whoever asks for it.
ORDERS = {
    "stop": ["stop", "--no-block", UNIT],
    "restart": ["restart", "--no-block", UNIT],
    "reboot": ["reboot", "--no-block"],
}


@dataclass(frozen=True)
class Download:
    """What a client got of :data:`BYTES`, and after how many seconds."""

    size: int
    seconds: float


@contextmanager
def download(droplet: AppDroplet, seconds: float) -> Iterator[Callable[[], Download]]:
    """Start a download that takes so long; it is in progress."""
    connection = http.client.HTTPConnection(droplet.machine.private_address, 8080, timeout=60)
    began = time.monotonic()

    def finish(response: http.client.HTTPResponse) -> Download:
        size = 0
        with suppress(OSError, http.client.HTTPException):
            while part := response.read1():
                size += len(part)
        return Download(size, time.monotonic() - began)

    with closing(connection), ThreadPoolExecutor() as pool:
        connection.request("GET", f"/stream?seconds={seconds}&bytes={BYTES}")
        ended: Future[Download] = pool.submit(finish, connection.getresponse())
        yield lambda: ended.result(90)


def shown(droplet: AppDroplet, name: str) -> str:
    """Return a property of the app's unit."""
    return droplet.machine.run(["systemctl", "show", f"--property={name}", "--value", UNIT]).stdout.strip()


def order(droplet: AppDroplet, what: str) -> None:
    droplet.machine.run(["systemctl", *ORDERS[what]], check=False)


@pytest.mark.parametrize("what", ORDERS)
def test_a_request_in_progress_is_finished(droplet: AppDroplet, revisions: dict[str, str], what: str) -> None:
    running(droplet, revisions["v1"])
    before = droplet.main_pid()
    with download(droplet, 5) as ended:
        order(droplet, what)
        until(lambda: _takes_nothing_new(droplet), "the server ends")
        assert ended().size == BYTES
    if what == "stop":
        until(lambda: shown(droplet, "ActiveState") == "inactive", "it has stopped")
        assert shown(droplet, "Result") == "success"
        droplet.machine.run(["systemctl", "start", UNIT])
    # Nobody starts it again after a reboot: the unit is enabled.
    comes_back(droplet, revisions["v1"])
    assert what == "reboot" or droplet.main_pid() != before


@pytest.mark.parametrize("what", ["restart", "reboot"])
def test_what_outlasts_stop_timeout_is_cut_then_and_not_before(
    droplet: AppDroplet, revisions: dict[str, str], what: str
) -> None:
    running(droplet, revisions["v2"], server={"stop_timeout": 3, "workers": 1})
    with download(droplet, 50) as ended:
        ordered = time.monotonic()
        order(droplet, what)
        seen = ended()
        assert time.monotonic() - ordered >= 3
    assert 0 < seen.size < BYTES
    comes_back(droplet, revisions["v2"])


def _takes_nothing_new(droplet: AppDroplet) -> bool:
    """Whether the app's server has got its signal: it does not answer another request."""
    try:
        droplet.get("/health")
    except OSError:
        return True
    return False
