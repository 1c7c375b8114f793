"""Tests that need IPv6 on this machine."""

from __future__ import annotations

import pytest

from tests.unit.local_haproxy import has_ipv6

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
