"""A release, as a droplet is told of it."""

from __future__ import annotations

from bluegreen.release.release import Release

RELEASE = Release(
    app="my_perl_app",
    repository="https://git.example.com/my_perl_app.git",
    revision="0123456789abcdef0123456789abcdef01234567",
    listen_address="10.0.0.5",
    port=8080,
    workers=8,
    command=["starman", "--listen", "{listen}", "--workers", "{workers}", "--disable-keepalive", "{psgi}"],
    psgi="app.psgi",
    keep_releases=5,
    stop_timeout=60,
    health_path="/health",
    health_host=None,
    https=False,
    health_statuses=(),
    healthy_threshold=3,
    health_timeout=60,
)
