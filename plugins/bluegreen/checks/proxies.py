"""Checks of the proxies, and of the traces of earlier runs there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509

from bluegreen.checks.facts import Certificate, Facts, version_of
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.settings.app import App
from bluegreen.traffic.agent_answers import utc
from bluegreen.traffic.certificates import ALARMED_SHARE, DIRECTORY, WARNED_SHARE, renewed_before
from bluegreen.traffic.live import DisagreementError, live_color
from bluegreen.traffic.obstacles import gradual_shift, no_haproxy

# The first version with an option that lets clients keep their connections through a reload.
FULL_VERSION = (2, 6)


def answering(facts: Facts) -> Iterator[Finding]:
    """Every proxy can be asked, and has an HAProxy that is new enough."""
    for name, status in facts.statuses.items():
        if isinstance(status, BlueGreenError):
            yield error(name, str(status), "which color is live is not known until then")
            continue
        version_text, version = status.haproxy.version, version_of(status)
        if problem := no_haproxy(status):
            yield error(name, problem, "install haproxy")
        elif version is not None and version < FULL_VERSION:
            yield warning(
                name,
                f"HAProxy {version_text} has no idle-close-on-response, so connections are not kept alive",
                f"upgrade to {'.'.join(map(str, FULL_VERSION))} or later",
            )


def running(facts: Facts) -> Iterator[Finding]:
    """HAProxy runs on every proxy. A deploy starts it again."""
    for name, status in facts.readable.items():
        if version_of(status) is not None and not status.haproxy.running:
            yield error(
                name, "HAProxy does not run", "run systemctl start haproxy there, and read its journal"
            )


def unprivileged(facts: Facts) -> Iterator[Finding]:
    """HAProxy has no root's rights: what stands in its configuration could use them."""
    for name, status in facts.readable.items():
        if status.haproxy.root:
            yield warning(
                f"{name} haproxy.service",
                "HAProxy still runs as root, because it was started before the last deploy",
                "restart it, or the proxy, at a quiet moment: new connections are refused for half a second",
            )


def agreement(facts: Facts) -> Iterator[Finding]:
    """All proxies send traffic to the same color."""
    if facts.chosen is not None:
        return
    try:
        live_color(facts.readable)
    except DisagreementError as disagreement:
        yield error("proxies", str(disagreement), "no deploy starts until this is fixed")
    except ProxyError:
        return


def gradual(facts: Facts) -> Iterator[Finding]:
    """The idle color has no share of the traffic, so it may be touched."""
    if facts.idle and (problem := gradual_shift(facts.idle, facts.readable.values())):
        yield error("proxies", problem, "no deploy starts until this is fixed")


def configuration(facts: Facts) -> Iterator[Finding]:
    """HAProxy accepts the configuration that a deploy would install."""
    if isinstance(facts.config, BlueGreenError):
        yield error("haproxy.cfg", str(facts.config), "no deploy starts until this is fixed")
    usable = {name for name, status in facts.readable.items() if version_of(status)}
    for droplet, proxy in facts.read_proxies():
        if proxy.config_error and droplet.name in usable:
            yield error(
                droplet.name,
                f"HAProxy refuses the configuration that a deploy would install: {proxy.config_error}",
                "correct the settings under `traffic`, or what they name on the proxy",
            )
        if proxy.unit.UnitFileState not in ("enabled", ""):
            yield warning(
                droplet.name,
                f"HAProxy is {proxy.unit.UnitFileState} at boot",
                "run systemctl enable haproxy there",
            )


def certificate(facts: Facts) -> Iterator[Finding]:
    """Each certificate exists and is valid for a while; clients refuse an expired one."""
    now = datetime.fromtimestamp(facts.taken_at, UTC)
    for droplet, proxy in facts.read_proxies():
        for path, found in proxy.certificates.items():
            yield from _certificate(facts.app, droplet.name, path, found, now)


def _certificate(app: App, subject: str, path: str, found: Certificate, now: datetime) -> Iterator[Finding]:
    is_delivered = path.startswith(f"{DIRECTORY}/")
    renew = f"run bluegreen_certificates__{app.id}, and read why it fails" if is_delivered else "renew it"
    if found.error and is_delivered:
        # The deploy goes on without, and the run that delivers it may be about to begin.
        yield warning(subject, f"{path}: {found.error}", renew)
        return
    if found.error:
        yield error(subject, f"{path}: {found.error}", "put a PEM file with certificate and key there")
        return
    try:
        first = x509.load_pem_x509_certificates(found.pem.encode())[0]
    except ValueError:
        yield error(subject, f"{path} holds no readable certificate", "put the PEM file there")
        return
    begins, ends = first.not_valid_before_utc, first.not_valid_after_utc
    when, left, in_time = f"{ends:%Y-%m-%d}", ends - now, renewed_before(begins, ends)
    if begins > now:
        yield error(subject, f"the certificate {path} is not valid before {begins:%Y-%m-%d}", "replace it")
    elif ends < now:
        yield error(subject, f"the certificate {path} expired on {when}", renew)
    elif left < in_time * WARNED_SHARE:
        severity = error if left < in_time * ALARMED_SHARE else warning
        yield severity(subject, f"the certificate {path} expires in {left.days} days, on {when}", renew)


def unfinished(facts: Facts) -> Iterator[Finding]:
    """No run is at work, and none has left a lock or an unconfirmed switch."""
    for name, status in facts.readable.items():
        if status.lock is not None and status.lock.until > status.now:
            lock = status.lock
            yield warning(
                name,
                f"{lock.run_id} ({lock.owner}, {lock.ref}) holds the lock since {utc(lock.since)}",
                "a deploy would wait for its end",
            )
        if status.pending is not None:
            pending = status.pending
            yield warning(
                name,
                f"{pending.run_id} has switched to {pending.to} and has not confirmed it",
                f"the switch reverts at {utc(pending.deadline)}",
            )
        if (kept := status.confirmed) and kept.color is status.live and not kept.judged:
            yield warning(
                name,
                f"{kept.color} has {kept.revision[:12]}, which was not found good; traffic stays on it: it "
                f"is irreversible: {kept.irreversible}",
                f"read the report of {kept.run_id}; deploy a fixed release",
            )
        if status.unacknowledged_revert:
            yield warning(
                name,
                str(status.unacknowledged_revert),
                "read that run's report; the next confirmed switch ends this warning",
            )
