"""What the API starts and does not wait for: a droplet's machine follows its record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sandbox.api.account import Account
from sandbox.api.catalog import suite
from sandbox.api.droplet_request import DropletRequest
from sandbox.api.errors import invalid
from sandbox.api.hypervisor import Hypervisor, Order
from sandbox.api.perimeter import Perimeter
from sandbox.api.records import Action, Droplet
from sandbox.errors import SandboxError

POWER_ACTIONS = ("power_on", "power_off", "power_cycle", "reboot", "shutdown")
log = logging.getLogger(__name__)


class Operations:
    """Carries out what requests ask of machines.

    :param account: the records.
    :param hypervisor: the machines.
    :param perimeter: their firewalls.
    """

    def __init__(self, account: Account, hypervisor: Hypervisor, perimeter: Perimeter) -> None:
        self.account = account
        self.hypervisor = hypervisor
        self.perimeter = perimeter
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        hypervisor.stopped = lambda droplet: self._call_soon(droplet)

    def create(self, request: DropletRequest) -> tuple[list[Droplet], list[Action]]:
        """Record the droplets of a request and start making their machines."""
        droplets, actions = [], []
        tags = [self.account.add_tag(tag) for tag in request.tags]
        for name in request.names:
            droplet = Droplet(
                id=self.account.next_id(),
                name=name,
                region=request.region,
                size=request.size,
                image=request.image,
                vpc_uuid=request.vpc_uuid,
                tags=list(tags),
                features=request.features,
            )
            self.account.droplets[droplet.id] = droplet
            action = self.account.add_action(droplet, "create")
            keys = [key.public_key for key in request.keys]
            disk = int(request.size["disk"])
            order = Order(name, suite(request.image), keys, request.user_data, disk)
            self._start(self._create(droplet, action, order))
            droplets.append(droplet)
            actions.append(action)
        return droplets, actions

    def delete(self, droplet: Droplet) -> None:
        """Remove a droplet's record at once and its machine as soon as possible."""
        del self.account.droplets[droplet.id]
        for action in self.account.actions_of(droplet.id):
            if action.status == "in-progress":
                action.finish(succeeded=False)
        if not droplet.phantom:
            self._start(asyncio.to_thread(self.hypervisor.destroy, droplet.id))

    def power(self, droplet: Droplet, kind: str) -> Action:
        """Begin one of :data:`POWER_ACTIONS`."""
        if kind not in POWER_ACTIONS:
            raise invalid(f"{kind} is not a valid action for this Droplet (in this sandbox)")
        if kind == "power_on" and droplet.status == "active":
            raise invalid("Droplet is already powered on.")
        if kind in ("power_off", "shutdown", "reboot") and droplet.status == "off":
            raise invalid("Droplet is already powered off.")
        action = self.account.add_action(droplet, kind)
        self._start(self._power(droplet, action))
        return action

    async def finish(self) -> None:
        """Wait for what has been started."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _create(self, droplet: Droplet, action: Action, order: Order) -> None:
        try:
            addresses = await asyncio.to_thread(self.hypervisor.reserve, droplet.id)
            droplet.public_address, droplet.private_address = addresses.public, addresses.private
            droplet.gateway = addresses.gateway
            # It never runs without its firewall, and others may let it in from now on.
            await self.perimeter.refresh()
            await asyncio.to_thread(self.hypervisor.create, droplet.id, order)
        except SandboxError as error:
            log.error("droplet %s: %s", droplet.name, error)
            action.finish(succeeded=False)
            return
        if action.status != "in-progress":
            await asyncio.to_thread(self.hypervisor.destroy, droplet.id)
            return
        droplet.status = "active"
        action.finish(succeeded=True)

    async def _power(self, droplet: Droplet, action: Action) -> None:
        steps: dict[str, list[Callable[[int], bool | None]]] = {
            "power_on": [self.hypervisor.power_on],
            "power_off": [self.hypervisor.power_off],
            "power_cycle": [self.hypervisor.power_off, self.hypervisor.power_on],
            "reboot": [self.hypervisor.reboot],
            "shutdown": [self.hypervisor.shutdown],
        }
        try:
            succeeded = True
            for step in [] if droplet.phantom else steps[action.type]:
                succeeded = await asyncio.to_thread(step, droplet.id) is not False
        except SandboxError as error:
            log.error("%s of droplet %s: %s", action.type, droplet.name, error)
            succeeded = False
        if succeeded:
            droplet.status = "off" if action.type in ("power_off", "shutdown") else "active"
        action.finish(succeeded=succeeded)

    def _call_soon(self, droplet: int) -> None:
        """Take notice of a machine that stopped by itself."""

        def note() -> None:
            record = self.account.droplets.get(droplet)
            if record and record.status == "active" and not self._busy(droplet):
                record.status = "off"

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(note)

    def _busy(self, droplet: int) -> bool:
        return any(action.status == "in-progress" for action in self.account.actions_of(droplet))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("background work failed", exc_info=error)
