"""Errors of the sandbox, each a message of one line."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the message describes what, why, and what to do."""
