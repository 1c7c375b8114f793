"""What can go wrong with an app that has processes; the rest is in :mod:`tests.sandbox.chaos.faults`."""

from __future__ import annotations

from sandbox import Machine
from tests.sandbox.chaos.faults import Fault, Scene
from tests.sandbox.stack import SYSTEM_NAME

PROCESSES = f"{SYSTEM_NAME}-*@*.service"


def _that_lost(scene: Scene) -> Machine:
    """The first droplet of the color that was live before."""
    return scene.stack.machines(scene.old)[0]


def _power_on(scene: Scene) -> None:
    machine = _that_lost(scene)
    machine.power_on()
    scene.stack.wait_for_ssh(machine)


def _reboot(scene: Scene) -> None:
    _that_lost(scene).power_off()
    _power_on(scene)


def _kill_processes(scene: Scene) -> None:
    for machine in scene.stack.machines(scene.old):
        machine.run(["systemctl", "kill", "--signal=KILL", PROCESSES])


FAULTS_OF_STATE = {
    "a droplet that lost the traffic loses power": Fault(
        lambda scene: _that_lost(scene).power_off(), _power_on, lasts=True
    ),
    "a droplet that lost the traffic is rebooted": Fault(_reboot),
    "the app's processes are killed": Fault(_kill_processes),
}
