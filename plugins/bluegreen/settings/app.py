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
from bluegreen.settings.schedule import check_schedule
from bluegreen.settings.section import Line, Section
from bluegreen.settings.server import HealthSettings, ServerSettings
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
    """All settings of one app; ``include/apps/my_perl_app.yaml.example`` explains each key."""

    id: Annotated[str, Field(pattern=whole(APP_ID))]
    repository: Annotated[Line, AfterValidator(check_address)]
    default_ref: Annotated[str, AfterValidator(_ref)]
    fleet: FleetSettings
    server: ServerSettings = ServerSettings()
    dependencies: DependencySettings = DependencySettings()
    build: BuildSettings = BuildSettings()
    environment: Environment = {}
    files: Annotated[list[DeliveredFile], Field(max_length=MOST_FILES)] = []
    shared: Annotated[list[RelativePath], Field(max_length=MOST_FILES)] = []
    artifacts: ArtifactSettings = ArtifactSettings()
    migrations: MigrationSettings = MigrationSettings()
    health: HealthSettings = HealthSettings()
    traffic: TrafficSettings
    validation: ValidationSettings = ValidationSettings()
    timeouts: Timeouts = Timeouts()
    connections: Connections = Connections()
    notifications: Notifications = Notifications()
    hooks: Hooks = Hooks()
    policy: PolicySettings = PolicySettings()
    dry_run_schedule: Annotated[Line, AfterValidator(check_schedule)] | None = "0 3 * * *"

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
