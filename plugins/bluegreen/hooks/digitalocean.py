"""DigitalOcean's API as this project uses it, through pydo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from bluegreen.errors import BlueGreenError
from bluegreen.fleet import Droplet
from bluegreen.hooks.connection import get_connection

if TYPE_CHECKING:
    from pydo import Client

# The most that one page may hold (API description, parameter per_page).
PER_PAGE = 200

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 5


class DigitalOceanError(BlueGreenError):
    """DigitalOcean's API did not do what was asked; the text is one line for the user.

    :param transient: whether the same request may succeed later.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class DigitalOceanHook(BaseHook):
    """Droplets, keys and networks of one DigitalOcean account.

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

        pydo repeats creating requests after a 500 or 503 (twin droplets), and sleeps as long as a 429's
        Retry-After says, an hour included. Airflow's own task retries do this where it is safe.
        """
        # Imported here because it costs 0.25 s and 68 MB at each parse of a DAG file otherwise.
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

        :raises DigitalOceanError: also when the list is not complete.
        """
        return [
            Droplet.from_api(item) for item in self._list("droplets", self.client.droplets.list, tag_name=tag)
        ]

    def is_name_taken(self, name: str) -> bool:
        """Tell whether any droplet of the account has a name; DigitalOcean itself allows twins."""
        return any(
            item["name"] == name for item in self._list("droplets", self.client.droplets.list, name=name)
        )

    def create_droplet(self, request: dict[str, Any]) -> Droplet:
        """Create one droplet; it is not ready yet, and may have no addresses.

        :param request: the body of ``POST /v2/droplets``.
        :raises DigitalOceanError: transient ones leave open whether the droplet was created: list before
            trying again.
        """
        answer = self._call(f"create droplet {request['name']}", self.client.droplets.create, body=request)
        return Droplet.from_api(self._member(answer, "droplet", dict))

    def ssh_key_ids(self, wanted: list[str]) -> list[int]:
        """Return the ids of SSH keys in the account, by name or fingerprint.

        :raises DigitalOceanError: naming the keys that are not there.
        """
        keys = list(self._list("ssh_keys", self.client.ssh_keys.list))
        by_name = {key[field]: key["id"] for key in keys for field in ("name", "fingerprint")}
        if missing := [name for name in wanted if name not in by_name]:
            known = ", ".join(sorted(key["name"] for key in keys)) or "none"
            raise DigitalOceanError(
                f"SSH keys not in the DigitalOcean account: {', '.join(missing)}; there are: {known}",
                transient=False,
            )
        return [by_name[name] for name in wanted]

    def vpc_uuid(self, name: str | None, region: str) -> str:
        """Return the id of a VPC network in a region.

        :param name: the VPC's name, or ``None`` for the region's default.
        :raises DigitalOceanError: if there is none.
        """
        networks = [vpc for vpc in self._list("vpcs", self.client.vpcs.list) if vpc["region"] == region]
        for vpc in networks:
            if vpc["name"] == name or (name is None and vpc.get("default")):
                return str(vpc["id"])
        known = ", ".join(sorted(vpc["name"] for vpc in networks)) or "none"
        raise DigitalOceanError(
            f"no VPC {name or '(default)'} in region {region}; there are: {known}", transient=False
        )

    def _list(self, key: str, operation: Callable[..., Any], **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield every item over all pages; a list that is shorter than its own total is an error."""
        what = f"list {key}"
        page, seen = 1, 0
        while True:
            answer = self._call(what, operation, per_page=PER_PAGE, page=page, **arguments)
            items = self._member(answer, key, list)
            total = self._member(self._member(answer, "meta", dict), "total", int)
            yield from items
            seen += len(items)
            if seen >= total:
                break
            if not items:
                raise DigitalOceanError(
                    f"DigitalOcean ({what}) announced {total} and sent {seen}; nothing was changed",
                    transient=True,
                )
            page += 1
        if seen != total:
            raise DigitalOceanError(
                f"DigitalOcean ({what}) announced {total} and sent {seen}; nothing was changed",
                transient=True,
            )

    @staticmethod
    def _member(answer: Any, key: str, kind: type[Any]) -> Any:
        value = answer.get(key) if isinstance(answer, dict) else None
        if not isinstance(value, kind):
            raise DigitalOceanError(f"DigitalOcean sent an answer without a usable {key!r}", transient=True)
        return value

    def _call(self, what: str, operation: Callable[..., Any], **arguments: Any) -> Any:
        """Call pydo and turn each of its many ways to fail into one error with one line."""
        from azure.core.exceptions import AzureError, HttpResponseError

        def keep_status(response: Any, data: Any, _headers: Any) -> Any:
            # Several operations return the error's body of a 404 as if it were the answer.
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
            raise self._refused(what, status, str((data or {}).get("message", "")), None)
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
        # azure-core writes "(None) " where a service other than Azure gives no code of its own.
        reason = _first_line(message).removeprefix("(None) ")
        return DigitalOceanError(
            f"DigitalOcean refused to {what} ({status}): {reason}", transient=status >= 500
        )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
