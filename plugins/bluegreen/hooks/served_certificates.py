"""Which certificates HAProxy is to serve, and which of them Airflow sends: one rule for every run.

What clients would refuse, and what cannot be read, is never sent. Its path stays in the configuration if the
file is on the proxies: what serves now goes on serving.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.certificates import CertificateStore, HeldCertificates
from bluegreen.settings.tls import MOST_CERTIFICATES
from bluegreen.traffic.certificates import path_of

if TYPE_CHECKING:
    from bluegreen.settings.app import App
    from bluegreen.settings.tls import CertificateSettings
    from bluegreen.traffic.agent_answers import ProxyStatus
    from bluegreen.traffic.certificates import KeyedCertificate

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedCertificates:
    """What HAProxy's configuration has about certificates.

    :param to_send: the certificates that every proxy needs before it is given the configuration, by name.
    :param paths: what HAProxy serves, in the order of the settings: files, or directories of them.
    :param thumbprint: of the account whose challenges it answers; ``None`` if that is not known.
    """

    to_send: dict[str, KeyedCertificate]
    paths: tuple[str, ...]
    thumbprint: str | None


def served_certificates(app: App, statuses: Collection[ProxyStatus]) -> ServedCertificates | None:
    """Return what all proxies are to serve; ``None`` if the app has no ``traffic.tls``.

    :param statuses: of all proxies.
    :raises BlueGreenError: if a certificate is needed that a proxy lacks and that Airflow cannot send.
    """
    store = CertificateStore.of(app)
    if store is None:
        return None
    held = store.held(former=True)
    paths = _Paths(store, held, statuses).served()
    to_send = {name: one for name, one in held.usable.items() if path_of(name) in paths}
    return ServedCertificates(to_send, tuple(paths), _thumbprint(store))


def _thumbprint(store: CertificateStore) -> str | None:
    try:
        return store.thumbprint()
    except BlueGreenError as error:
        # Challenges are answered again from the next run of bluegreen_certificates__<app> on.
        _log.warning("HAProxy answers no challenges of the certificate authority: %s", error)
        return None


class _Paths:
    """The paths of the certificates that HAProxy serves."""

    def __init__(
        self, store: CertificateStore, held: HeldCertificates, statuses: Collection[ProxyStatus]
    ) -> None:
        self.store, self.held = store, held
        self.delivered = [set(one.certificates.delivered) for one in statuses]
        self.configured = [one.certificates.configured for one in statuses]
        self.is_complete = True

    def served(self) -> list[str]:
        """Return them.

        :raises BlueGreenError: if one is needed that a proxy lacks, or port 443 would be closed.
        """
        settings = self.store.tls.certificates
        paths = [path for one in settings if (path := self._path(one)) is not None]
        if not self.is_complete:
            # What was served before the settings changed is served until the successor is there.
            paths += [path_of(name) for name in self.held.usable]
            paths += [path for path in self._named() if self._is_everywhere(path)]
        if not paths and (named := self._named()):
            raise BlueGreenError(
                f"port 443 would be closed: Airflow has no certificate of traffic.tls, and {named[0]} is not "
                "on every proxy; copy that file to the proxy that lacks it, then run "
                f"bluegreen_certificates__{self.store.app.id}"
            )
        return list(dict.fromkeys(paths))[:MOST_CERTIFICATES]

    def _path(self, settings: CertificateSettings) -> str | None:
        """Return the path of one; ``None`` if it cannot be served yet."""
        name = settings.name
        if name is None:
            return settings.path
        path, problem = path_of(name), self.held.problems.get(name)
        if name in self.held.usable:
            return path
        if self._is_everywhere(path) and (problem or path in self._named()):
            _log.warning("%s; HAProxy goes on with %s", problem or f"Airflow has no {name}", path)
            return path
        if settings.connection or (problem and name not in self.held.certificates):
            raise BlueGreenError(f"{problem}; and not every proxy has {path}")
        # It was not obtained yet, or has expired, and the next run obtains it.
        self.is_complete = False
        return None

    def _is_everywhere(self, path: str) -> bool:
        """Whether every proxy has a file, as far as that is known."""
        both = zip(self.delivered, self.configured, strict=True)
        return bool(self.delivered) and all(path in files or path in named for files, named in both)

    def _named(self) -> list[str]:
        """Return what any proxy's HAProxy is configured with."""
        return list(dict.fromkeys(path for named in self.configured for path in named))
