"""What compiled modules depend on: they fit one perl, one architecture and one C library."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., "tuple[int, str]"]
_PROGRAM = r'print "$Config{version} $Config{archname}\n"'


def perl_key(perl: str, run: Run) -> str:
    """Return a perl's version and architecture, and the version of the C library on a line below.

    :param perl: its path.
    :param run: runs a program, given its words; returns its exit status and what it wrote.
    :return: for example ``5.36.0 x86_64-linux-gnu-thread-multi`` and ``glibc 2.36``; empty if perl, or
        ``getconf``, does not run.
    """
    said = [run(perl, "-MConfig", "-e", _PROGRAM), run("getconf", "GNU_LIBC_VERSION")]
    lines = [output.strip() for _, output in said]
    if any(status != 0 for status, _ in said) or not all(lines) or any("\n" in line for line in lines):
        return ""
    return "\n".join(lines)
