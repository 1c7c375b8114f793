"""Which CPAN mirror a build asks."""

from __future__ import annotations

import re
from collections.abc import Callable

Run = Callable[..., "tuple[int, str]"]

# Carton is Debian's, so Debian's perl runs it.
_ASK = ("/usr/bin/perl", "-MCarton::Mirror", "-e", r'print Carton::Mirror->default->url, "\n"')


def default_mirror(run: Run) -> str:
    """Return the URL of the mirror that Carton asks if it is given none, by https; empty if it has none.

    Carton's own default is plain http, where anybody on the way may answer.

    :param run: runs a program, given its words; returns its exit status and what it wrote.
    """
    status, output = run(*_ASK)
    found = re.fullmatch(r"https?://([!-~]+)", output.strip())
    return f"https://{found[1].rstrip('/')}/" if status == 0 and found else ""
