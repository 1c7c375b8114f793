"""An app's repository, read with the credentials of an Airflow connection."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.log import mask_secret

from bluegreen.errors import RefError, SettingsError
from bluegreen.hooks.connection import get_connection, usable_connection
from bluegreen.polling import in_thread
from bluegreen.source.access import OWN_CONFIGURATION, Access
from bluegreen.source.archive import Source, write_source
from bluegreen.source.cache import room_for_source
from bluegreen.source.git import SSH_OPTIONS
from bluegreen.source.needed import needed_of

if TYPE_CHECKING:
    from airflow.providers.git.hooks.git import GitHook

    from bluegreen.settings.app import App

T = TypeVar("T")

# Seconds for all that is read at once: to wait for the mirror, fetch a huge repository, and pack the source.
LONGEST = 3600.0
# Seconds between two renewals of the lock meanwhile.
PAUSE = 1.0

# The provider's hook changes the environment of the whole process, and puts it back.
_environment = threading.RLock()


def _nothing() -> None:
    """Do nothing meanwhile: no lock is held."""


@contextmanager
def with_source(app: App, revision: str, meanwhile: Callable[[], object] = _nothing) -> Iterator[Source]:
    """Fetch the source of a revision of an app; the file is removed at the end.

    :param meanwhile: as of :func:`read_repository`.
    :raises RefError: if there is no such source, or it cannot be read; the text says why in one line.
    :raises SettingsError: if the Airflow connection is missing or not usable.
    """
    with room_for_source() as directory:

        def fetch(access: Access) -> Source:
            return write_source(
                app.repository,
                revision,
                directory / "source.tar.gz",
                needed=needed_of(app),
                access=access,
            )

        yield read_repository(app, fetch, meanwhile)


def read_repository(app: App, read: Callable[[Access], T], meanwhile: Callable[[], object] = _nothing) -> T:
    """Read an app's repository with its credentials, in a thread.

    :param meanwhile: called every second until it is read, to renew the run's lock; what it raises ends the
        wait.
    :raises RefError: if it is not read within :data:`LONGEST` seconds.
    :raises SettingsError: as :func:`repository_access` does.
    """
    late = RefError(f"{app.repository} was not read within {LONGEST:g} s; trigger a new run")
    with repository_access(app) as access:
        return in_thread(lambda: read(access), meanwhile=meanwhile, every=PAUSE, seconds=LONGEST, late=late)


@contextmanager
def repository_access(app: App) -> Iterator[Access]:
    """Yield what git needs to read an app's repository, from the connection ``connections.repository``.

    The connection is of the git provider's type. Its host is not used: the app's file names the repository.
    The SSH host key must be known: from the connection's extra ``known_hosts`` (lines as in that file), its
    ``known_hosts_file``, or the files of Airflow's user. Without the setting, git's own configuration counts.

    :raises SettingsError: if the connection is missing or not usable for the repository.
    """
    name = app.connections.repository
    if name is None:
        yield OWN_CONFIGURATION
        return
    extra = get_connection(name).extra_dejson
    with _environment, ExitStack() as held:
        with usable_connection(name):
            hook = _hook(name, app.repository, extra)
            if lines := extra.get("known_hosts"):
                file = held.enter_context(NamedTemporaryFile("w", encoding="utf-8"))
                file.write(f"{str(lines).strip()}\n")
                file.flush()
                hook.known_hosts_file = file.name
            _enter(hook, held)
        for secret in (secrets := _secrets(hook)):
            mask_secret(secret)
        environment = dict(hook.env)
        if "GIT_SSH_COMMAND" in environment:
            environment["GIT_SSH_COMMAND"] += f" {SSH_OPTIONS} {_ssh_options(hook, bool(lines))}"
        yield Access(name, environment, secrets)


def _hook(name: str, repository: str, extra: dict[str, Any]) -> GitHook:
    """Return the provider's hook for a repository.

    :raises SettingsError: if its credentials are none for the repository's protocol, or would not be safe.
    """
    # Imported here: no other task needs the provider.
    from airflow.providers.git.hooks.git import GitHook

    checking = extra.get("strict_host_key_checking", "yes")
    if checking != "yes":
        raise SettingsError(
            f"the Airflow connection {name!r} sets strict_host_key_checking to {checking!r}, but an unknown "
            "host key is always refused; remove it, and put the forge's key into known_hosts"
        )
    with warnings.catch_warnings():
        # About the default of that option, which is set below.
        warnings.simplefilter("ignore")
        hook = GitHook(name, repo_url=repository)
    hook.strict_host_key_checking = "yes"
    if hook.private_key:
        # OpenSSH does not read a key without the end of its last line.
        hook.private_key = f"{hook.private_key.strip()}\n"
    if repository.startswith("http://") and (hook.auth_token or hook.uses_github_app_auth):
        raise SettingsError(
            f"the Airflow connection {name!r} has a token, which would be sent to {repository} unencrypted; "
            "use its https:// address"
        )
    if repository.startswith("https://"):
        if not hook.auth_token and not hook.uses_github_app_auth:
            raise SettingsError(
                f"the Airflow connection {name!r} has no password; store a token there, or the private_key, "
                "github_app_id and github_installation_id of a GitHub App in its extra"
            )
    elif not repository.startswith("http://") and not hook.private_key and not hook.key_file:
        raise SettingsError(
            f"the Airflow connection {name!r} has no private_key in its extra, and {repository} is read over "
            "SSH; store a deploy key there"
        )
    return hook


def _enter(hook: GitHook, held: ExitStack) -> None:
    """Have the hook make what git needs; a GitHub App's token is fetched here.

    :raises ValueError: in one line, if that fails.
    """
    try:
        held.enter_context(hook.configure_hook_env())
    except Exception as error:
        if not hook.uses_github_app_auth:
            raise
        # GitHub's library, the one for tokens, and the one for requests have errors of their own.
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ValueError(f"GitHub gives no token for the App: {type(error).__name__}: {reason}") from None


def _secrets(hook: GitHook) -> tuple[str, ...]:
    """Return the texts of a connection that must not be shown."""
    login = f"{hook.user_name}:{hook.auth_token}" if hook.auth_token else ""
    found = (hook.auth_token, login, hook.private_key, hook.private_key_passphrase)
    return tuple(secret for secret in found if secret)


def _ssh_options(hook: GitHook, has_known_hosts: bool) -> str:
    # A passphrase is asked for by ssh itself, and must not be given to a server as a password.
    options = "-o PreferredAuthentications=publickey"
    if not hook.private_key_passphrase:
        options += " -o BatchMode=yes"
    return f"{options} -o GlobalKnownHostsFile=/dev/null" if has_known_hosts else options
