"""Certificates that Airflow delivers: as files, to the running HAProxy, and as clients see them."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from agent.call import Call
from agent.fields import text, words
from agent.protocol import AgentError, Code, Json
from agent.proxy.haproxy import Haproxy
from agent.proxy.machine import Proxy
from agent.proxy.messages import CertificatesAnswer, DeliveredCertificate
from agent.proxy.traffic_map import TrafficMap
from agent.proxy.unprivileged import AS_HAPROXY
from agent.system import alert, sync_directory

MOST_CERTIFICATES, MOST_NAMES, LARGEST_PEM = 20, 100, 64 << 10
NAME, HOST_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", r"[a-z0-9*][a-z0-9.-]{0,252}"
THUMBPRINT = r"[A-Za-z0-9_-]{43}"
# Seconds for one handshake, and until HAProxy serves all that it has taken.
HANDSHAKE_WAIT, SERVED_WAIT = 3.0, 5.0
GROUP = "haproxy"


@dataclass(frozen=True)
class WantedCertificate:
    """A certificate as it is to be: its name, the text of its file, and the host names it is for."""

    name: str
    pem: str
    host_names: tuple[str, ...]

    @property
    def own(self) -> bytes:
        """The certificate itself, without its issuers."""
        found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", self.pem, re.DOTALL)
        return ssl.PEM_cert_to_DER_cert(found[0]) if found else b""


def deliver_certificates(call: Call, request: Json) -> CertificatesAnswer:
    """Put certificates in place, let the running HAProxy serve them, and see what clients get.

    HAProxy takes one through its runtime API if its configuration names the file, and without a reload unless
    the text is too long for that.

    Request: ``token``; ``certificates``, each with ``name``, ``pem`` (certificate, issuers, key) and
    ``host_names``; ``thumbprint``, of the account with the certificate authority, or null.
    Answer: ``messages.CertificatesAnswer``. Codes: ``lock_lost``, ``bad_request``; ``certificate_refused``
    (the old certificate is back); ``failed`` if a file cannot be written: then nothing was changed.
    Killed anywhere, each file is the old or the new one, and HAProxy serves one of them; the same request
    again finds out, and finishes.
    """
    proxy = Proxy.to_change(call, request)
    proxy.lock_store.require(request)
    wanted = _wanted_in(request)
    thumbprint = text(request, "thumbprint", THUMBPRINT) if request.get("thumbprint") else None
    files = CertificateFiles(call.paths.certificates)
    running = RunningCertificates(proxy)
    try:
        for one in wanted:
            # A full disk, or a key of another certificate, is noticed before anything is replaced.
            files.prepare(one)
        changed = {one.name: _replace(one, files, running) for one in wanted}
    finally:
        for one in wanted:
            files.discard(one.name)
    loaded = [one for one in wanted if running.has(files.path(one.name))]
    served = running.served(loaded)
    return {
        "certificates": {
            one.name: DeliveredCertificate(
                changed=changed[one.name], loaded=one in loaded, served=served.get(one.name, {})
            )
            for one in wanted
        },
        "reloaded": running.reloaded,
        "answers_challenges": _answers_challenges(call, thumbprint) if thumbprint else None,
    }


def _replace(wanted: WantedCertificate, files: CertificateFiles, running: RunningCertificates) -> bool:
    """Let a prepared file take the place of the old one, in HAProxy, too; return whether it differs."""
    path = files.path(wanted.name)
    # HAProxy may have refused what a killed call has put there.
    files.restore(wanted.name)
    changed = files.read(wanted.name) != wanted.pem
    if changed:
        files.install(wanted.name)
    try:
        if running.has(path) and (changed or not running.is_current(path, wanted)):
            running.take(path, wanted)
    except (AgentError, OSError) as error:
        is_back = files.restore(wanted.name)
        if isinstance(error, OSError):
            raise
        back = "the old one serves" if is_back else "it is the same file as before"
        raise AgentError(error.code, f"certificate {wanted.name}: {error}; {back}") from None
    files.forget(wanted.name)
    return changed


class CertificateFiles:
    """The files that Airflow delivers, readable for root and for HAProxy only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        """Return where a certificate is."""
        return self.directory / f"{name}.pem"

    def read(self, name: str) -> str | None:
        """Return what is there."""
        try:
            return self.path(name).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None

    def prepare(self, wanted: WantedCertificate) -> None:
        """Write the new file beside the old one.

        :raises AgentError: if certificate and key do not belong together.
        :raises OSError: if it cannot be written.
        """
        self._make_directory()
        path = self._prepared(wanted.name)
        try:
            # Nobody else may read it at any moment.
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
                file.write(wanted.pem)
                file.flush()
                self._share(file.fileno(), 0o640)
                os.fsync(file.fileno())
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # Without a word to answer with, OpenSSL would ask the terminal for the password of a key.
            context.load_cert_chain(path, password=lambda: "-")
        except (OSError, ValueError) as error:
            path.unlink(missing_ok=True)
            if not isinstance(error, (ssl.SSLError, ValueError)):
                raise
            reason = getattr(error, "reason", None) or type(error).__name__
            message = f"certificate {wanted.name} and its key are not usable ({reason}); nothing was changed"
            raise AgentError(Code.CERTIFICATE_REFUSED, message) from None

    def install(self, name: str) -> None:
        """Let the prepared file take the place of the old one, which is kept beside it."""
        with contextlib.suppress(FileNotFoundError):
            os.link(self.path(name), self._old(name))
        self._prepared(name).replace(self.path(name))
        sync_directory(self.directory)

    def restore(self, name: str) -> bool:
        """Put the old file back if one is kept, which needs no room; return whether there was one."""
        try:
            self._old(name).replace(self.path(name))
        except FileNotFoundError:
            return False
        # Where both names were the same file still, a rename does nothing.
        self.forget(name)
        sync_directory(self.directory)
        return True

    def forget(self, name: str) -> None:
        """Remove the old file."""
        self._old(name).unlink(missing_ok=True)

    def discard(self, name: str) -> None:
        """Remove the prepared file."""
        self._prepared(name).unlink(missing_ok=True)

    def _prepared(self, name: str) -> Path:
        # HAProxy leaves out names that begin with a dot when it reads a directory.
        return self.directory / f".{name}.pem.new"

    def _old(self, name: str) -> Path:
        return self.directory / f".{name}.pem.old"

    def _make_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._share(descriptor, 0o750)
        finally:
            os.close(descriptor)

    @staticmethod
    def _share(descriptor: int, mode: int) -> None:
        """Let HAProxy's group read it, which has no other members; without that group, only its owner."""
        try:
            os.fchown(descriptor, -1, grp.getgrnam(GROUP).gr_gid)
        except (KeyError, PermissionError):
            mode &= 0o700
        os.fchmod(descriptor, mode)


class RunningCertificates:
    """The certificates that the running HAProxy serves; ``reloaded`` is whether it had to be reloaded."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.haproxy: Haproxy = proxy.haproxy
        self.reloaded = False

    def has(self, path: Path) -> bool:
        """Whether HAProxy's configuration names a file."""
        return str(path) in self.haproxy.ask("show ssl cert").splitlines()

    def is_current(self, path: Path, wanted: WantedCertificate) -> bool:
        """Whether HAProxy serves a certificate already, and not that of a file from before."""
        shown = self.haproxy.ask(f"show ssl cert {path}")
        found = re.search(r"^SHA1 FingerPrint: ([0-9A-F]{40})", shown, re.MULTILINE)
        fingerprint = hashlib.sha1(wanted.own, usedforsecurity=False).hexdigest().upper()
        return found is not None and found[1] == fingerprint

    def take(self, path: Path, wanted: WantedCertificate) -> None:
        """Let HAProxy serve a certificate whose file is in place.

        :raises AgentError: if it does not; then it serves the old one.
        """
        self._end_transaction()
        # Success is said in words: management guide, 9.3, "set ssl cert" and "commit ssl cert".
        refusal = self._refusal(f"set ssl cert {path} <<\n{wanted.pem}", "Transaction ")
        if refusal is None:
            refusal = self._refusal(f"commit ssl cert {path}", "Success!")
        if refusal is not None:
            self._end_transaction()
            self._reload(refusal)

    def _refusal(self, command: str, success: str) -> str | None:
        """Return why HAProxy refuses a command, or None."""
        answer = self.haproxy.ask(command)
        return None if success in answer else " ".join(answer.split())[:300] or "no answer"

    def _end_transaction(self) -> None:
        """End what a killed call, or a person, has begun: HAProxy knows one transaction at a time."""
        for line in self.haproxy.ask("show ssl cert").splitlines():
            if line.startswith("*"):
                self.haproxy.ask(f"abort ssl cert {line[1:].strip()}")

    def _reload(self, refusal: str) -> None:
        """Let HAProxy read the file instead: its runtime API takes no text that is longer than a buffer."""
        configuration, paths = self.proxy.configuration, self.proxy.paths
        config = paths.config.read_bytes()
        if configuration.running_digest() is None or not paths.map.exists():
            raise AgentError(Code.CERTIFICATE_REFUSED, f"HAProxy does not take it: {refusal}")
        check = (*AS_HAPROXY, "haproxy", "-c", "-f", str(paths.config))
        status, output = self.proxy.haproxy.deadline.run(*check)
        if status != 0:
            raise AgentError(Code.CERTIFICATE_REFUSED, f"HAProxy does not take it: {alert(output)}")
        expected = TrafficMap.parse(paths.map.read_text(encoding="ascii"))
        configuration.load(config, expected)
        self.reloaded = True

    def served(self, wanted: list[WantedCertificate]) -> dict[str, dict[str, str | None]]:
        """Return what a client gets for each host name, as soon as all of that is wanted; by certificates.

        All names share one wait: another certificate may be for the same name, for good.
        """
        expected = [
            (one, host, hashlib.sha256(one.own).hexdigest()) for one in wanted for host in one.host_names
        ]
        found: dict[str, dict[str, str | None]] = {one.name: dict.fromkeys(one.host_names) for one in wanted}

        def are_served() -> bool | None:
            for one, host, digest in expected:
                if found[one.name][host] == digest:
                    continue
                found[one.name][host] = shown = self._shown(host)
                if shown is None:
                    # Nobody answers, and would not answer for the other names either.
                    return None
            return True if all(found[one.name][host] == digest for one, host, digest in expected) else None

        self.haproxy.deadline.wait_for(SERVED_WAIT, are_served)
        return found

    def _shown(self, host_name: str) -> str | None:
        """Return the SHA-256 of the certificate in a handshake; None if there was none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Who has issued it, and for how long, was checked by whoever delivers it.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        address = ("127.0.0.1", self.proxy.paths.https_port)
        seconds = self.haproxy.deadline.left(HANDSHAKE_WAIT)
        asked = host_name.replace("*", "any", 1)
        try:
            with (
                socket.create_connection(address, seconds) as connection,
                context.wrap_socket(connection, server_hostname=asked) as secure,
            ):
                return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
        except (OSError, ValueError):
            return None


def _answers_challenges(call: Call, thumbprint: str) -> bool:
    """Whether HAProxy answers a certificate authority's challenges, whatever their token."""
    token = secrets.token_urlsafe(32)
    seconds = call.deadline.left(HANDSHAKE_WAIT)
    connection = HTTPConnection("127.0.0.1", call.paths.http_port, timeout=seconds)
    with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
        connection.request("GET", f"/.well-known/acme-challenge/{token}")
        return connection.getresponse().read(200) == f"{token}.{thumbprint}".encode()
    return False


def _wanted_in(request: Json) -> list[WantedCertificate]:
    """Return the certificates of a request.

    :raises AgentError: with the code ``bad_request``.
    """
    found = request.get("certificates")
    if not isinstance(found, list) or len(found) > MOST_CERTIFICATES:
        raise AgentError(Code.BAD_REQUEST, f"certificates: they are no list of at most {MOST_CERTIFICATES}")
    wanted = []
    for one in found:
        if not isinstance(one, dict):
            raise AgentError(Code.BAD_REQUEST, "certificates: one of them is no object")
        host_names = words(one, "host_names")
        if len(host_names) > MOST_NAMES or not all(re.fullmatch(HOST_NAME, name) for name in host_names):
            raise AgentError(Code.BAD_REQUEST, "certificates: its host names are not usable")
        # The text is not shown: it has a key.
        pem = one.get("pem")
        if (
            not isinstance(pem, str)
            or not re.fullmatch(r"(?:[!-~ ]+\n){1,2000}", pem)
            or len(pem) > LARGEST_PEM
        ):
            raise AgentError(Code.BAD_REQUEST, "certificates: pem is no text of lines without empty ones")
        wanted.append(WantedCertificate(text(one, "name", NAME), pem, tuple(host_names)))
    return wanted
