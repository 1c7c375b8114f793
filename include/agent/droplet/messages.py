"""Requests and answers of the verbs that start a release; :mod:`agent.protocol` has the verbs and codes."""

from __future__ import annotations

from typing import TypedDict

from agent.protocol import QuestionRecord, StepRequest


class ServiceRecord(QuestionRecord):
    """How a service that was started is asked until it is healthy: ``healthy_threshold`` times in a row.

    Good statuses are 200 to 299 if there are none. ``timeout`` is the seconds until then, at most.
    """

    address: str
    port: int
    healthy_threshold: int
    timeout: float


class _KeepRequest(StepRequest):
    """What stays on a droplet.

    ``kept`` is the digest of the pairing that was confirmed there last, or an empty text: it stays, and is
    the first to go back to. ``keep`` is how many healthy releases stay besides.
    """

    kept: str
    keep: int


class ActivateRequest(_KeepRequest, ServiceRecord):
    """The request of ``activate``: a release and a configuration that are on the droplet.

    ``unit_text`` is the service's systemd unit, ``units`` those of the app's processes and timers by file
    name, which are written and not started. Each names release and configuration.
    """

    release: str
    configuration: str
    unit_text: str
    units: dict[str, str]


class Started(TypedDict):
    """The answer of ``activate`` and of ``restore``: what the service runs.

    ``pairing`` is the SHA-256 of the units, which pair release and configuration.
    """

    release: str
    configuration: str
    pairing: str


class RestoreRequest(_KeepRequest, Started):
    """The request of ``restore``: a pairing that was healthy on the droplet."""
