"""Reading a request for droplets, with DigitalOcean's complaints about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.api.account import DROPLET_LIMIT, TAG, Account
from sandbox.api.catalog import REGIONS, SIZES, find_image
from sandbox.api.errors import ApiError, invalid
from sandbox.api.records import Json, Key
from sandbox.api.requests import field_of

NAME = re.compile(r"[a-zA-Z0-9]?[a-z0-9A-Z.\-]*[a-z0-9A-Z]")
MOST_AT_ONCE = 10
USER_DATA_LIMIT = 64 * 1024


@dataclass(frozen=True)
class DropletRequest:
    """A request that can be carried out.

    :param single: asked for with ``name``, not ``names``, which shapes the answer.
    """

    names: list[str]
    single: bool
    region: str
    size: Json
    image: Json
    keys: list[Key]
    tags: list[str]
    vpc_uuid: str
    user_data: str
    features: list[str]


def read(body: Json, account: Account) -> DropletRequest:
    """Check a request's body against the account.

    :raises ApiError: 422, in DigitalOcean's words.
    """
    names = _names(body)
    region = _region(body)
    size = SIZES.get(field_of(body, "size", str))
    if size is None:
        raise invalid("You specified an invalid size for Droplet creation.")
    image = _image(body)
    user_data = field_of(body, "user_data", str, "")
    if len(user_data.encode()) > USER_DATA_LIMIT:
        raise invalid("User data is too large: the limit is 64 KiB")
    real = sum(not droplet.phantom for droplet in account.droplets.values())
    if real + len(names) > DROPLET_LIMIT:
        raise invalid("creating this/these droplet(s) will exceed your droplet limit")
    return DropletRequest(
        names=names,
        single="name" in body,
        region=region,
        size=size,
        image=image,
        keys=_keys(body, account),
        tags=_tags(body),
        vpc_uuid=_vpc(body, region, account),
        user_data=user_data,
        features=[name for name in ("backups", "ipv6", "monitoring") if field_of(body, name, bool, False)],
    )


def _names(body: Json) -> list[str]:
    if "name" in body and "names" in body:
        raise invalid("You can not specify both name and names")
    names = field_of(body, "names", list, []) if "names" in body else [field_of(body, "name", str)]
    if not names:
        raise invalid("Names can't be blank")
    if len(names) > MOST_AT_ONCE:
        raise invalid(f"You can only create up to {MOST_AT_ONCE} droplets at a time")
    for name in names:
        if not isinstance(name, str) or len(name) > 255 or not NAME.fullmatch(name):
            raise invalid("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    return names


def _region(body: Json) -> str:
    wanted = field_of(body, "region", str, "nyc3")
    for slug in REGIONS:
        if slug.startswith(wanted) and (slug == wanted or wanted.isalpha()) and wanted:
            return slug
    raise invalid("You specified an invalid region for Droplet creation.")


def _image(body: Json) -> Json:
    wanted = body.get("image")
    image = find_image(wanted) if isinstance(wanted, str | int) else None
    if image is None:
        raise invalid("You specified an invalid image for Droplet creation.")
    return image


def _keys(body: Json, account: Account) -> list[Key]:
    keys, unknown = [], []
    for identifier in field_of(body, "ssh_keys", list, []):
        try:
            keys.append(account.key(identifier))
        except ApiError:
            unknown.append(str(identifier))
    if unknown:
        raise invalid(f"{', '.join(unknown)} are invalid key identifiers for Droplet creation.")
    return keys


def _tags(body: Json) -> list[str]:
    tags = field_of(body, "tags", list, [])
    if not all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in tags):
        raise invalid("Tags can only contain letters, numbers, colons, dashes and underscores")
    return list(dict.fromkeys(tags))


def _vpc(body: Json, region: str, account: Account) -> str:
    wanted = field_of(body, "vpc_uuid", str, "")
    if not wanted:
        return account.default_vpc(region).id
    vpc = account.vpcs.get(wanted)
    if vpc is None or vpc.region != region:
        raise invalid("Failed to resolve VPC")
    return vpc.id
