"""What the author of an app file is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bluegreen.errors import SettingsError
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.app_files import REFERENCE as REFERENCE_FILE
from bluegreen.settings.app_files import app_ids, unused_files
from scripts.reference.models import keys_of

Write = Callable[..., Path]

REFERENCE = REFERENCE_FILE.read_text(encoding="utf-8")
# Names of settings; a line of prose may begin with another word and a colon.
KEYS = {key.rpartition(".")[2] for key, _ in keys_of(App)}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "shop") -> Path:
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_the_reference_file_is_valid_as_it_is() -> None:
    app = load_app("my_perl_app")
    assert app.id == "my_perl_app"
    assert app.fleet.tags.app == "app:my_perl_app"
    assert app.validation.seconds_to_confirm == app.validation.bake + 60


def test_every_commented_key_of_the_reference_is_a_setting_and_shows_its_default(write: Write) -> None:
    uncommented = "\n".join(
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and _is_setting(line) else line
        for line in REFERENCE.splitlines()
    )
    assert uncommented != REFERENCE
    shown = load_app("shop", write(uncommented)).model_dump(exclude={"id"})
    default = load_app("my_perl_app").model_dump(exclude={"id"})
    # These have no default value to show: the comment gives an example.
    for settings in (shown, default):
        settings["traffic"].pop("tls")
        settings["fleet"].pop("vpc")
        settings["fleet"].pop("proxy_size")
        settings["validation"].pop("confirm_within")
    assert shown == default


def _is_setting(line: str) -> bool:
    key, colon, rest = line.lstrip().removeprefix("# ").partition(":")
    return bool(colon) and key in KEYS and (rest.startswith(" ") or not rest)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "region: nyc3",
            "region: nyc3\n  regoin: x",
            r"fleet\.regoin: unknown key; allowed here are .*region",
        ),
        (
            "# before_deploy: []",
            "before_deploy:\n    - command: [a]\n      timout: 6",
            r"hooks\.before_deploy\.0\.timout: unknown key; allowed here are .*timeout",
        ),
        ("# port: 8080", "port: 80", r"server\.port: found 80: .*1024"),
        ("repository: https", "repository: file", r"repository: found 'file://.*allowed are https"),
        ("repository: https://", "repository: https://me:secret@", r"password or token does not belong"),
        ("default_ref: main", "default_ref: --upload-pack=x", r"default_ref: .*a ref is a branch, a tag"),
        ("preview_host: green.example.com", "preview_host: 'a b'", r"traffic\.preview_host: found 'a b'"),
        ("# preview_allow: []", "preview_allow: [10]", r"preview_allow\.0: found 10: allowed are addresses"),
        (
            "# preview_allow: []",
            "preview_allow: [10.0.0.1/8]",
            r"preview_allow\.0: found '10\.0\.0\.1/8': .* has host bits set; allowed are addresses",
        ),
        (
            "# preview_allow: []",
            "preview_allow: ['::ffff:10.0.0.0/112']",
            r"preview_allow\.0: found '::ffff:10\.0\.0\.0/112': write it as an IPv4 network",
        ),
        (
            "# preview_allow: []",
            "preview_allow: ['fe80::1%eth0']",
            r"preview_allow\.0: .*a zone means nothing",
        ),
        (
            "# trusted_proxies: []",
            "trusted_proxies: ['::/0']",
            r"trusted_proxies: found .*::/0 contains every address",
        ),
        ("# preview_allow: []", "preview_allow: 10.0.0.1", r"preview_allow: found '10\.0\.0\.1': .*list"),
        ("region: nyc3", "region: nyc3\n  region: ams3", r"the key 'region' is defined twice"),
        ("ssh_keys: [airflow]", "ssh_keys: []", r"fleet\.ssh_keys: found \[\]"),
        ("# command: null", "command: [sh, '{rm}']", r"unknown placeholder \{rm\}; there are listen"),
        (
            '# dry_run_schedule: "0 3',
            'dry_run_schedule: "0 33',
            r"dry_run_schedule: found '0 33 .*cron's notation",
        ),
        ("repository:", "id: x\nrepository:", r"the file's name is the app's id"),
        (
            "# min_requests: 30",
            "min_requests: 2000",
            r"validation: .*min_requests is 2000, but a bake of 30 s has room for 1500 own requests",
        ),
        ("# bake: 30", "bake: 1\n  paths: [/, /a]", r"min_requests is 30, but a bake of 1 s has room for 25"),
        (
            "# consecutive_failures: 5",
            "min_requests: 1\n  bake: 1\n  consecutive_failures: 60",
            r"consecutive_failures is 60, but",
        ),
        ("# consecutive_failures: 5", "consecutive_failures: 1", r"consecutive_failures: found 1: .*2"),
        *[
            ("# public_url: null", f"public_url: {url}", rf"traffic\.public_url: found .*{expected}")
            for url, expected in (
                ("www.example.com", "allowed is http:// or https://, a host name and perhaps a port"),
                ("ftp://www.example.com", "allowed is http:// or https://"),
                ("https://", "allowed is http:// or https://"),
                ("https://www.example.com/shop", "nothing before or after that"),
                ("https://www.example.com/", "nothing before or after that"),
                ("'https://www.example.com?'", "nothing before or after that"),
                ("'https://www.example.com#'", "nothing before or after that"),
                ("https://me@www.example.com", "nothing before or after that"),
                ("https://@www.example.com", "nothing before or after that"),
                ("'https://www.example.com:'", "nothing before or after that"),
                ("https://www.example.com:0", "nothing before or after that"),
                ("https://www.example.com:99999", "allowed is http:// or https://"),
                ("https://www.example.com:x", "allowed is http:// or https://"),
                ("https://exa_mple.com", "allowed is http:// or https://"),
                ("'https://[::1]'", "allowed is http:// or https://"),
                ("'https://www.exam ple.com'", "allowed is http:// or https://"),
                ('"https://www.example.com\\nx"', "control characters and line breaks"),
                ("[a]", "valid string"),
            )
        ],
        (
            "# public_url: null",
            "public_url: https://green.example.com:8443",
            r"traffic: found .*preview_host and the host of public_url are both green\.example\.com",
        ),
        ("# statuses: {}", "statuses: {/: [199]}", r"validation\.statuses\./\.0: found 199: .*200"),
        ("# statuses: {}", "statuses: {/: [600]}", r"validation\.statuses\./\.0: found 600: .*599"),
        ("# statuses: {}", "statuses: {/: [yes]}", r"validation\.statuses\./\.0: found True: .*integer"),
        ("# statuses: {}", "statuses: {/: 302}", r"validation\.statuses\./: found 302: .*list"),
        ("# statuses: {}", "statuses: {/: []}", r"validation\.statuses\./: found \[\]: .*at least 1"),
        (
            "# statuses: {}",
            "statuses: {login: [302]}",
            r"validation\.statuses\.login.*: found 'login': .*\^/",
        ),
        (
            "# statuses: {}",
            "statuses: {/login: [302]}",
            r"validation\.statuses: found '/login', .* allowed are the paths of .*: /, /health$",
        ),
        ("# build: 900", "build: 119", r"yaml: timeouts.build is 119, but .* at least .* which is 120"),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(
    write: Write, old: str, new: str, expected: str
) -> None:
    assert old in REFERENCE
    directory = write(REFERENCE.replace(old, new, 1))
    with pytest.raises(SettingsError, match=expected) as caught:
        load_app("shop", directory)
    assert str(directory / "shop.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host", "https"),
    [
        ("null", None, False),
        ("http://www.example.com", "www.example.com", False),
        ("https://WWW.Example.COM", "www.example.com", True),
        ("https://www.example.com:443", "www.example.com", True),
        ("http://www.example.com:443", "www.example.com:443", False),
        ("https://shop.example.com:8443", "shop.example.com:8443", True),
        ("http://198.18.0.5", "198.18.0.5", False),
    ],
)
def test_the_public_url_is_the_host_and_the_scheme_that_clients_use(
    write: Write, url: str, host: str | None, https: bool
) -> None:
    directory = write(REFERENCE.replace("# public_url: null", f"public_url: {url}"))
    traffic = load_app("shop", directory).traffic
    assert (traffic.public_host, traffic.https) == (host, https)


def test_a_path_has_the_statuses_that_are_named_for_it_in_place_of_the_usual_ones(write: Write) -> None:
    app = load_app(
        "shop", write(REFERENCE.replace("# statuses: {}", "statuses: {/: [302, 401], /health: [204]}"))
    )
    assert [app.good_statuses(path) for path in ("/", "/health", "/other")] == [(302, 401), (204,), ()]


NINE = ", ".join(["*a"] * 9)
BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{NINE.replace('a', before)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        *("", "- a", "a: [", "\x00", "just words", "a: 2026-02-30", "a: &a [*a]", "a: " + "[" * 5000),
        'repository: "https://example.com/\\ud800"',
        pytest.param(BOMB, id="bomb"),
        pytest.param("a: " + "x" * (1 << 20), id="large"),
    ],
)
def test_a_file_that_is_not_settings_at_all_is_refused_in_one_line(write: Write, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_app("shop", write(text))
    assert "shop.yaml" in str(caught.value)


def test_a_file_that_is_none_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "shop.yaml")
    with pytest.raises(SettingsError, match=r"shop\.yaml: is not a regular file"):
        load_app("shop", tmp_path)


@pytest.mark.parametrize(
    "schedule",
    [
        *("* * * * * *", "* * * * * * *", "R R * * *", "H * * * *", "@once", "@continuous", "@reboot"),
        *("0 3 * *", "60 * * * *", "0 0 * * 5#6", "\u0660 3 * * *", "0 3 * * *\n", ""),
    ],
)
def test_a_schedule_that_is_not_cron_s_is_refused(write: Write, schedule: str) -> None:
    text = yaml.safe_dump({**yaml.safe_load(REFERENCE), "dry_run_schedule": schedule})
    with pytest.raises(SettingsError, match=r"dry_run_schedule: found "):
        load_app("shop", write(text))


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"])
def test_a_schedule_of_a_day_that_never_comes_is_refused(write: Write, schedule: str) -> None:
    text = yaml.safe_dump({**yaml.safe_load(REFERENCE), "dry_run_schedule": schedule})
    with pytest.raises(SettingsError, match="there is no such day in any year"):
        load_app("shop", write(text))


def test_tags_that_differ_in_case_only_are_the_same_to_digitalocean(write: Write) -> None:
    data = yaml.safe_load(REFERENCE)
    data["fleet"]["tags"] = {"app": "app:shop", "blue": "env:live", "green": "ENV:live"}
    with pytest.raises(SettingsError, match=r"fleet\.tags: .*blue and green are the same tag"):
        load_app("shop", write(yaml.safe_dump(data)))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shop.yml", "its name does not end with .yaml; rename it"),
        ("shop.YAML", "its name does not end with .yaml; rename it"),
        ("Shop.yaml", "'Shop' is not an app's name"),
        ("my-shop.yaml", "'my-shop' is not an app's name"),
        ("my shop.yaml", "'my shop' is not an app's name"),
        (f"{'a' * 32}.yaml", "is not an app's name"),
        (f"{'a' * 240}.yaml", "is not an app's name"),
        ("1shop.yaml", "is not an app's name"),
        (".shop.yaml", "this is not an app file"),
        ("shop.yaml~", "this is not an app file"),
        ("shop.yaml.bak", "this is not an app file"),
        (".shop.yaml.swp", "this is not an app file"),
        ("#shop.yaml#", "this is not an app file"),
        ("notes.txt", "this is not an app file"),
        ("team/", "files in a subdirectory are not read"),
        ("shop2.yaml/", None),
    ],
)
def test_what_makes_no_app_is_named_with_what_to_do(tmp_path: Path, name: str, why: str | None) -> None:
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    lines = unused_files_of(tmp_path)
    if why is None:
        assert (lines, app_ids(tmp_path)) == ([], ["shop2"])
    else:
        [line] = lines
        assert line.startswith(f"{tmp_path / name}: ")
        assert why in line
        assert app_ids(tmp_path) == []


def unused_files_of(directory: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEGREEN_APPS_DIR", str(directory))
        return unused_files()


def test_of_many_files_that_make_no_app_some_are_named_and_all_can_be_stored(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / os.fsdecode(b"shop-\xff-%d.yaml" % number)).touch()
    lines = unused_files_of(tmp_path)
    assert (len(lines), lines[-1]) == (21, "10 more files are not app files")
    assert "; ".join(lines).encode()


def test_what_git_kubernetes_and_people_put_beside_app_files_is_no_mistake(write: Write) -> None:
    directory = write(REFERENCE)
    for name in (".gitkeep", ".gitignore", "README.md", "shop.yaml.example", "..data", "..2026_11_30"):
        (directory / name).touch()
    assert unused_files_of(directory) == []


def test_directories_of_app_files_of_which_none_is_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [line] = unused_files_of(tmp_path / "none")
    assert line == f"{tmp_path / 'none'}: cannot be read, so it has no apps: No such file or directory"
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", f"{tmp_path}:{tmp_path / 'none'}")
    assert unused_files() == []


def test_a_file_name_that_cannot_be_a_user_or_a_unit_is_refused(write: Write) -> None:
    with pytest.raises(SettingsError, match=r"id: found 'My-App'"):
        load_app("My-App", write(REFERENCE, "My-App"))


def test_apps_are_found_by_their_files(write: Write) -> None:
    directory = write(REFERENCE, "shop")
    write(REFERENCE, "blog")
    assert app_ids(directory) == ["blog", "shop"]


def test_app_files_may_be_in_several_directories(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "forum.yaml").write_text(REFERENCE)
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", f"{write(REFERENCE)}:{more}:{tmp_path}/none")
    assert app_ids() == ["forum", "shop"]
    assert [load_app(app_id).id for app_id in app_ids()] == ["forum", "shop"]
    (more / "shop.yaml").write_text(REFERENCE)
    with pytest.raises(SettingsError, match=r"shop\.yaml and .*/more/shop\.yaml have settings of one app"):
        load_app("shop")
