"""What the container `fleet` says when it cannot order droplets."""

from __future__ import annotations

from demo.errors import ApiError
from hosting.sandbox.fleet import explained


def test_a_refused_password_is_explained_and_nothing_else_is() -> None:
    assert "secrets/admin_password" in explained(ApiError(401, "Invalid credentials"))
    assert explained(ApiError(403, "Forbidden")) == "Forbidden"
