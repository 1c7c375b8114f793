"""That no request has failed, or else what the proxies know about it: such a failure may not come twice."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.traffic_records import Summary
from tests.sandbox.stack import Stack

# Around the failures, in seconds: what the proxies did then. Lines of the journal, at most.
AROUND, LINES = 2.0, 60


def assert_none_failed(stack: Stack, seen: Summary) -> None:
    """Fail with the failed requests and the proxies' journals around them."""
    assert seen.failed == 0, "\n".join(_told(stack, seen))


def _told(stack: Stack, seen: Summary) -> Iterator[str]:
    records = sorted(
        (one for some in seen.examples.values() for one in some), key=lambda record: record.start
    )
    yield f"{seen.failed} of {seen.requests} requests failed"
    for record in records:
        yield f"{record.start:.6f} {record.duration_ms} ms {record.kind} {record.request}: {record.detail}"
    since, until = records[0].start - AROUND, records[-1].start + AROUND
    # Of HAProxy's lines only those that are not about a request that went well.
    shown = (
        f"journalctl --no-pager --output=short-unix --since=@{since:.0f} --until=@{until:.0f}"
        f" | grep -v -e ' ---- ' | tail -n {LINES}; ss -Htnpi 'sport = :80' | head -n 4"
    )
    for proxy in stack.proxies():
        yield f"{proxy.name}:\n{proxy.run(shown, check=False).stdout}"
