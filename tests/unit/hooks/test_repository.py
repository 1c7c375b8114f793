"""Reading a repository with the credentials of an Airflow connection."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from github import GithubIntegration

from bluegreen.errors import BlueGreenError, RefError, SettingsError
from bluegreen.hooks import repository
from bluegreen.hooks.repository import read_repository, repository_access, with_source
from bluegreen.settings.app import App
from bluegreen.source.cache import LEFT_BEHIND_SECONDS, cache_directory, locked_mirror
from bluegreen.source.policy import resolve
from tests.unit.local_forge import Forge, local_forge
from tests.unit.repositories import Repository, app_of

TOKEN = "geheim&token"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    (tmp_path / "forge" / "private").mkdir(parents=True)
    shop = Repository(tmp_path / "forge" / "work")
    shop.commit(**{"app.psgi": "1\n"})
    (tmp_path / "forge" / "private" / "shop.git").symlink_to(shop.path / ".git")
    return shop


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch, shop: Repository, tmp_path: Path) -> Iterator[Forge]:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
    with local_forge(shop.path.parent, TOKEN, tmp_path / "keys", tls) as found:
        yield found


def connected(monkeypatch: pytest.MonkeyPatch, url: str, **connection: Any) -> App:
    """Return an app whose repository is read with a connection ``forge``."""
    made = json.dumps({"conn_type": "git", **connection})
    monkeypatch.setenv("AIRFLOW_CONN_FORGE", made)
    app = app_of(url)
    connections = app.connections.model_copy(update={"repository": "forge"})
    return app.model_copy(update={"connections": connections})


def over_ssh(monkeypatch: pytest.MonkeyPatch, forge: Forge, **extra: str) -> App:
    assert forge.ssh is not None
    given = {"private_key": forge.ssh.deploy_key.read_text(), **extra}
    url = f"{forge.ssh_url}/private/shop.git"
    return connected(monkeypatch, url, extra={name: text for name, text in given.items() if text})


def known_hosts(forge: Forge) -> str:
    assert forge.ssh is not None
    return forge.ssh.known_hosts.read_text()


def revision_of(app: App) -> str:
    with repository_access(app) as access:
        return resolve(app, "main", access=access).revision


def refused(app: App) -> str:
    """Return the one line that says why the repository cannot be read."""
    with pytest.raises(BlueGreenError) as caught:
        revision_of(app)
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)
    return str(caught.value)


def test_a_token_reads_a_private_repository(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository, tmp_path: Path
) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", login="bot", password=TOKEN)
    head = shop.git("rev-parse", "HEAD")
    assert revision_of(app) == head
    with with_source(app, head) as source:
        assert source.path.is_file()
    assert not source.path.exists()
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"geheim" in content for content in kept), "the mirror's configuration, or its logs"


def test_no_command_line_has_a_secret(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository
) -> None:
    seen: list[str] = []
    original = subprocess.Popen.__init__

    def watched(process: Any, command: Any, *arguments: Any, **options: Any) -> None:
        seen.append(repr(command))
        original(process, command, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    revision_of(app)
    app = over_ssh(monkeypatch, forge, known_hosts=known_hosts(forge))
    with with_source(app, revision_of(app)):
        pass
    assert len(seen) > 10
    assert not any("geheim" in command or "PRIVATE KEY" in command for command in seen)


def test_without_the_connection_a_private_repository_is_refused(forge: Forge) -> None:
    assert refused(app_of(f"{forge.url}/private/shop.git")).endswith(
        "it asks for a login (401); connections.repository names the Airflow connection that has one"
    )


def test_without_the_setting_the_configuration_of_airflows_user_counts(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository, tmp_path: Path
) -> None:
    (tmp_path / "home" / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    login = f"{forge.url}".replace("https://", f"https://bot:{TOKEN.replace('&', '%26')}@")
    (tmp_path / "home" / ".git-credentials").write_text(f"{login}\n")
    assert revision_of(app_of(f"{forge.url}/private/shop.git")) == shop.git("rev-parse", "HEAD")


def test_a_token_that_is_not_valid_any_more_is_named(monkeypatch: pytest.MonkeyPatch, forge: Forge) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password="geheim-old")
    assert refused(app).endswith(
        "it refuses the login (401); is the token of connections.repository still valid?"
    )


def test_a_token_is_not_given_to_another_host(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, tmp_path: Path
) -> None:
    """The app's repository names a submodule on a host whose owner waits for the token."""
    app = connected(monkeypatch, "https://forge.example/shop.git", password=TOKEN)
    with repository_access(app) as access:
        asked = subprocess.run(
            ["git", "credential", "fill"],
            input=f"url={forge.url}/private/shop.git\n\n",
            env={**os.environ, **access.environment},
            capture_output=True,
            text=True,
            check=False,
        )
    assert TOKEN not in asked.stdout


def test_a_forge_that_repeats_the_token_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, forge: Forge
) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    with repository_access(app) as access:
        assert access.hide(f"fatal: {TOKEN} geheim%26token dXNlcjpnZWhlaW0mdG9rZW4=") == "fatal: *** *** ***"
        assert TOKEN not in repr(access)


@pytest.mark.parametrize("url", ["http://forge.example/shop.git"])
def test_a_token_is_not_sent_unencrypted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert refused(connected(monkeypatch, url, password=TOKEN)) == (
        f"the Airflow connection 'forge' has a token, which would be sent to {url} unencrypted; use its "
        "https:// address"
    )


def test_a_deploy_key_reads_a_private_repository(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository, tmp_path: Path
) -> None:
    app = over_ssh(monkeypatch, forge, known_hosts=known_hosts(forge))
    assert revision_of(app) == shop.git("rev-parse", "HEAD")
    # A key as it is often pasted, and the file of known hosts instead of its lines.
    assert forge.ssh is not None
    pasted = f"\n{forge.ssh.deploy_key.read_text().strip()}"
    app = over_ssh(monkeypatch, forge, private_key=pasted, known_hosts_file=str(forge.ssh.known_hosts))
    shop.commit()
    assert revision_of(app) == shop.git("rev-parse", "HEAD")


@pytest.mark.parametrize("known", ["", "[127.0.0.1]:1 ssh-ed25519 AAAA\n", "another key"])
def test_a_forge_whose_host_key_is_not_the_known_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, tmp_path: Path, known: str
) -> None:
    assert forge.ssh is not None
    if known == "another key":
        public = forge.ssh.deploy_key.with_suffix(".pub").read_text()
        known = f"[127.0.0.1]:{forge.ssh.port} {public}"
    assert refused(over_ssh(monkeypatch, forge, known_hosts=known)).endswith(
        "its SSH host key is not the known one, or none is known; known_hosts in the Airflow connection of "
        "connections.repository names it"
    )


def test_a_key_that_the_forge_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    key = (tmp_path / "other").read_text()
    app = over_ssh(monkeypatch, forge, known_hosts=known_hosts(forge), private_key=key)
    assert "Permission denied (publickey)" in refused(app)


def test_a_key_with_a_passphrase_is_opened(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository, tmp_path: Path
) -> None:
    assert forge.ssh is not None
    copy = tmp_path / "locked"
    copy.write_bytes(forge.ssh.deploy_key.read_bytes())
    copy.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "geheim", "-f", str(copy)], check=True)
    extra = {"known_hosts": known_hosts(forge), "private_key": copy.read_text()}
    app = over_ssh(monkeypatch, forge, **extra, private_key_passphrase="geheim")
    assert revision_of(app) == shop.git("rev-parse", "HEAD")
    assert "Permission denied" in refused(
        over_ssh(monkeypatch, forge, **extra, private_key_passphrase="geheim-wrong")
    )


@pytest.mark.parametrize("checking", ["no", "off", "accept-new", "ask"])
def test_an_unknown_host_key_cannot_be_allowed(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, checking: str
) -> None:
    assert refused(over_ssh(monkeypatch, forge, strict_host_key_checking=checking)) == (
        f"the Airflow connection 'forge' sets strict_host_key_checking to {checking!r}, but an unknown host "
        "key is always refused; remove it, and put the forge's key into known_hosts"
    )


def test_credentials_for_another_protocol_are_named(monkeypatch: pytest.MonkeyPatch, forge: Forge) -> None:
    app = over_ssh(monkeypatch, forge, private_key="")
    assert "has no private_key in its extra" in refused(app)
    app = connected(monkeypatch, "https://forge.example/shop.git", extra={"private_key": "geheim"})
    assert "has no password; store a token there" in refused(app)


def test_a_connection_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    app = connected(monkeypatch, "https://forge.example/shop.git")
    monkeypatch.delenv("AIRFLOW_CONN_FORGE")
    with pytest.raises(SettingsError, match="there is no Airflow connection 'forge'"):
        revision_of(app)


@pytest.fixture
def app_key(tmp_path: Path) -> str:
    made = ["openssl", "genrsa", "-out", str(tmp_path / "app.pem"), "2048"]
    subprocess.run(made, check=True, capture_output=True)
    return (tmp_path / "app.pem").read_text()


def test_a_github_app_reads_with_a_token_of_its_own(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository, app_key: str
) -> None:
    class Minted:
        token = TOKEN
        expires_at = datetime.now(UTC) + timedelta(hours=1)

    monkeypatch.setattr(GithubIntegration, "get_access_token", lambda *_, **__: Minted)
    extra = {"private_key": app_key, "github_app_id": "1", "github_installation_id": "2"}
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", extra=extra)
    assert revision_of(app) == shop.git("rev-parse", "HEAD")


def test_github_that_gives_no_token_is_one_line(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, app_key: str
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("404\nnot found")

    monkeypatch.setattr(GithubIntegration, "get_access_token", failing)
    extra = {"private_key": app_key, "github_app_id": "1", "github_installation_id": "2"}
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", extra=extra)
    assert refused(app) == (
        "the Airflow connection 'forge' is not usable: GitHub gives no token for the App: RuntimeError: 404"
    )


def test_the_environment_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch, forge: Forge) -> None:
    before = dict(os.environ)
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    before["AIRFLOW_CONN_FORGE"] = os.environ["AIRFLOW_CONN_FORGE"]
    revision_of(app)
    assert dict(os.environ) == before


def test_what_a_killed_task_has_left_is_removed(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository
) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    sources = cache_directory() / "sources"
    sources.mkdir(parents=True, mode=0o700)
    for name, age in (("old", LEFT_BEHIND_SECONDS + 60), ("new", 60)):
        (sources / name).mkdir()
        (sources / name / "source.tar.gz").touch()
        os.utime(sources / name, (time.time() - age,) * 2)
    with with_source(app, shop.git("rev-parse", "HEAD")):
        assert not (sources / "old").exists()
    assert [one.name for one in sources.iterdir()] == ["new"]


@contextmanager
def busy_mirror(app: App) -> Iterator[Callable[[], None]]:
    """Have another run hold the mirror until the block ends, or the function is called."""
    with ExitStack() as held:
        held.enter_context(locked_mirror(app.repository, "forge"))
        yield held.close


def test_a_lock_is_renewed_while_another_run_has_the_mirror(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository
) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    monkeypatch.setattr(repository, "PAUSE", 0.01)
    revision = shop.git("rev-parse", "HEAD")
    # The mirror is free once the lock was renewed.
    with busy_mirror(app) as release, with_source(app, revision, release) as source:
        assert source.size
    with busy_mirror(app) as release:
        assert read_repository(app, lambda access: resolve(app, revision, access=access), release)


def test_a_run_that_has_lost_its_lock_does_not_go_on_waiting_for_a_source(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository
) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    lost = BlueGreenError("another run has the lock")

    def renew() -> None:
        raise lost

    with busy_mirror(app), pytest.raises(BlueGreenError) as raised, with_source(app, "a" * 40, renew):
        pass
    assert raised.value is lost


def test_a_source_that_takes_for_ever_is_given_up_by_name(
    monkeypatch: pytest.MonkeyPatch, forge: Forge, shop: Repository
) -> None:
    app = connected(monkeypatch, f"{forge.url}/private/shop.git", password=TOKEN)
    monkeypatch.setattr(repository, "LONGEST", 0.05)
    monkeypatch.setattr(repository, "PAUSE", 0.01)
    with (
        busy_mirror(app),
        pytest.raises(RefError, match=r"/private/shop\.git was not read within 0\.05 s"),
        with_source(app, "a" * 40),
    ):
        pass
