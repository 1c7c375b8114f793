"""The night watch on real machines: a clean fleet, and one thing after the other that is broken."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.sandbox.droplets import Shop
from tests.sandbox.watched import Watched, watched_fleet

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def watched(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_fleet(shop, tmp_path_factory.mktemp("apps")) as fleet:
        yield fleet


def test_nothing_is_found_on_a_clean_fleet(watched: Watched) -> None:
    began = time.monotonic()
    assert [str(one) for one in watched.findings()] == []
    print("seconds", time.monotonic() - began)
