"""An emulation of DigitalOcean on one Linux machine: API, droplets, network, faults, traffic."""

from __future__ import annotations

from sandbox.client import Machine, Sandbox
from sandbox.errors import SandboxError

__all__ = ["Machine", "Sandbox", "SandboxError"]
