"""What the sandbox tells the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.host_limits import INOTIFY_INSTANCES, allow_many_machines


@pytest.mark.parametrize(("before", "after"), [(128, INOTIFY_INSTANCES), (8192, 8192)])
def test_a_limit_of_the_kernel_is_raised_and_never_lowered(before: int, after: int, tmp_path: Path) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text(f"{before}\n")
    allow_many_machines(limit)
    assert int(limit.read_text()) == after


def test_where_the_kernel_cannot_be_told_the_sandbox_starts_all_the_same(tmp_path: Path) -> None:
    allow_many_machines(tmp_path / "missing")
