"""Where certificates and their private keys are: Airflow's Variables, and connections.

Airflow encrypts both in its database with its Fernet key, and hides them in its pages, because their names
contain ``private_key``. They are never in an XCom, a log or a command line.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.log import mask_secret

from bluegreen.errors import BlueGreenError, SettingsError
from bluegreen.hooks.connection import get_connection
from bluegreen.settings.tls import ChallengeKind
from bluegreen.traffic.acme import new_key, thumbprint
from bluegreen.traffic.certificates import KeyedCertificate

if TYPE_CHECKING:
    from bluegreen.settings.app import App
    from bluegreen.settings.tls import CertificateSettings, TlsSettings

_log = logging.getLogger(__name__)

# The keys in the extra of a certificate's connection.
CERTIFICATE, PRIVATE_KEY = "certificate", "private_key"


@dataclass(frozen=True)
class ObtainedCertificate:
    """A certificate that came by ACME, and the URL of the directory that it is from."""

    directory: str
    certificate: KeyedCertificate


@dataclass(frozen=True)
class HeldCertificates:
    """What Airflow has of the certificates that it delivers, by name.

    :param certificates: those that can be read.
    :param problems: why one cannot be sent: it cannot be read, or clients would refuse it.
    """

    certificates: dict[str, KeyedCertificate]
    problems: dict[str, str]

    @property
    def usable(self) -> dict[str, KeyedCertificate]:
        """Those that may be sent."""
        return {name: one for name, one in self.certificates.items() if name not in self.problems}


class CertificateStore:
    """The certificates of one app that Airflow delivers to its proxies.

    :param app: the app; its settings have ``traffic.tls``.
    """

    def __init__(self, app: App, tls: TlsSettings) -> None:
        self.app, self.tls = app, tls

    @classmethod
    def of(cls, app: App) -> CertificateStore | None:
        """Return the store of an app, or ``None`` if it has no ``traffic.tls``."""
        return cls(app, app.traffic.tls) if app.traffic.tls else None

    @property
    def asks_dns(self) -> bool:
        """Whether the certificate authority asks the DNS, and not the proxies."""
        return self.tls.acme is not None and self.tls.acme.challenge is ChallengeKind.DNS

    def account_key(self) -> str | None:
        """Return the private key of the account with the certificate authority, in PEM, if there is one."""
        return _variable(self._account_variable)

    def made_account_key(self) -> str:
        """Return that key, which is made if there is none."""
        found = self.account_key()
        if found is None:
            found = new_key()
            _set_variable(self._account_variable, found, f"{self.app.id}: ACME account")
        return found

    def thumbprint(self) -> str | None:
        """Return the digest of the account's key, if there is one and HAProxy answers challenges by it."""
        key = self.account_key() if self.tls.ordered and not self.asks_dns else None
        return thumbprint(key) if key else None

    def held(self, *, former: bool = False) -> HeldCertificates:
        """Return what Airflow has of the certificates that it delivers.

        :param former: whether to include those of names that the settings had before, while one by ACME is
            not there.
        """
        found: dict[str, KeyedCertificate] = {}
        problems: dict[str, str] = {}
        wanted = {one.name: one for one in self.tls.certificates if one.name}
        for name, settings in wanted.items():
            try:
                one = self.certificate(settings)
            except BlueGreenError as error:
                problems[name] = str(error)
                continue
            if one is not None:
                found[name] = one
        if former and len(found) + len(problems) < len(wanted):
            found.update(self._former(wanted))
        now = datetime.now(UTC)
        for name, one in found.items():
            if why := one.why_unusable(now):
                source = "connection " if name in wanted and wanted[name].connection else ""
                problems[name] = f"{source}{name!r}: {why}; it was not delivered"
        usable = HeldCertificates(found, problems).usable
        if (host := self._uncovered_host(usable.values())) is not None:
            for name in usable:
                if name in wanted and wanted[name].connection:
                    problems[name] = (
                        f"connection {name!r} is for {', '.join(found[name].names[:5]) or 'no name'}, and no "
                        f"certificate of traffic.tls is for {host} of public_url; it was not delivered"
                    )
        return HeldCertificates(found, problems)

    def _uncovered_host(self, usable: Iterable[KeyedCertificate]) -> str | None:
        """Return the host of ``public_url`` if clients would be shown a certificate that is not for it.

        What is at a ``path`` is not known here, and a CDN may take any certificate.
        """
        traffic = self.app.traffic
        host = urlsplit(traffic.public_url).hostname if traffic.public_url and traffic.https else None
        names = {name for one in self.tls.ordered for name in one.acme or ()}
        if (
            host is None
            or not re.search("[a-z]", host.rpartition(".")[2])
            or traffic.trusted_proxies
            or not {host, f"*.{host.partition('.')[2]}"}.isdisjoint(names)
            or any(one.path for one in self.tls.certificates)
            or any(one.is_for(host) for one in usable)
        ):
            return None
        return host

    def certificate(self, settings: CertificateSettings) -> KeyedCertificate | None:
        """Return one certificate, or ``None`` if it was not obtained yet, or Airflow does not deliver it.

        :raises BlueGreenError: if its connection, or what is kept, holds none.
        """
        if settings.connection:
            return self._connected(settings.connection)
        kept = self.obtained(settings)
        return kept.certificate if kept else None

    def obtained(self, settings: CertificateSettings) -> ObtainedCertificate | None:
        """Return a certificate that came by ACME, if there is one.

        :raises BlueGreenError: if what is kept is none.
        """
        return _kept(f"{self._prefix}{settings.name}") if settings.acme else None

    def keep(self, settings: CertificateSettings, certificate: KeyedCertificate) -> None:
        """Keep a certificate that came by ACME."""
        assert self.tls.acme is not None  # noqa: S101
        value = json.dumps({"directory": self.tls.acme.directory, "pem": certificate.pem})
        description = f"{self.app.id}: certificate until {certificate.ends:%Y-%m-%d}"
        _set_variable(f"{self._prefix}{settings.name}", value, description)

    def _former(self, wanted: Collection[str]) -> dict[str, KeyedCertificate]:
        """Return the certificates that are kept under other names than the wanted ones."""
        found = {}
        try:
            for variable in sorted(Variable.keys(prefix=self._prefix)):
                name = variable.removeprefix(self._prefix)
                if name not in wanted and (before := _kept(variable)):
                    found[name] = before.certificate
        except (BlueGreenError, AirflowRuntimeError) as error:
            # Where the proxies have them, they are served all the same.
            _log.warning("certificates of former names are not sent: %s", error)
        return found

    @property
    def _prefix(self) -> str:
        return f"bluegreen_certificate_private_key__{self.app.id}__"

    @property
    def _account_variable(self) -> str:
        return f"bluegreen_acme_private_key__{self.app.id}"

    def _connected(self, connection: str) -> KeyedCertificate:
        extra = get_connection(connection).extra_dejson
        texts = [extra.get(key) for key in (CERTIFICATE, PRIVATE_KEY)]
        if not all(isinstance(text, str) and text for text in texts):
            raise SettingsError(
                f"the extra of connection {connection!r} needs {CERTIFICATE} and {PRIVATE_KEY}, both in PEM"
            )
        return KeyedCertificate.parse("\n".join(map(str, texts)), f"connection {connection!r}")


class VariableUnreadableError(BlueGreenError):
    """Airflow has a Variable, or may have it, and does not return it."""

    transient = True


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except AirflowRuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise VariableUnreadableError(f"Airflow's Variable {name} is not usable: {reason[:300]}") from None


def _variable(name: str) -> str | None:
    with _explained(name):
        value: Any = Variable.get(name, default=None)
        # Airflow takes an API server that cannot answer for a Variable that does not exist. HAProxy would be
        # configured without certificates then.
        if value is None and name in list(Variable.keys(prefix=name)):
            raise VariableUnreadableError(f"Airflow's Variable {name} cannot be read at the moment")
    if value is None:
        return None
    mask_secret(str(value))
    return str(value)


def _kept(name: str) -> ObtainedCertificate | None:
    """Return the certificate in a Variable, if there is one."""
    if (text := _variable(name)) is None:
        return None
    source = f"the Variable {name}"
    try:
        kept = json.loads(text)
        directory, pem = str(kept["directory"]), str(kept["pem"])
    except (ValueError, KeyError, TypeError):
        raise BlueGreenError(
            f"{source} is not usable; delete it, and run bluegreen_certificates__<app> before any deploy"
        ) from None
    return ObtainedCertificate(directory, KeyedCertificate.parse(pem, source))


def _set_variable(name: str, value: str, description: str) -> None:
    mask_secret(value)
    with _explained(name):
        Variable.set(name, value, description=description)
