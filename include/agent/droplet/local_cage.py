"""What an app needs beyond the cage, as root has written it into the drop-in of its unit, local.conf."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

LARGEST = 1 << 16


def local_properties(path: str, cage: Sequence[str]) -> list[str]:
    """Return the drop-in's properties that loosen the cage, as ``Name=value``; none if there is no drop-in.

    Other properties of a service have no meaning for a load. A drop-in that others than root may write is no
    word of root's.
    """
    names = {one.split("=", 1)[0] for one in cage}
    pairs = [line.partition("=") for line in _service_lines(_text_of(path))]
    return [f"{name.strip()}={value.strip()}" for name, _, value in pairs if name.strip() in names]


def _text_of(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        about = os.fstat(descriptor)
        is_root_s = about.st_uid in (0, os.geteuid()) and not about.st_mode & 0o022
        text = os.read(descriptor, LARGEST) if stat.S_ISREG(about.st_mode) and is_root_s else b""
    finally:
        os.close(descriptor)
    return text.decode("utf-8", "replace")


def _service_lines(text: str) -> Iterator[str]:
    section, begun = "", ""
    for line in text.splitlines():
        stripped = line.strip()
        # A comment in the middle of a line that goes on is left out, as by systemd.
        if stripped[:1] in ("#", ";"):
            continue
        begun += stripped
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        if begun.startswith("["):
            section = begun
        elif section == "[Service]":
            yield begun
        begun = ""
