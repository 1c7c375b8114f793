"""Verbs, error codes, requests and answers: the agent and the plugin import this one definition.

A request and an answer are JSON objects. An answer has ``"ok": true`` and the keys of its type below, or
``"ok": false``, ``error`` (a :class:`Code`) and ``message`` (one line for people). Moments are seconds since
the epoch unless a line says otherwise; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any, TypedDict

Json = dict[str, Any]
COLORS = ("blue", "green")
# The value of `live` in traffic.map while no color is.
NOTHING = "none"

# The first version of HAProxy that can replace all keys of a map in one step (`prepare map`, `commit map`).
OLDEST_HAPROXY = (2, 4)


class Word(str, Enum):
    """A word of the protocol; Python 3.11's ``StrEnum`` is too new for the machines."""

    def __str__(self) -> str:
        """Return the word itself, as in a command line or an answer."""
        return str(self.value)


# Seconds, the longest that facts may take. Each request says how long its own may.
FACTS_SECONDS = 600.0
# Seconds, the longest that a job on a droplet may take.
LONGEST_JOB = 86400.0
# Seconds after which a job that is followed and writes nothing is reported to be alive.
HEARTBEAT = 2.0
# Seconds after its deadline that the kernel ends a call that has not noticed it.
ALARM_AFTER = 5.0


class Kind(Enum):
    """What a verb does to the machine."""

    # It changes something, and holds the agent's flock meanwhile.
    CHANGES = "changes"
    # It changes nothing and waits for nobody; it is run from memory and writes nothing on the machine.
    READS = "reads"
    # It is the unit of a job, which has a lock of its own: no call may hold the flock for that long.
    JOB = "job"
    # It is a step of a job, and no call by itself; the unit limits its time.
    STEP = "step"


class Verb(Word):
    """What the agent can be asked.

    A line has the verb, the module of its function, which is called like the verb, the seconds within which
    the verb ends, whatever happens, and its kind. The wait for another call of the agent counts.
    """

    _value_: str
    module: str
    deadline: float
    kind: Kind

    def __new__(
        cls, word: str, module: str = "", deadline: float = LONGEST_JOB, kind: Kind = Kind.CHANGES
    ) -> Verb:
        """Make a verb from its line; ``Verb("status")``, which looks one up, has no more than the word."""
        verb = str.__new__(cls, word)
        verb._value_, verb.module, verb.deadline, verb.kind = word, module, deadline, kind
        return verb

    # Every machine. An installation takes no longer than another call waits for the flock: a revert timer may
    # come due meanwhile.
    INSTALL_AGENT = "install_agent", "agent.installation", 20.0
    FACTS = "facts", "agent.facts.verb", FACTS_SECONDS, Kind.READS
    # Droplets that run an app.
    CLAIM = "claim", "agent.droplet.claims", 60.0
    TOKEN = "token", "agent.droplet.claims", 10.0, Kind.READS
    RECEIVE = "receive", "agent.droplet.receiving", 60.0
    START_JOB = "start_job", "agent.droplet.jobs", 60.0
    FOLLOW_JOB = "follow_job", "agent.droplet.following", LONGEST_JOB, Kind.READS
    END_JOB = "end_job", "agent.droplet.jobs", 60.0
    STOP = "stop", "agent.droplet.stopping", 60.0
    JOB = "job", "agent.droplet.job", LONGEST_JOB, Kind.JOB
    BUILD = "build", "agent.droplet.building", LONGEST_JOB, Kind.STEP
    INSTALL = "install", "agent.droplet.installing", LONGEST_JOB, Kind.STEP
    LOAD = "load", "agent.droplet.loading", LONGEST_JOB, Kind.STEP
    SERVICES = "services", "agent.droplet.services", LONGEST_JOB, Kind.STEP
    ACTIVATE = "activate", "agent.droplet.activation", LONGEST_JOB, Kind.STEP
    RESTORE = "restore", "agent.droplet.restoring", LONGEST_JOB, Kind.STEP
    MIGRATE = "migrate", "agent.droplet.migrating", LONGEST_JOB, Kind.STEP
    PROCESSES = "processes", "agent.droplet.processes", LONGEST_JOB, Kind.STEP
    RUN = "run", "agent.droplet.running", LONGEST_JOB, Kind.STEP
    RUN_COMMAND = "run_command", "agent.droplet.run_command", LONGEST_JOB, Kind.STEP
    # Proxies: verbs that only read.
    STATUS = "status", "agent.proxy.reading", 25.0, Kind.READS
    PROBE = "probe", "agent.proxy.reading", 65.0, Kind.READS
    LEDGER = "ledger", "agent.proxy.reading", 10.0, Kind.READS
    # Proxies: verbs that change something.
    LOCK = "lock", "agent.proxy.locking", 60.0
    RENEW = "renew", "agent.proxy.locking", 30.0
    UNLOCK = "unlock", "agent.proxy.locking", 60.0
    DELIVER_CERTIFICATES = "deliver_certificates", "agent.proxy.certificates", 120.0
    SYNC = "sync", "agent.proxy.moving", 180.0
    SWITCH = "switch", "agent.proxy.moving", 60.0
    CONFIRM = "confirm", "agent.proxy.moving", 45.0
    ALIGN = "align", "agent.proxy.moving", 60.0
    REVERT = "revert", "agent.proxy.moving", 45.0
    BOOT = "boot", "agent.proxy.moving", 40.0
    RECORD = "record", "agent.proxy.locking", 30.0

    def function(self) -> Callable[..., Json]:
        """Return what does it; what a machine is not asked is not read."""
        function: Callable[..., Json] = getattr(import_module(self.module), self.value)
        return function


class Code(Word):
    """Why a verb refused. Nothing was changed, or it was put back, unless the message says more."""

    # The request cannot be understood.
    BAD_REQUEST = "bad_request"
    # An exception that no line of the agent expects, for example a full disk.
    FAILED = "failed"
    # A file of the agent's state is not JSON.
    BAD_STATE = "bad_state"
    # The verb's deadline is over.
    TOO_SLOW = "too_slow"
    # The answer is larger than anybody reads.
    TOO_LARGE = "too_large"
    # Another call of the agent is at work on this machine.
    BUSY = "busy"
    # The agent itself, or the unit that runs it at boot, cannot be installed.
    NOT_INSTALLED = "not_installed"
    # A later run has claimed the droplet.
    CLAIMED = "claimed"
    # Another run holds the lock.
    LOCKED = "locked"
    # This run does not hold the lock any more.
    LOCK_LOST = "lock_lost"
    # The color has traffic, or may get it back.
    NOT_IDLE = "not_idle"
    # HAProxy on this machine is too old.
    UNSUPPORTED = "unsupported"
    # HAProxy refuses the configuration.
    INVALID_CONFIG = "invalid_config"
    # HAProxy does not take a certificate.
    CERTIFICATE_REFUSED = "certificate_refused"
    # HAProxy did not load the configuration.
    RELOAD_FAILED = "reload_failed"
    # HAProxy does not run, or has no usable map.
    HAPROXY_DOWN = "haproxy_down"
    # Neither the map's file nor HAProxy says who is live.
    BAD_MAP = "bad_map"
    # A color has too few healthy servers.
    UNHEALTHY = "unhealthy"
    # The revert timer cannot be armed.
    CANNOT_ARM = "cannot_arm"
    # Traffic did not move.
    NOT_MOVED = "not_moved"
    # Traffic moved, but the map's file cannot be written.
    NOT_WRITTEN = "not_written"
    # The switch that is to be confirmed does not wait for that any more.
    REVERTED = "reverted"


class JobState(Word):
    """Where a job on a droplet stands."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    # There is no such unit: never started, cleaned up, or the droplet was restarted.
    MISSING = "missing"


class JobProgress(TypedDict):
    """What a job that is followed has written since, and up to where its output was read."""

    lines: list[str]
    cursor: int


class Step(TypedDict):
    """One step of a job: a verb of the kind :attr:`Kind.STEP`, and its request."""

    verb: str
    request: dict[str, Any]


class Program(TypedDict):
    """What a job does: its steps, one after another, until one fails."""

    steps: list[Step]


class SentFile(TypedDict):
    """A file in the app's directory ``incoming`` or ``outgoing`` on a droplet.

    ``sha256`` is in hexadecimal digits, ``size`` in bytes. What is received is checked against both.
    """

    name: str
    sha256: str
    size: int


class Dependencies(TypedDict):
    """How the distributions that an app needs are installed; the keys are those of the setting.

    ``installer`` is ``carton``, ``cpanm`` or ``none``; ``mirror`` the URL of the one CPAN mirror that is
    asked.
    """

    installer: str
    without: list[str]
    features: list[str]
    mirror: str | None
    run_tests: bool


class StepRequest(TypedDict):
    """What the request of every step of a job has: the app and the job's unit."""

    app: str
    unit: str


class EarlierArtifact(TypedDict):
    """An artifact that was built on another droplet, and the set of dependencies that its release has.

    ``digest`` is the SHA-256 of its manifest; the file is in the directory ``incoming``.
    """

    dependencies: str
    digest: str
    artifact: SentFile


class BuildRequest(StepRequest):
    """The request of ``build``.

    ``earlier`` is an artifact to take the dependencies from, if they are the ones that the source needs.
    ``committed`` is the commit's date, which every file of the release gets. ``root`` is the app's directory
    in the repository. ``links`` are links that root adds to the release, by path: where a shared path, or a
    delivered file, is. ``packages`` are Debian's. ``credentials``: the mirror's ``login`` and ``password``.
    """

    revision: str
    committed: int
    source: SentFile
    earlier: EarlierArtifact | None
    root: str
    perl: str
    packages: list[str]
    dependencies: Dependencies
    credentials: dict[str, str] | None
    commands: list[list[str]]
    network: bool
    links: dict[str, str]
    user: str
    cage: list[str]


class BuildAnswer(TypedDict):
    """The answer of ``build``: the artifact, in the directory ``outgoing``.

    ``digest`` is the SHA-256 of its manifest, ``release`` the directory's name wherever it is installed.
    ``dependencies`` names the set of dependencies in it by what the set is made from; null if there is none.
    """

    release: str
    digest: str
    artifact: SentFile
    dependencies: str | None


class ConfigurationFile(TypedDict):
    """A file that is delivered with a configuration: content in base64, mode such as ``0640``."""

    path: str
    content: str
    mode: int


class Configuration(TypedDict):
    """What a release runs with: its environment's variables and the delivered files, named by their digest.

    ``salt``, in hexadecimal digits, is part of the digest: see :mod:`agent.configuration`.
    """

    digest: str
    salt: str
    variables: dict[str, str]
    files: list[ConfigurationFile]


class InstallRequest(StepRequest):
    """The request of ``install``: ``artifact`` is null if the release is on the droplet already.

    ``packages`` are Debian's, ``perl`` is the path of the app's perl.
    """

    release: str
    digest: str
    artifact: SentFile | None
    configuration: Configuration
    packages: list[str]
    perl: str


class LoadRequest(StepRequest):
    """The request of ``load``: the words of a command that loads the app once and ends, and its settings.

    ``properties`` are those of the service's unit that count for loading: the cage, environment, directory.
    """

    release: str
    command: list[str]
    properties: list[str]
    timeout: float


class QuestionRecord(TypedDict):
    """How an app is asked, with nothing left out."""

    path: str
    host: str | None
    https: bool
    statuses: list[int]


class RunRequest(StepRequest):
    """The request of ``run``: a command of the app's settings, as its words, and the user that it runs as.

    ``release`` is the one in whose directory it runs, or an empty text while none is known. ``cage`` has the
    properties of its unit.
    """

    release: str
    user: str
    command: list[str]
    environment: dict[str, str]
    cage: list[str]


class JobEnd(TypedDict):
    """The answer of ``follow_job``.

    ``result`` is systemd's word for how the job ended: ``success``, ``exit-code``, ``signal``, ``timeout`` …;
    ``exit_status`` is null until it has. ``run_id`` is of the run that started it, ``seconds`` its duration.
    ``answers`` are those of its steps by verb; empty until it has ended.
    """

    state: str
    result: str
    exit_status: int | None
    run_id: str
    seconds: float
    cursor: int
    answers: dict[str, Any]


class AgentError(Exception):
    """A refusal: nothing was changed, or what was changed has been put back, unless the message says more."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class DeadlineRecord(TypedDict):
    """A moment ``within`` seconds of another one: ``end`` seconds after the boot that ``boot`` names."""

    within: float
    end: float
    boot: str


class Probe(TypedDict):
    """One GET: status, ``X-Revision`` and ``X-Color`` of the answer, or why there was none."""

    status: int | None
    revision: str | None
    color: str | None
    error: str | None
    milliseconds: float
