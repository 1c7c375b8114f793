"""A server that could not work is refused when the file is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from tests.unit.app_settings import settings_of


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("preset: apache", "server.preset: found 'apache': Input should be 'starman', 'mojolicious'"),
        ("preset: mojolicious", "script is missing: the path of the app's script, such as script/my_app"),
        ("preset: mojolicious\nscript: a\npsgi: b", "psgi is not used where script is; remove it"),
        ("script: script/shop", "script is for the preset mojolicious and for a command with {script}"),
        ("preset: uwsgi\nperl: /opt/perl/bin/perl", "the preset uwsgi has /usr/bin/perl built in"),
        ("perl: perl", "server.perl: found 'perl'"),
        ("perl: /home/me/perl5/bin/perl", "allowed is the path of a program that an app can see in its cage"),
        ("perl: /opt/../home/me/perl", "allowed is the path of a program that an app can see in its cage"),
        ("perl: //home/me/perl", "allowed is the path of a program that an app can see in its cage"),
        ("perl: /var/lib/app-shop/perl", "not below /home/, "),
        ("perl: /opt/app-shop/perl", "/opt/app-"),
        ("perl: /tmp/perl", "/tmp/"),
        ("stop_signal: SIGTERM", "stop_signal is for a command of the app's own"),
        (
            'preset: starman\ncommand: [a, "{listen}", "{psgi}"]',
            "preset and command are both set; remove one of them",
        ),
        (
            "command: starman --listen {listen} {psgi}",
            'a command is a list of words: [starman, --listen, "{listen}", "{psgi}"]',
        ),
        ('command: "a {listen} {psgi} | b"', 'of words: [bash, -c, "a {listen} {psgi} | b"]'),
        ("command: []", "server.command: found []"),
        ('command: [starman, "{psgi}"]', "does not contain {listen}, so the app could not be reached"),
        (
            'command: [a, "{listen}", "{psgi}", "{port}"]',
            "unknown placeholder {port}; there are listen, workers",
        ),
        (
            'command: [/usr/bin/starman, "{listen}", app.psgi]',
            "does not contain {psgi}, so no answer would have",
        ),
        ('command: [start_server, "{listen}", --, x]', "does not contain {psgi}, so no answer would have"),
        ('command: [node, "{listen}", server.js]', "exactly one of {psgi}, for a PSGI file, and {script}"),
        (
            'command: [a, "{listen}", "{psgi}", "{script}"]',
            "exactly one of {psgi}, for a PSGI file, and {script}",
        ),
        ('command: [perl, "{script}", "{listen}"]', "script is missing"),
        ('command: ["A=1", "{listen}", "{psgi}"]', "the first word is the program; write variables into"),
        ('command: ["-x", "{listen}", "{psgi}"]', "the first word is the program"),
        ("root: ../other", "server.root: found '../other': allowed are relative paths"),
        ("root: /srv", "server.root: found '/srv': allowed are relative paths"),
        ("psgi: a/../../etc/x.psgi", "server.psgi: found 'a/../../etc/x.psgi': allowed are relative paths"),
        ("lib: [lib, ../lib]", "server.lib.1: found '../lib': allowed are relative paths"),
        ("lib: ['a:b']", "server.lib.0: found 'a:b': allowed are relative paths"),
        (
            "memory_max: 63M",
            "server.memory_max: found '63M': allowed are megabytes or gigabytes as in 512M and 2G",
        ),
        ("memory_max: 50%", "server.memory_max: found '50%': allowed are megabytes or gigabytes"),
        (
            "load_timeout: 850",
            "timeouts.build is 900, but must be at least server.load_timeout + server.stop",
        ),
    ],
)
def test_a_server_that_could_not_work_is_refused(tmp_path: Path, settings: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        settings_of(tmp_path, settings)
    assert str(caught.value).startswith(f"{tmp_path}/shop.yaml: ")


@pytest.mark.parametrize(
    "settings",
    [
        'command: [plackup, --server, Gazelle, --listen, "{listen}", "{psgi}"]\nstop_signal: SIGTERM',
        'command: [perl, "{script}", daemon, --listen, "http://{listen}"]\nscript: script/shop',
        "root: .\nmemory_max: 1G\nlib: []\nperl: /opt/perl/bin/perl\nload_timeout: 300",
        "root: services/shop.v2/api\npsgi: bin/app.psgi",
    ],
)
def test_a_server_that_can_work_is_accepted(tmp_path: Path, settings: str) -> None:
    settings_of(tmp_path, settings)
