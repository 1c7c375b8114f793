"""How the app is started on a droplet, and when it is healthy: the sections ``server`` and ``health``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from bluegreen.settings.fields import UrlPath
from bluegreen.settings.section import Line, Section

PLACEHOLDERS = ("listen", "workers", "psgi")


def _command(command: list[str]) -> list[str]:
    for word in command:
        for placeholder in re.findall(r"\{(.*?)\}", word):
            if placeholder not in PLACEHOLDERS:
                raise ValueError(
                    f"unknown placeholder {{{placeholder}}}; there are {', '.join(PLACEHOLDERS)}"
                )
    if not any("{listen}" in word for word in command):
        raise ValueError("the command does not contain {listen}, so the app could not be reached")
    return command


class ServerSettings(Section):
    """How the application is started on a droplet."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=512)] = 8
    psgi: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$")] = "app.psgi"
    command: Annotated[list[Line], Field(min_length=1), AfterValidator(_command)] = [
        "starman",
        "--listen",
        "{listen}",
        "--workers",
        "{workers}",
        "--disable-keepalive",
        "{psgi}",
    ]
    keep_releases: Annotated[int, Field(ge=2, le=100)] = 5
    stop_timeout: Annotated[int, Field(ge=1, le=3600)] = 60
    stop_idle_after: Annotated[int, Field(ge=10, le=30 * 86400)] | None = None


class HealthSettings(Section):
    """What a healthy droplet answers."""

    path: UrlPath = "/health"
    healthy_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    interval: Annotated[float, Field(ge=0.1, le=60)] = 0.2
    timeout: Annotated[float, Field(ge=1, le=600)] = 60
