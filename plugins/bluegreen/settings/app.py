"""The settings of one app."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from bluegreen.errors import RefError
from bluegreen.git_refs import check_ref
from bluegreen.patterns import APP_ID, whole
from bluegreen.release.system_names import system_name
from bluegreen.settings.build import ArtifactSettings, BuildSettings, DependencySettings, Installer
from bluegreen.settings.connections import Connections, Notifications
from bluegreen.settings.delivered_files import MOST_FILES, DeliveredFile, check_paths
from bluegreen.settings.environment import Environment
from bluegreen.settings.fields import RelativePath
from bluegreen.settings.fleet import FleetSettings
from bluegreen.settings.hooks import Hooks
from bluegreen.settings.migrations import MigrationSettings
from bluegreen.settings.policy import PolicySettings
from bluegreen.settings.processes import Processes, Timers, check_names
from bluegreen.settings.schedule import check_schedule
from bluegreen.settings.section import Line, Section
from bluegreen.settings.server import HealthSettings, ServerSettings
from bluegreen.settings.services import Services
from bluegreen.settings.timeouts import Timeouts
from bluegreen.settings.traffic import TrafficSettings
from bluegreen.settings.validation import ValidationSettings
from bluegreen.source.addresses import check_address


def _ref(ref: str) -> str:
    try:
        return check_ref(ref)
    except RefError as error:
        raise ValueError(str(error)) from None


class App(Section):
    """All settings of one app.

    The string below each field, here and in the sections, is its documentation: ``make docs`` makes the
    reference file ``include/apps/my_perl_app.yaml.example`` and the page on settings from them.
    """

    id: Annotated[str, Field(pattern=whole(APP_ID))]
    repository: Annotated[
        Line, AfterValidator(check_address), Field(examples=["https://github.com/your-org/your-perl-app.git"])
    ]
    """Where the source is: https://…, http://…, ssh://… or git@host:path. Airflow reads it, with the
    credentials of `connections.repository`; droplets do not.
    """
    default_ref: Annotated[str, AfterValidator(_ref), Field(examples=["main"])]
    """What the nightly dry run checks: a branch, a tag or a commit."""
    fleet: FleetSettings
    """The droplets, created by the DAG bluegreen_provision__<app>."""
    server: ServerSettings = ServerSettings()
    """How the app is started on a droplet."""
    dependencies: DependencySettings = DependencySettings()
    """Which Perl distributions are installed with a release, below local/ in `server.root`. Unchanged
    dependencies are taken from the release before.
    """
    build: BuildSettings = BuildSettings()
    """Commands of yours that complete a release before it is sealed, such as npm, make or msgfmt. They run in
    `server.root`, in a cage, on one droplet; what they write there is part of the release.
    """
    environment: Environment = {}
    """Variables of the app's environment. Each value is the text that stands here: 0644, yes and 1.10 stay as
    they are. Quotes are needed for what YAML reads as something else, and "" is an empty value. For
    example:
      environment: {LOG_LEVEL: info, PLACK_ENV: staging}
    Variables with secrets are in the connection `connections.environment`, and count more than these,
    which count more than /etc/default/app-<app> on a droplet. PLACK_ENV is `production` by default, and
    MOJO_MODE and DANCER_ENVIRONMENT are like PLACK_ENV. Not allowed are PATH and PERL5LIB, names that
    begin with BLUEGREEN_, and what systemd sets, such as HOME and USER.
    """
    files: Annotated[list[DeliveredFile], Field(max_length=MOST_FILES)] = []
    """Files that the app needs and that are not in the repository. For example:
      files: [{path: config/db.yaml, content_from: {template: config/db.yaml.template}}]
    """
    shared: Annotated[list[RelativePath], Field(max_length=MOST_FILES)] = []
    """Directories that outlive a release, such as [public/uploads, var/sessions]. A path in the release is a
    link to a directory of each droplet, below /var/lib/app-<app>/shared, where the app can write. Droplets
    do not share them with each other.
    """
    artifacts: ArtifactSettings = ArtifactSettings()
    """Built releases, which Airflow keeps so that every droplet gets the same bytes."""
    health: HealthSettings = HealthSettings()
    """What a healthy droplet answers: a status from 200 to 299 on this path, unless `validation.statuses`
    lists others for it.
    """
    traffic: TrafficSettings
    """HAProxy: who sees what, and how long it waits."""
    validation: ValidationSettings = ValidationSettings()
    """When a switch is good enough to keep. The bake ends at the first limit that is broken, and traffic goes
    back. Limits compare with the old release: as it was before the switch, and as it answers now by the
    preview host. A difference counts only if it is so far beyond the limit that it is hardly chance (1 %
    of cases, and 0.1 % for the difference to the old release).
    """
    timeouts: Timeouts = Timeouts()
    """Limits, in seconds."""
    connections: Connections = Connections()
    """Airflow connections that hold the secrets."""
    notifications: Notifications = Notifications()
    """Who is notified of what: lists of Airflow connections of type `apprise`, which hold the address of a
    chat, a mailbox, a webhook … A notification that cannot be sent is a warning in the log of the task
    `announce`, or of `approval`, and no more.
    """
    migrations: MigrationSettings = MigrationSettings()
    """Commands of yours that change the app's database for a release (docs/migrations.md). They run with the
    release's code and environment, in its cage, in `server.root`, as the user that runs the app. A command
    is a list of words. Any program will do; with Sqitch: expand: [[sqitch, deploy, --verify, --mode,
    change]].
    """
    processes: Processes = {}
    """What runs beside the web server, on the droplets of the live color only: from the same release, with
    the same environment, in the same cage, in `server.root` (docs/processes.md). When a switch is
    confirmed, they are stopped on the old color, and then started on the new one. A rollback takes them
    along. For example:
      processes: {worker: {command: [bin/worker], count: 2, stop_timeout: 120}}
    A name has small letters, digits and hyphens.
    """
    timers: Timers = {}
    """Commands that run at certain moments, likewise on the live color only. What is due while they move is
    left out. For example:
      timers: {cleanup: {command: [bin/cleanup], calendar: "03:00"}}
    """
    services: Services = {}
    """What the app leans on and does not bring along: databases, caches, other APIs (docs/services.md). Each
    idle droplet tries to reach them, in the app's cage, before its release is started; a deploy is refused
    if one cannot. The dry run and the status try it from every droplet. A name has letters, digits, _ and
    -. An entry has exactly one of the keys but for `timeout`. Example:
      services: {database: {address_from: DATABASE_URL}, search: {url: "https://search.example.com/"}}
    """
    hooks: Hooks = Hooks()
    """Commands of yours at certain moments of a deploy, on the droplets that it deploys to. They run in the
    release's directory; before that is built, in the directory of the release that the droplet has, or in
    /. Their environment has the run's facts and nothing of the app's, neither PERL5LIB nor
    /etc/default/app-<app>: BLUEGREEN_APP, _MOMENT, _REF, _REVISION, _FROM (a color, or `none`), _TO,
    _COLOR (the droplet's), _DROPLET, _DAG_ID, _RUN_ID. They can write to no more than the app can
    (docs/droplets.md, the cage). A run that is interrupted may run a command twice. For example:
      before_switch: [{command: [bin/warm-up, --all], droplets: one, user: app, timeout: 60}]
    """
    policy: PolicySettings = PolicySettings()
    """What may be deployed, and who has to approve it. This file binds whoever may trigger a deploy: nothing
    in the trigger form goes beyond it. A commit id is looked for in the repository's own branches and
    tags, so the commits of forks, which many forges serve under the same address, are refused.
    """
    dry_run_schedule: Annotated[Line, AfterValidator(check_schedule)] | None = "0 3 * * *"
    """When bluegreen_dry_run__<app> runs, UTC: cron's notation with its five fields, or @hourly, @daily,
    @weekly, @monthly, @quarterly, @yearly. null for never.
    """

    @property
    def system_name(self) -> str:
        """The name of the app's unit, user and directories on a droplet."""
        return system_name(self.id)

    @property
    def etc(self) -> str:
        """The directory of delivered files on a droplet."""
        return f"/etc/{self.system_name}"

    @property
    def links(self) -> dict[str, str]:
        """Links that a build adds to a release, by path: to delivered files and to shared directories."""
        links = {file.path: f"{self.etc}/{file.path}" for file in self.files if not file.path.startswith("/")}
        return links | {path: f"/var/lib/{self.system_name}/shared/{path}" for path in self.shared}

    @property
    def has_processes(self) -> bool:
        """Whether the file has processes or timers, though it may be none any more.

        Who removes the last one leaves the section empty for a deploy, which then stops it on the old color.
        """
        return bool({"processes", "timers"} & self.model_fields_set)

    @model_validator(mode="after")
    def _names_of_processes(self) -> Self:
        """A process and a timer are units of a droplet, and share their names."""
        check_names(self.processes, self.timers)
        return self

    @model_validator(mode="after")
    def _paths_apart(self) -> Self:
        """Delivered files and shared paths must not be in each other's way, or in the app's."""
        check_paths(self.files, self.shared, self.etc, self.server.needed_paths, self.server.dependencies)
        return self

    @model_validator(mode="after")
    def _connection_of_files(self) -> Self:
        """A file's content can be in a connection only if there is that connection."""
        for file in self.files:
            if file.content_from.connection is not None and self.connections.environment is None:
                raise ValueError(
                    f"files: the content of {file.path} is in a connection; connections.environment has to "
                    "name it"
                )
        return self

    @model_validator(mode="after")
    def _connection_of_mirror(self) -> Self:
        """A password goes to one mirror, by https, and where code of the repository never sees it."""
        if self.connections.cpan is None:
            return self
        if not (self.dependencies.mirror or "").startswith("https://"):
            raise ValueError(
                f"connections.cpan: found {self.connections.cpan!r}, whose password is for the mirror in "
                "dependencies.mirror; allowed there is an https:// URL"
            )
        if self.dependencies.installer is not Installer.CARTON:
            raise ValueError(
                f"connections.cpan: dependencies.installer is {self.dependencies.installer}; allowed is "
                "carton: cpanm runs the repository's code while it asks the mirror, and that could read the "
                "password"
            )
        return self

    @model_validator(mode="after")
    def _statuses_of_asked_paths(self) -> Self:
        """Statuses for a path that is never requested can only be a misspelling."""
        asked = dict.fromkeys([*self.validation.paths, self.health.path])
        for path in self.validation.statuses:
            if path not in asked:
                raise ValueError(
                    f"validation.statuses: found {path!r}, which no request asks for; allowed are the paths "
                    f"of validation.paths and health.path: {', '.join(asked)}"
                )
        return self

    @property
    def seconds_until_stop(self) -> int | None:
        """Seconds after a confirmed switch until the old color is stopped; ``None`` if it stays warm.

        At least ``timeouts.drain``: a request that a deploy would wait for is not cut.
        """
        after = self.server.stop_idle_after
        return None if after is None else max(after, self.timeouts.drain)

    @property
    def health_question(self) -> dict[str, Any]:
        """The request to the agent's ``probe`` about a server's health."""
        return {"path": self.health.path, "timeout": 5, **self.asked_like(self.health.path)}

    def asked_like(self, path: str) -> dict[str, Any]:
        """Return how to request a path so that the app sees an ordinary client, for the agent's verbs.

        :return: ``host`` (``None``: the server's address), ``https`` and, of good answers, ``statuses``.
        """
        return {
            "host": self.traffic.public_host,
            "https": self.traffic.https,
            "statuses": list(self.good_statuses(path)),
        }

    def good_statuses(self, path: str) -> tuple[int, ...]:
        """Return the statuses of a good answer to a path; empty for 200 to 299."""
        return tuple(self.validation.statuses.get(path, ()))

    @model_validator(mode="after")
    def _time_to_stop(self) -> Self:
        """A droplet's job loads the new release, and stops the old one, whose last requests may take long."""
        least = self.server.load_timeout + self.server.stop_timeout
        if self.timeouts.build < least:
            raise ValueError(
                f"timeouts.build is {self.timeouts.build}, but must be at least "
                f"server.load_timeout + server.stop_timeout, which is {least}"
            )
        return self
