"""What a release runs with: the variables of its environment, and the files that are delivered with it."""

from __future__ import annotations

import base64
import hmac
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.configuration import LARGEST_FILE, check_configuration, configuration_digest
from agent.protocol import Configuration, ConfigurationFile
from bluegreen.errors import SettingsError
from bluegreen.release.system_names import system_name
from bluegreen.settings.app import App
from bluegreen.settings.delivered_files import DeliveredFile
from bluegreen.settings.environment import check_variables

# A place in a template where a variable's value goes.
_PLACE = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *\}\}")


@dataclass(frozen=True)
class Secrets:
    """What the Airflow connection ``connections.environment`` holds.

    :param variables: of the app's environment.
    :param files: contents that the setting ``files`` refers to, by their names in the connection.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, extra: Mapping[str, Any], conn_id: str) -> Secrets:
        """Read a connection's extra: an object of strings, or ``{"environment": {…}, "files": {…}}``.

        :raises SettingsError: naming the connection and the key, and never a value.
        """
        if all(isinstance(value, str) for value in extra.values()):
            return cls(variables=dict(extra))
        if unknown := sorted(set(extra) - {"environment", "files"}):
            raise SettingsError(
                f"the Airflow connection {conn_id!r}: {unknown[0]!r:.60} of its extra is not usable; it "
                'has to be an object of strings, or {"environment": {…}, "files": {…}} with two such objects'
            )
        return cls(variables=_strings(extra, "environment", conn_id), files=_strings(extra, "files", conn_id))

    def file(self, name: str, path: str) -> str:
        """Return the content that a delivered file has in the connection.

        :param path: of the delivered file.
        :raises SettingsError: if it has none.
        """
        if name not in self.files:
            raise SettingsError(
                f'files: {path}: its content is {name!r:.60} below "files" in the extra of the Airflow '
                "connection that connections.environment names, and there is no such content"
            )
        return self.files[name]

    @property
    def values(self) -> list[str]:
        """Every value that is a secret."""
        return [*self.variables.values(), *self.files.values()]


def templates_of(app: App) -> list[str]:
    """Return the paths in the repository whose text a configuration needs."""
    return sorted({one.content_from.template for one in app.files if one.content_from.template})


def template_texts(app: App, source: Path) -> dict[str, str]:
    """Return the text of each template that a configuration needs.

    :param source: the revision's files as a tar archive, which Airflow has made and checked.
    :raises SettingsError: if one is no file there, too large, or not UTF-8.
    """
    wanted, texts = set(templates_of(app)), {}
    if not wanted:
        return {}
    with tarfile.open(source) as archive:
        for member in archive:
            if member.name not in wanted or not member.isreg():
                continue
            if member.size > LARGEST_FILE:
                raise SettingsError(
                    f"files: the template {member.name} is larger than {LARGEST_FILE >> 20} MB"
                )
            content = archive.extractfile(member)
            try:
                texts[member.name] = content.read().decode() if content else ""
            except UnicodeDecodeError:
                raise SettingsError(f"files: the template {member.name} is not UTF-8") from None
    if missing := sorted(wanted - set(texts)):
        raise SettingsError(f"files: the template {missing[0]} is not in the repository, or is no file there")
    return texts


def configuration_salt(key: bytes, app_id: str) -> str:
    """Return the key of an app's configuration digests, in hexadecimal digits.

    :param key: the key that seals statements; another purpose gives another key.
    """
    return hmac.digest(key, f"configuration of {app_id}".encode(), "sha256").hex()


def make_configuration(app: App, secrets: Secrets, texts: Mapping[str, str], salt: str) -> Configuration:
    """Return an app's configuration; what it holds, and only that, decides its digest.

    :param texts: the text of each template by its path in the repository, see :func:`template_texts`.
    :param salt: see :func:`configuration_salt`.
    :raises SettingsError: naming the setting or the variable, and never a value.
    """
    variables = _variables(app, secrets)
    try:
        files = [_file(app, one, variables, secrets, texts) for one in app.files]
        digest = configuration_digest(salt, variables, files)
        files.sort(key=lambda one: one["path"])
        configuration = Configuration(digest=digest, salt=salt, variables=variables, files=files)
        check_configuration(configuration)
    except UnicodeEncodeError:
        raise SettingsError(f"a value or file of the environment of {app.id} is no text in UTF-8") from None
    except ValueError as error:
        raise SettingsError(f"the environment of {app.id} cannot be delivered: {error}") from None
    return configuration


def _variables(app: App, secrets: Secrets) -> dict[str, str]:
    variables = {**app.environment, **secrets.variables}
    try:
        check_variables(variables)
    except ValueError as error:
        raise SettingsError(
            f"environment, with the Airflow connection {app.connections.environment!r}: {error}"
        ) from None
    return variables


def _file(
    app: App, one: DeliveredFile, variables: Mapping[str, str], secrets: Secrets, texts: Mapping[str, str]
) -> ConfigurationFile:
    source = one.content_from
    if source.template is not None:
        content = _filled_in(one.path, texts[source.template], variables)
    else:
        content = secrets.file(str(source.connection), one.path)
    path = one.path.removeprefix(f"/etc/{system_name(app.id)}/")
    encoded = base64.b64encode(content.encode()).decode()
    return {"path": path, "content": encoded, "mode": one.mode_bits}


def _filled_in(path: str, template: str, variables: Mapping[str, str]) -> str:
    """Return a template with each ``{{ NAME }}`` replaced by the variable's value, and nothing else.

    The template is a stranger's: no language that could loop, or read anything else, is run for it.
    """
    left = LARGEST_FILE

    def value_of(place: re.Match[str]) -> str:
        nonlocal left
        if place[1] not in variables:
            raise SettingsError(
                f"files: {path}: its template needs the variable {place[1]}, which is not set"
            )
        left -= len(variables[place[1]])
        if left < 0:
            raise SettingsError(f"files: {path}: it is larger than {LARGEST_FILE >> 20} MB")
        return variables[place[1]]

    return _PLACE.sub(value_of, template)


def _strings(extra: Mapping[str, Any], key: str, conn_id: str) -> dict[str, str]:
    found = extra.get(key, {})
    if not isinstance(found, dict):
        raise SettingsError(f"the Airflow connection {conn_id!r}: {key} in its extra is no object")
    for name, value in found.items():
        if not isinstance(value, str):
            raise SettingsError(
                f"the Airflow connection {conn_id!r}: {name!r:.60} in {key} of its extra is no string"
            )
    return dict(found)
