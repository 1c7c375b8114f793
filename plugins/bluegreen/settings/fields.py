"""Kinds of values that several sections have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

HOST_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"

HostName = Annotated[str, Field(pattern=HOST_NAME_PATTERN, max_length=253)]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/?=&%-]*$", max_length=200)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]
ConnectionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
