"""The agent on a proxy: what each generation of HAProxy prints about its processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agent.proxy.processes import Processes
from tests.unit.local_haproxy import Deployed

# As HAProxy 2.4.0, 2.8.0 and 3.2.0 print it; `M` is the master's line, `W` stands for those of workers.
HEADER_2_4 = (
    "#<PID>          <type>          <relative PID>  <reloads>       <uptime>        <version>       \n"
)
Workers = Sequence[tuple[int, int]]
HEADER = "#<PID>          <type>          <reloads>       <uptime>        <version>       \n"


def rows_2_4(reloads: int, current: Workers, old: Workers = ()) -> str:
    def row(pid: int, kind: str, relative: str, count: int) -> str:
        return f"{pid:<15} {kind:<15} {relative:<15} {count:<15} {'0d00h00m03s':<15} 2.4.0-6cbbecf09 \n"

    return (
        HEADER_2_4
        + row(29015, "master", "0", reloads)
        + "# workers\n"
        + "".join(row(pid, "worker", "1", count) for pid, count in current)
        + ("# old workers\n" if old else "")
        + "".join(row(pid, "worker", "[was: 1]", count) for pid, count in old)
        + "# programs\n\n"
    )


def rows(
    reloads: int,
    failed: int,
    current: Workers,
    old: Workers = (),
    end: str = "# programs\n\n",
) -> str:
    def row(pid: int, kind: str, count: str) -> str:
        return f"{pid:<15} {kind:<15} {count:<15} {'0d00h00m02s':<15} 2.8.0-fdd8154ed \n"

    return (
        HEADER
        + row(29071, "master", f"{reloads} [failed: {failed}]")
        + "# workers\n"
        + "".join(row(pid, "worker", str(count)) for pid, count in current)
        + ("# old workers\n" if old else "")
        + "".join(row(pid, "worker", str(count)) for pid, count in old)
        + end
    )


def parsed(text: str) -> tuple[Any, ...]:
    """Master, reloads, failed reloads, current workers, old workers."""
    found = Processes.parse(text)
    assert found is not None
    return found.master, found.reloads, found.failed, found.workers, found.old


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rows_2_4(0, [(29022, 0)]), (29015, 0, 0, (29022,), ())),
        (rows_2_4(1, [(29022, 0)]), (29015, 1, 0, (29022,), ())),
        (rows_2_4(7, [(29022, 0)], [(28001, 1), (27001, 3)]), (29015, 7, 0, (29022,), (28001, 27001))),
        # After a reload that failed, 2.4 calls the worker that goes on an old one.
        (rows_2_4(2, [], [(29022, 1)]), (29015, 2, 0, (29022,), ())),
        (rows_2_4(3, [], [(29022, 2), (28001, 4)]), (29015, 3, 0, (29022,), (28001,))),
        (rows(1, 0, [(29079, 0)]), (29071, 1, 0, (29079,), ())),
        (rows(1, 0, [(29079, 0)], [(29070, 1)]), (29071, 1, 0, (29079,), (29070,))),
        (rows(3, 2, [(29079, 2)]), (29071, 3, 2, (29079,), ())),
        (rows(3, 1, [(29079, 1)], [(29070, 3)]), (29071, 3, 1, (29079,), (29070,))),
        (rows(1, 0, [(29079, 0)], end="\n"), (29071, 1, 0, (29079,), ())),
        (rows(1, 0, []), (29071, 1, 0, (), ())),
    ],
)
def test_processes_are_read_by_the_names_of_the_columns(text: str, expected: tuple[Any, ...]) -> None:
    assert parsed(text) == expected


def test_a_column_more_and_another_order_change_nothing() -> None:
    text = "#<version> <reloads> <type> <new one> <PID>\n4.0 2 [failed: 0] master x 11\n4.0 0 worker y 12\n"
    assert parsed(text) == (11, 2, 0, (12,), ())


@pytest.mark.parametrize("text", ["", "\n", HEADER, "Unknown command\n", "#<PID>\n1\n", rows(1, 0, [])[:90]])
def test_what_is_no_list_of_processes_is_none(text: str) -> None:
    assert Processes.parse(text) is None


def test_a_version_that_is_too_old_is_refused_before_anything_is_touched(deployed: Deployed) -> None:
    world = deployed.world
    before = world.config.read_bytes()
    world.stop_haproxy()
    program = world.root / "bin/haproxy"
    program.write_text("#!/bin/sh\n[ \"$1\" = -v ] && echo 'HA-Proxy version 2.2.9-2+deb11u6 2023/08/22'\n")
    program.chmod(0o755)
    code, message = world.refused("sync", **deployed.sync_request(world.render(timeout_server=51)))
    assert code == "unsupported"
    assert "HAProxy 2.2.9 is too old, 2.4 or later is needed" in message
    assert world.config.read_bytes() == before
