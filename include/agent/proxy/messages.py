"""Records and answers of a proxy's verbs; :mod:`agent.protocol` has the verbs and codes.

The records stand in the agent's state files, and in ``status`` as they are there. Moments are seconds since
the epoch; ``end`` is in seconds since the boot that ``boot`` names. A key that an older version did not write
is not there.
"""

from __future__ import annotations

from typing import Optional, TypedDict

from agent.protocol import Json, Probe

# The outcome of a run that has left its lock behind.
UNREPORTED = "ended without a report"

# `from` is a word of Python's.
_FromColor = TypedDict("_FromColor", {"from": Optional[str]})
_OptionalFromColor = TypedDict("_OptionalFromColor", {"from": str}, total=False)


class QuestionFields(TypedDict, total=False):
    """How an app is asked: with which ``Host`` header, whether its client came by https.

    ``statuses`` are those of a good answer; 200 to 299 if there are none.
    """

    host: str | None
    https: bool | None
    statuses: list[int] | None


class StartedRelease(TypedDict):
    """What the servers of a color were started with: a release, a configuration (its digest), their units.

    ``pairings`` has the SHA-256 of each droplet's unit by the droplet's name, see ``droplet.messages``.
    """

    release: str
    configuration: str
    pairings: dict[str, str]


class GoodRelease(StartedRelease):
    """What was confirmed to be live on a color last."""

    revision: str


class AppAddress(TypedDict):
    """Where an app's server listens."""

    address: str
    port: int


class _PendingSwitch(_FromColor):
    to: str
    revision: str
    run_id: str
    deadline: float
    path: str
    host: str | None
    https: bool
    statuses: list[int]


class PendingRecord(_PendingSwitch, total=False):
    """The switch that waits to be confirmed: see :mod:`agent.proxy.pending_switch`.

    ``within`` is the time in seconds that its run was given; ``path`` to ``statuses`` are how to ask the app.
    ``irreversible`` is why the release is, if it is: then the switch is never taken back.
    """

    started: StartedRelease
    irreversible: str | None
    token: int
    within: float
    end: float
    boot: str
    peers: list[str]
    servers: list[AppAddress]
    prepared: bool


class ConfirmedRecord(TypedDict, total=False):
    """The last switch that was kept; ``at`` is when.

    A switch to a release that is ``irreversible``, with the reason, is kept as soon as traffic has moved;
    ``judged`` is whether its run has found it good since. Others are kept because that was found, and have
    neither.
    """

    irreversible: str
    judged: bool
    revision: str
    color: str
    run_id: str
    token: int | None
    at: float


class _Revert(_FromColor):
    to: str | None
    run_id: str
    token: int | None
    at: float
    reason: str


class RevertRecord(_Revert, total=False):
    """The last switch that was taken back, or, if ``refused``, that could not be."""

    refused: bool


class SwitchRecords(TypedDict):
    """Everything in ``traffic.json``: see :class:`agent.proxy.switch_state.SwitchState`."""

    pending: PendingRecord | None
    confirmed: ConfirmedRecord | None
    last_revert: RevertRecord | None
    good: dict[str, GoodRelease]
    moved_at: float | None
    reached: list[str] | None


class Server(AppAddress):
    """A server as HAProxy knows it; ``check`` is what its health check says, for example ``L7OK``.

    ``maxconn`` is how many requests it is given at a time; None if that is not limited.
    """

    name: str
    maxconn: int | None
    up: bool
    check: str


class Counters(TypedDict):
    """What HAProxy counted for a color since its last reload."""

    requests: int
    responses_5xx: int
    connection_errors: int
    retries: int
    redispatches: int


class HaproxyProcess(TypedDict):
    """The HAProxy process; ``config_sha256`` is known only if the agent itself has loaded what runs.

    ``file_sha256`` is of the file ``haproxy.cfg``, None if there is none.

    ``ipv6`` is whether the kernel knows IPv6, so that HAProxy can listen there. ``root`` is whether it has
    root's rights, None if it does not run.
    """

    version: str
    running: bool
    config_sha256: str | None
    file_sha256: str | None
    workers: int
    old_workers: int
    ipv6: bool
    root: bool | None


class InstalledAgent(TypedDict):
    """Where this version of the agent belongs, and how the file there differs from it."""

    path: str
    difference: list[str] | None


class CertificatePaths(TypedDict):
    """Where certificates are: those that Airflow has delivered, and what HAProxy's configuration names.

    ``configured`` are files and directories that are there, in the order of the configuration.
    """

    delivered: list[str]
    configured: list[str]


class Status(SwitchRecords):
    """The answer of ``status``.

    ``live`` and ``idle`` are the running HAProxy's. ``answer_times`` are in milliseconds, averages of the
    last 1024 requests, queue included; ``sessions`` are requests and upgraded connections in progress.
    ``last_token`` is the greatest lock token that is known here. ``ledger`` is the SHA-256 of the ledger's
    last line; None if there is none, or it cannot be read.
    """

    haproxy: HaproxyProcess
    live: str | None
    idle: str | None
    map_file: Json | None
    map_running: Json | None
    consistent: bool
    servers: dict[str, list[Server]]
    counters: dict[str, Counters]
    answer_times: dict[str, int]
    sessions: dict[str, int]
    lock: Json | None
    last_token: int | None
    ledger: str | None
    certificates: CertificatePaths
    agent: InstalledAgent
    now: float


class ProbeAnswer(TypedDict):
    """``answers`` of the servers, in the order of the request."""

    answers: list[Probe]


class LockAnswer(TypedDict):
    """``took_over`` describes the run that had the lock, if another one had."""

    token: int
    until: float
    took_over: str | None


class RenewAnswer(TypedDict):
    """``until`` is when the lease ends."""

    until: float


class RecordAnswer(TypedDict):
    """``written`` is false if the run had its record already; ``head`` is the ledger's digest afterwards."""

    written: bool
    head: str | None


class LedgerChain(TypedDict):
    """What the ledger looks like from inside: see :mod:`agent.proxy.ledger_chain`.

    ``lines`` is how many the file has; ``unread`` is why it was not examined, if it was not, and then the
    others are empty; ``problems`` what is not as it was written, for people; ``digests``
    are those of the last lines, shortened; ``recent`` are the last records, shortened: ``run``, ``presumed``
    (whether another run has completed it), ``ledgers`` (what its run has seen as the last digest of each
    proxy's ledger), ``digest`` (of the whole record but its link), and some fields for people.
    """

    lines: int
    unread: str | None
    problems: list[str]
    digests: list[str]
    recent: list[Json]


class LedgerAnswer(TypedDict):
    """``records`` of the last runs, oldest first."""

    records: list[Json]


class _Sync(TypedDict):
    changed: bool
    reloaded: bool


class SyncAnswer(_Sync, total=False):
    """``prepared`` if everything was checked and nothing was to be installed."""

    prepared: bool


class Moved(TypedDict):
    """``at`` is when traffic moved, ``milliseconds`` until the first answer of the new color."""

    milliseconds: float
    at: float


class _Switch(_FromColor):
    to: str
    already: bool


class SwitchAnswer(_Switch, total=False):
    """``already`` if traffic was there; counters and answer times are those of before."""

    counters: dict[str, Counters]
    answer_times: dict[str, int]
    prepared: bool
    milliseconds: float
    at: float


class _Confirm(TypedDict):
    live: str


class ConfirmAnswer(_Confirm, total=False):
    """``prepared`` if this proxy has agreed to keep the switch, and no more."""

    prepared: bool


class AlignAnswer(_FromColor):
    """``moved`` is false if traffic was there."""

    to: str
    moved: bool


class _RevertAnswer(_FromColor):
    to: str | None
    milliseconds: float
    reverted: bool


class RevertAnswer(_RevertAnswer, total=False):
    """``reverted`` is false if there was nothing to take back; traffic is on ``to`` either way."""

    prepared: bool


class _Boot(TypedDict):
    reverted: bool


class BootAnswer(_Boot, _OptionalFromColor, total=False):
    """``reverted`` is whether HAProxy starts with ``to``, the color before the switch."""

    to: str


class DeliveredCertificate(TypedDict):
    """A certificate on a proxy: whether its file was replaced, and whether HAProxy has it.

    ``served`` is the SHA-256 of the certificate that HAProxy shows a client who asks for a name, by name.
    """

    changed: bool
    loaded: bool
    served: dict[str, str | None]


class CertificatesAnswer(TypedDict):
    """The answer of ``deliver_certificates``, by the certificates' names.

    ``reloaded``: whether HAProxy had to be reloaded. ``answers_challenges``: whether it answers those of a
    certificate authority; null if it was not asked.
    """

    certificates: dict[str, DeliveredCertificate]
    reloaded: bool
    answers_challenges: bool | None
