"""What goes wrong in the sandbox, said in one line."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the message says what, why, and what to do."""
