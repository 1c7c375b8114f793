"""What an app's server is run with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bluegreen.release.servers import connections_of, processes_of, server_of
from tests.unit.app_settings import settings_of

RELEASE = "/opt/app-shop/releases/r"
LISTEN = "10.0.0.5:8080"


def test_starman_loads_the_app_once_and_serves_one_more_request_than_haproxy_sends(tmp_path: Path) -> None:
    app = settings_of(tmp_path, "workers: 3")
    server = server_of(app, RELEASE, LISTEN)
    assert " ".join(server.command) == (
        f"/usr/bin/perl -S starman --listen {LISTEN} --workers 4 --preload-app --disable-keepalive "
        f"{RELEASE}/.bluegreen/revision.psgi"
    )
    assert (processes_of(app), connections_of(app)) == (4, 3)


def test_a_release_finds_its_own_modules_and_programs_first(tmp_path: Path) -> None:
    environment = server_of(settings_of(tmp_path), RELEASE, LISTEN).environment
    assert environment["PATH"] == f"{RELEASE}/local/bin:/usr/local/bin:/usr/bin:/bin"
    assert environment["PERL5LIB"] == f"{RELEASE}/lib:{RELEASE}/local/lib/perl5"
    assert environment["PLACK_ENV"] == "production"


def test_an_app_in_a_subdirectory_is_started_there(tmp_path: Path) -> None:
    app = settings_of(tmp_path, "root: backend/api\npsgi: bin/shop.psgi\nlib: [lib, vendor/lib]")
    server = server_of(app, RELEASE, LISTEN)
    root = f"{RELEASE}/backend/api"
    assert server.directory == root
    assert server.environment["PERL5LIB"] == f"{root}/lib:{root}/vendor/lib:{root}/local/lib/perl5"
    assert server.environment["PATH"].startswith(f"{root}/local/bin:")
    assert server.environment["BLUEGREEN_PSGI"] == "backend/api/bin/shop.psgi"


@pytest.mark.parametrize("preset", ["starman", "twiggy", "starlet"])
def test_another_perl_runs_and_loads_the_app(tmp_path: Path, preset: str) -> None:
    app = settings_of(tmp_path, f"preset: {preset}\nperl: /opt/perl-5.40/bin/perl")
    server = server_of(app, RELEASE, LISTEN)
    assert (server.command[0], server.load_command[0]) == ("/opt/perl-5.40/bin/perl",) * 2
    assert server.environment["PATH"].split(":")[:2] == [f"{RELEASE}/local/bin", "/opt/perl-5.40/bin"]


def test_mojolicious_is_not_told_that_it_is_a_psgi_app(tmp_path: Path) -> None:
    server = server_of(settings_of(tmp_path, "preset: mojolicious\nscript: script/shop"), RELEASE, LISTEN)
    assert "PLACK_ENV" not in server.environment
    assert server.environment["BLUEGREEN_SCRIPT"] == "script/shop"
    assert server.command[:3] == ["/usr/bin/perl", f"{RELEASE}/.bluegreen/revision_mojolicious.pl", "prefork"]
    assert server.load_command[-1] == "check"


def test_mojolicious_lets_an_answer_take_as_long_as_haproxy_waits_for_it(tmp_path: Path) -> None:
    app = settings_of(
        tmp_path,
        "preset: mojolicious\nscript: a\nstop_timeout: 90",
        replaced={"# timeout_server: 50": "timeout_server: 300"},
    )
    server = server_of(app, RELEASE, LISTEN)
    assert server.environment["MOJO_INACTIVITY_TIMEOUT"] == "300"
    options = dict(zip(server.command, server.command[1:], strict=False))
    assert options["--heartbeat-timeout"] == "300"
    assert options["--graceful-timeout"] == "90"


@pytest.mark.parametrize(
    ("settings", "signal"),
    [
        ("preset: starman", "SIGQUIT"),
        ("preset: twiggy", "SIGQUIT"),
        ("preset: mojolicious\nscript: a", "SIGQUIT"),
        ("preset: starlet", "SIGTERM"),
        ("preset: uwsgi", "SIGTERM"),
        ('command: [local/bin/starman, "{listen}", "{psgi}"]', "SIGQUIT"),
        ('command: [start_server, --port, "{listen}", --, plackup, -s, Starlet, "{psgi}"]', "SIGTERM"),
        ('command: [start_server, --port, "{listen}", --, starman, "{psgi}"]', "SIGTERM"),
        ('command: [perl, "{script}", prefork, -l, "http://{listen}"]\nscript: a', "SIGQUIT"),
        ('command: [gazelle, "{listen}", "{psgi}"]\nstop_signal: SIGWINCH', "SIGWINCH"),
    ],
)
def test_the_signal_is_the_one_after_which_the_server_finishes_its_requests(
    tmp_path: Path, settings: str, signal: str
) -> None:
    assert server_of(settings_of(tmp_path, settings), RELEASE, LISTEN).stop_signal == signal


@pytest.mark.parametrize(
    ("settings", "connections"),
    [
        ("preset: starlet\nworkers: 2", 2),
        ("preset: uwsgi\nworkers: 2", 2),
        ('command: [a, "{listen}", "{psgi}"]\nworkers: 2', 2),
        ("preset: mojolicious\nscript: a\nworkers: 2", 2000),
        ("preset: twiggy\nworkers: 2", 1000),
    ],
)
def test_haproxy_sends_as_much_as_the_server_works_on_at_once(
    tmp_path: Path, settings: str, connections: int
) -> None:
    assert connections_of(settings_of(tmp_path, settings)) == connections


def test_the_words_of_an_own_command_stay_as_they_are(tmp_path: Path) -> None:
    words = '[plackup, "{listen}", "{workers}", "{psgi}", "$HOME", "%h", "a b", "{}", "{ 1 }"]'
    app = settings_of(tmp_path, f"workers: 2\ncommand: {words}")
    assert server_of(app, RELEASE, LISTEN).command == [
        *("plackup", LISTEN, "3", f"{RELEASE}/.bluegreen/revision.psgi"),
        *("$HOME", "%h", "a b", "{}", "{ 1 }"),
    ]
