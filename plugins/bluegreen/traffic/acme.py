"""Certificates by ACME (RFC 8555), with the library of certbot.

Challenges of the kind http-01 are answered by HAProxy without being told of any: the answer to a token is the
token and the thumbprint of the account's key, which stands in its configuration. Those of the kind dns-01 are
answered by TXT records, which somebody publishes for the time of an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from bluegreen.errors import BlueGreenError
from bluegreen.traffic.bounded_answers import BoundedAnswers
from bluegreen.traffic.certificates import KeyedCertificate
from bluegreen.traffic.good_answer import one_line

if TYPE_CHECKING:
    from acme import client, messages
    from josepy import jwk

    from bluegreen.settings.tls import AcmeSettings

# Seconds for one answer of the certificate authority, for a whole order, and for one look at it: a pause that
# the authority asks for may be longer than the lease of the app's lock.
ANSWER_SECONDS, ORDER_SECONDS, LOOK_SECONDS = 20, 120, 15
USER_AGENT = "bluegreen (Airflow)"
LONGEST_REASON = 300
# Lets the DNS answer TXT records, each a full name and a value, as long as a block runs.
Publish = Callable[[Iterable[tuple[str, str]]], AbstractContextManager[None]]


class AcmeError(BlueGreenError):
    """The certificate authority did not issue a certificate."""


def new_key() -> str:
    """Return a new private key in PEM, of the kind P-256, which every authority and client takes."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def thumbprint(account_key: str) -> str:
    """Return what an answer to a challenge ends with (RFC 8555, 8.1).

    :param account_key: in PEM.
    """
    from josepy import b64

    return b64.b64encode(_jwk(account_key).thumbprint()).decode()


def order(
    settings: AcmeSettings,
    account_key: str,
    names: Sequence[str],
    keep_alive: Callable[[], None],
    publish: Publish | None = None,
) -> KeyedCertificate:
    """Obtain a certificate for some names, with a new key.

    :param account_key: in PEM; an account is made with it if there is none.
    :param keep_alive: called after each answer of the authority, and during its pauses.
    :param publish: lets the DNS answer TXT records, by their full names and values, for challenges of the
        kind dns-01; ``None`` for http-01.
    :raises AcmeError: with the certificate authority's own reason, in one line.
    """
    from acme import crypto_util

    what = f"no certificate for {', '.join(names)} from {settings.directory}"
    key = new_key()
    with _explained(what):
        acme = _client(settings, account_key, keep_alive)
        found = acme.new_order(crypto_util.make_csr(key.encode(), list(names)))
        chosen = list(_challenges(found, is_dns=publish is not None))
        records = [_record(acme, one, body) for one, body in chosen] if publish else []
        with publish(records) if publish and records else nullcontext():
            for _, body in chosen:
                acme.answer_challenge(body, body.response(acme.net.key))
            # The library compares with the local time of day.
            deadline = datetime.now() + timedelta(seconds=ORDER_SECONDS)
            found = acme.poll_authorizations(found, deadline)
        found = _finalized(acme, found, deadline, keep_alive)
    issued = KeyedCertificate.parse(f"{found.fullchain_pem}\n{key}", what)
    if not issued.covers(names):
        raise AcmeError(f"{what}: it issued one for {', '.join(issued.names) or 'no name'}")
    return issued


def _jwk(account_key: str) -> jwk.JWK:
    from josepy import jwk

    return jwk.JWK.load(account_key.encode())


def _finalized(
    acme: client.ClientV2, found: messages.OrderResource, deadline: datetime, keep_alive: Callable[[], None]
) -> messages.OrderResource:
    """Return an order with its certificate."""
    from acme import errors

    look: Callable[[messages.OrderResource, datetime], messages.OrderResource] = acme.finalize_order
    while True:
        try:
            return look(found, min(deadline, datetime.now() + timedelta(seconds=LOOK_SECONDS)))
        except errors.TimeoutError:
            if datetime.now() >= deadline:
                raise
        keep_alive()
        look = acme.poll_finalization


def _client(settings: AcmeSettings, account_key: str, keep_alive: Callable[[], None]) -> client.ClientV2:
    """Return a client that is logged in, with an account that is there from then on."""
    from acme import client, errors, messages
    from josepy import jwa

    net = client.ClientNetwork(
        _jwk(account_key),
        alg=jwa.ES256,
        # The library hands it to requests, which takes a file's path, too.
        verify_ssl=cast(bool, settings.ca_file or True),
        user_agent=USER_AGENT,
        timeout=ANSWER_SECONDS,
    )
    answers = BoundedAnswers()
    net.session.mount("https://", answers)
    net.session.mount("http://", answers)
    net.session.hooks["response"].append(lambda *_, **__: keep_alive())
    acme = client.ClientV2(client.ClientV2.get_directory(settings.directory, net), net)
    wanted = messages.NewRegistration.from_data(email=settings.email, terms_of_service_agreed=True)
    try:
        acme.new_account(wanted)
    except errors.ConflictError as known:
        acme.net.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
    return acme


def _challenges(
    found: messages.OrderResource, *, is_dns: bool
) -> Iterator[tuple[str, messages.ChallengeBody]]:
    """Return a challenge for every name that the authority does not trust already, with the name."""
    from acme import challenges, messages

    kind = challenges.DNS01 if is_dns else challenges.HTTP01
    for authorization in found.authorizations:
        if authorization.body.status == messages.STATUS_VALID:
            continue
        name = authorization.body.identifier.value
        offered = [one for one in authorization.body.challenges if isinstance(one.chall, kind)]
        if not offered:
            raise AcmeError(f"it offers no {kind.typ} challenge for {name}")
        yield name, offered[0]


def _record(acme: client.ClientV2, name: str, body: messages.ChallengeBody) -> tuple[str, str]:
    """Return the full name and the value of the TXT record that answers a challenge."""
    return body.validation_domain_name(name), body.validation(acme.net.key)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    import requests
    from acme import errors, messages

    try:
        yield
    except BlueGreenError as error:
        raise AcmeError(f"{what}: {error}") from None
    except errors.ValidationError as error:
        raise AcmeError(f"{what}: {_validation(error)}") from None
    except errors.TimeoutError:
        raise AcmeError(f"{what}: it has not decided within {ORDER_SECONDS} s") from None
    except messages.Error as error:
        raise AcmeError(f"{what}: {_short(error.detail or error.typ or error)}") from None
    except requests.RequestException as error:
        raise AcmeError(f"{what}: it cannot be asked: {_short(error)}") from None
    except (errors.Error, ValueError, KeyError, TypeError) as error:
        raise AcmeError(f"{what}: {_short(error) or type(error).__name__}") from None


def _validation(error: object) -> str:
    """Return why names were not validated, each with the authority's reason."""
    reasons = []
    for authorization in error.failed_authzrs:  # type: ignore[attr-defined]
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                detail = challenge.error.detail or challenge.error.typ
                reasons.append(f"{authorization.body.identifier.value}: {_short(detail)}")
    return "; ".join(reasons) or "a name was not validated"


def _short(reason: object) -> str:
    return one_line(" ".join(str(reason).split()), LONGEST_REASON)
