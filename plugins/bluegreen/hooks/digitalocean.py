"""DigitalOcean's API as this project uses it, through pydo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from pydantic import ValidationError

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, public_addresses
from bluegreen.hooks.connection import get_connection

if TYPE_CHECKING:
    from pydo import Client

# The largest page that the API's description allows (parameter per_page).
PER_PAGE = 200
# A bound for lists that never end: 100 pages hold 20,000 droplets, more than any account has.
MOST_PAGES = 100

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 5


class DigitalOceanError(BlueGreenError):
    """DigitalOcean's API refused a request or failed; the text is one line for the user.

    :param transient: whether the same request may succeed later.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class DigitalOceanHook(BaseHook):
    """Droplets and keys of one DigitalOcean account.

    The connection's password is the API token; its host, if set, replaces DigitalOcean's endpoint, and its
    extra ``ca_file`` names the certificate authority to trust there.

    :param conn_id: the Airflow connection.
    """

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        self.conn_id = conn_id

    @cached_property
    def client(self) -> Client:
        """The pydo client; it never retries by itself.

        pydo repeats requests that create something after a 500 or 503, which makes twin droplets, and after a
        429 it sleeps for the whole Retry-After, which may be an hour. Airflow's task retries are used
        instead, where they are safe.
        """
        # Imported here, because at module level it would cost each parse of a DAG file 0.25 s and 68 MB.
        from azure.core.pipeline.policies import RetryPolicy
        from pydo import Client

        connection = get_connection(self.conn_id)
        if not connection.password:
            raise DigitalOceanError(
                f"connection {self.conn_id!r} has no password; store a DigitalOcean API token there",
                transient=False,
            )
        options: dict[str, Any] = {}
        if connection.host:
            options["endpoint"] = connection.host
        if ca_file := connection.extra_dejson.get("ca_file"):
            options["connection_verify"] = ca_file
        return Client(
            connection.password,
            retry_policy=RetryPolicy.no_retries(),
            connection_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            **options,
        )

    def droplets(self, tag: str) -> list[Droplet]:
        """Return every droplet with a tag.

        :raises DigitalOceanError: if the API fails, or its list is not complete.
        """
        items = list(self._list("droplets", self.client.droplets.list, tag_name=tag))
        with described("droplets"):
            several = any(len(public_addresses(item)) > 1 for item in items)
        reserved = self._reserved_addresses() if several else frozenset()
        return [self._droplet(item, reserved) for item in items]

    def is_name_taken(self, name: str) -> bool:
        """Return whether any droplet of the account has a name; DigitalOcean itself allows duplicates."""
        items = list(self._list("droplets", self.client.droplets.list, name=name))
        with described("droplets"):
            return any(item["name"] == name for item in items)

    def create_droplet(self, request: dict[str, Any]) -> Droplet:
        """Create one droplet; it is returned before it is ready, perhaps without addresses.

        :param request: the body of ``POST /v2/droplets``.
        :raises DigitalOceanError: after a transient error the droplet may exist: list before trying again.
        """
        answer = self._call(f"create droplet {request['name']}", self.client.droplets.create, body=request)
        return self._droplet(self._member(answer, "droplet", dict))

    def ssh_key_ids(self, wanted: list[str]) -> list[int]:
        """Return the ids of SSH keys in the account, by name or fingerprint.

        :raises DigitalOceanError: naming the keys that are missing.
        """
        keys = list(self._list("ssh_keys", self.client.ssh_keys.list))
        with described("ssh_keys"):
            by_name = {str(key[field]): int(key["id"]) for key in keys for field in ("name", "fingerprint")}
            known = ", ".join(sorted(str(key["name"]) for key in keys)) or "none"
        if missing := [name for name in wanted if name not in by_name]:
            raise DigitalOceanError(
                f"SSH keys not in the DigitalOcean account: {', '.join(missing)}; there are: {known}",
                transient=False,
            )
        return [by_name[name] for name in wanted]

    def _droplet(self, item: Any, reserved: Collection[str] = ()) -> Droplet:
        with described("droplets", item):
            return Droplet.from_api(item, reserved)

    def _reserved_addresses(self) -> frozenset[str]:
        """Return the account's reserved IPs; none if they cannot be read.

        Without them, a droplet's first public address counts as its own.
        """
        try:
            items = list(self._list("reserved_ips", self.client.reserved_ips.list))
            with described("reserved_ips"):
                return frozenset(str(item["ip"]) for item in items)
        except DigitalOceanError as error:
            self.log.warning(
                "a droplet has several public addresses, and which is a reserved IP cannot be read, so its "
                "first one is used: %s",
                error,
            )
            return frozenset()

    def _list(self, key: str, operation: Callable[..., Any], **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield every item over all pages.

        A list that is shorter than its own total, or has an item twice, is an error: something was created
        or deleted between two pages.
        """
        what = f"list {key}"
        seen: list[str] = []
        for page in range(1, MOST_PAGES + 1):
            answer = self._call(what, operation, per_page=PER_PAGE, page=page, **arguments)
            items = self._member(answer, key, list)
            total = self._member(self._member(answer, "meta", dict), "total", int)
            for item in items:
                if not isinstance(item, dict):
                    raise DigitalOceanError(
                        f"DigitalOcean ({what}) sent {str(item)[:80]!r} in place of one of the {key}",
                        transient=True,
                    )
                seen.append(str(item.get("id") or item.get("ip") or item.get("name") or len(seen)))
                yield item
            if len(seen) >= total or not items:
                break
        if len(seen) != total:
            raise DigitalOceanError(
                f"DigitalOcean ({what}) announced {total} and sent {len(seen)}; nothing was changed",
                transient=True,
            )
        if twice := [one for one, count in Counter(seen).items() if count > 1]:
            raise DigitalOceanError(
                f"DigitalOcean ({what}) sent {', '.join(twice[:5])} twice, so the list is not complete; "
                "nothing was changed",
                transient=True,
            )

    @staticmethod
    def _member(answer: Any, key: str, kind: type[Any]) -> Any:
        value = answer.get(key) if isinstance(answer, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DigitalOceanError(f"DigitalOcean sent an answer without a usable {key!r}", transient=True)
        return value

    def _call(self, what: str, operation: Callable[..., Any], **arguments: Any) -> Any:
        """Call pydo, and turn each of its kinds of errors into a DigitalOceanError of one line."""
        from azure.core.exceptions import AzureError, HttpResponseError

        def keep_status(response: Any, data: Any, _headers: Any) -> Any:
            # Several of pydo's operations return the body of a 404 as if it were the answer.
            return response.http_response.status_code, data

        try:
            status, data = operation(**arguments, cls=keep_status)
        except HttpResponseError as error:
            raise self._refused(what, error.status_code or 0, error.message, error.response) from None
        except AzureError as error:
            raise DigitalOceanError(
                f"DigitalOcean ({what}) could not be reached or did not answer within {READ_TIMEOUT} s: "
                f"{_first_line(error)}",
                transient=True,
            ) from None
        except ValueError:
            raise DigitalOceanError(
                f"DigitalOcean ({what}) sent something that is not JSON; a proxy or an outage page?",
                transient=True,
            ) from None
        if status >= 400:
            message = data.get("message", "") if isinstance(data, dict) else ""
            raise self._refused(what, status, str(message), None)
        return data

    def _refused(self, what: str, status: int, message: str, response: Any) -> DigitalOceanError:
        if status == 401:
            return DigitalOceanError(
                f"DigitalOcean refused the API token (401); renew it in connection {self.conn_id!r}",
                transient=False,
            )
        if status == 429:
            wait = response.headers.get("retry-after") if response is not None else None
            when = f"again in {wait} s" if wait else "later"
            return DigitalOceanError(
                f"DigitalOcean's rate limit is used up (429, {what}); trigger a new run {when}",
                transient=wait is None or (wait.isdigit() and int(wait) <= READ_TIMEOUT),
            )
        # azure-core writes "(None) " if a service sends no error code, as DigitalOcean's does.
        reason = _first_line(message).removeprefix("(None) ")
        return DigitalOceanError(
            f"DigitalOcean refused to {what} ({status}): {reason}", transient=status >= 500
        )


@contextmanager
def described(what: str, item: Any = None) -> Iterator[None]:
    """Turn errors in reading an answer that differs from DigitalOcean's description into one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        known = [f"{key} {item[key]!r}" for key in ("id", "name") if item.get(key)] if item else []
        about = f" of {', '.join(known)}" if known else ""
        raise DigitalOceanError(
            f"DigitalOcean sent {what} with a description{about} that is not usable: {_reason(error)}",
            transient=True,
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{error} is missing" if isinstance(error, KeyError) else _first_line(error)


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
