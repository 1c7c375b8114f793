"""Types of values that several sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bluegreen.patterns import (
    CONNECTION_ID,
    FILE_PATH,
    HOST_NAME,
    LONGEST_HOST_NAME,
    LONGEST_PATH,
    URL_PATH,
    whole,
)

HostName = Annotated[str, Field(pattern=whole(HOST_NAME), max_length=LONGEST_HOST_NAME)]
UrlPath = Annotated[str, Field(pattern=whole(URL_PATH), max_length=LONGEST_PATH)]
AbsolutePath = Annotated[str, Field(pattern=whole(FILE_PATH), max_length=LONGEST_PATH)]
ConnectionId = Annotated[str, Field(pattern=whole(CONNECTION_ID))]
