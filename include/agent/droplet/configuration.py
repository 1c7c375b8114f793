"""Configurations on a droplet: a directory by digest, from which the service's unit reads.

``environment`` is in the syntax of systemd's ``EnvironmentFile``, ``salt`` is part of the digest; both are
root's alone. Below ``files`` are the delivered files, which the app's group may read as far as their modes
allow.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.configuration import MOST_FILES, check_configuration, configuration_digest, content_of
from agent.droplet.app_paths import AppPaths
from agent.droplet.mask import environment_in
from agent.droplet.tree import read_regular
from agent.droplet.users import group_of
from agent.protocol import AgentError, Code, Configuration, ConfigurationFile
from agent.system import remove_tree, sync_directory, write_atomically

# Bytes of a file that is read back.
LARGEST_READ = 1 << 21


def environment_text(variables: Mapping[str, str]) -> str:
    """Return variables as an ``EnvironmentFile``: every character of a value arrives as it is.

    In double quotes systemd takes four characters for its own unless a backslash is before them
    (``parse_env_file`` in its env-file.c). Everything else, line ends included, is part of the value.
    """
    quoted = {name: re.sub(r'(["\\`$])', r"\\\1", value) for name, value in variables.items()}
    return "".join(f'{name}="{quoted[name]}"\n' for name in sorted(quoted))


def install_configuration(app: AppPaths, configuration: Configuration) -> Path:
    """Make sure that a configuration is on the droplet, and return its directory.

    It is there as a whole or not at all. One that a hand has changed is replaced.

    :raises AgentError: with the code ``bad_request`` if it is none, for example because of its digest.
    """
    try:
        check_configuration(configuration)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AgentError(Code.BAD_REQUEST, f"configuration: {error}") from None
    if configuration["files"]:
        # Where the unit puts them; systemd cannot make it on a read-only file system.
        (app.paths.root / "etc" / app.name).mkdir(mode=0o755, parents=True, exist_ok=True)
    digest = configuration["digest"]
    directory = app.configurations / digest
    if directory.is_dir() and digest_on_disk(directory) == digest:
        return directory
    partial = app.configurations / f"{digest}.partial.{secrets.token_hex(4)}"
    _write(app, partial, configuration)
    if digest_on_disk(partial) != digest:
        raise AgentError(Code.FAILED, f"the configuration {digest[:16]} cannot be written as it is")
    if directory.is_dir():
        directory.rename(partial.with_name(f"{partial.name}.old"))
    partial.rename(directory)
    sync_directory(app.configurations)
    remove_tree(partial.with_name(f"{partial.name}.old"))
    return directory


def digest_on_disk(directory: Path) -> str:
    """Return the digest of what is in the directory of a configuration; empty if that is not a whole one."""
    try:
        salt = read_regular(directory / "salt", LARGEST_READ).decode()
        variables = environment_in(read_regular(directory / "environment", LARGEST_READ).decode())
        return configuration_digest(salt, variables, _delivered(directory / "files"))
    except (OSError, ValueError):
        return ""


def _write(app: AppPaths, directory: Path, configuration: Configuration) -> None:
    group = group_of(app)
    # systemd reads as root what is below; nobody else has to know what there is.
    app.configurations.mkdir(mode=0o700, parents=True, exist_ok=True)
    app.configurations.chmod(0o700)
    directory.mkdir(mode=0o700)
    write_atomically(directory / "salt", configuration["salt"].encode())
    write_atomically(directory / "environment", environment_text(configuration["variables"]).encode())
    files = directory / "files"
    _make_readable(files, group)
    for file in configuration["files"]:
        path = files / file["path"]
        for parent in reversed(path.relative_to(files).parents[:-1]):
            _make_readable(files / parent, group)
        write_atomically(path, content_of(file), file["mode"])
        os.chown(path, -1, group)
        # A change of the group may take bits of the mode away.
        path.chmod(file["mode"])


def _make_readable(directory: Path, group: int) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, -1, group)
    directory.chmod(0o750)


def _delivered(files: Path) -> Iterator[ConfigurationFile]:
    """Return what is delivered, as it is on the disk.

    :raises OSError: if it cannot be what was delivered.
    """
    count = 0
    for directory, names, found in os.walk(files):
        links = [one for one in names if (Path(directory) / one).is_symlink()]
        for name in (*found, *links):
            count += 1
            if count > MOST_FILES:
                raise OSError(f"{files} has more files than a configuration")
            path = Path(directory) / name
            yield {
                "path": str(path.relative_to(files)),
                "content": base64.b64encode(read_regular(path, LARGEST_READ)).decode(),
                "mode": stat.S_IMODE(path.lstat().st_mode),
            }
