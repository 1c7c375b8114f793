"""The forge: who may read what, over http and SSH, and its faults."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.sample_repositories import LFS_CONTENT, LFS_PATH, build_lfs, build_submodules
from tests.unit.local_forge import Forge, local_forge

TOKEN = "forge_of_a_test"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("repositories")
    (directory / "private").mkdir()
    for folder in (directory, directory / "private"):
        build_submodules(folder)
        build_lfs(folder)
    return directory


@pytest.fixture(scope="module")
def forge(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with local_forge(repositories, TOKEN, tmp_path_factory.mktemp("keys")) as forge:
        yield forge


@pytest.fixture(autouse=True)
def _as_new(forge: Forge) -> Iterator[None]:
    yield
    forge.behave()


def git(forge: Forge, *arguments: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run git as a client that knows the forge's host key, and nothing of this machine's settings."""
    assert forge.ssh is not None
    options = " ".join(options_of_ssh(forge, key or forge.ssh.deploy_key))
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": f"ssh {options}",
    }
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, env=environment, check=False, timeout=30
    )


def options_of_ssh(forge: Forge, key: Path) -> list[str]:
    assert forge.ssh is not None
    options = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none"]
    options.append(f"UserKnownHostsFile={forge.ssh.known_hosts}")
    return ["-F", "/dev/null", *(f"-o{option}" for option in options), "-i", str(key)]


def with_token(url: str, token: str = TOKEN) -> str:
    return url.replace("http://", f"http://x-access-token:{token}@")


def test_a_public_repository_is_read_by_anybody(forge: Forge) -> None:
    assert "refs/heads/main" in git(forge, "ls-remote", f"{forge.url}/shop.git").stdout


@pytest.mark.parametrize("name", ["private/shop.git", "./private/shop.git", "x/../private/shop.git"])
def test_a_private_repository_wants_the_token(forge: Forge, name: str) -> None:
    url = f"{forge.url}/{name}"
    assert "could not read Username" in git(forge, "ls-remote", url).stderr
    assert "Authentication failed" in git(forge, "ls-remote", with_token(url, "wrong")).stderr
    if name.startswith("private"):
        assert "refs/heads/main" in git(forge, "ls-remote", with_token(url)).stdout


def test_without_a_token_nobody_reads_a_private_repository(repositories: Path) -> None:
    with local_forge(repositories) as open_forge, pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{open_forge.url}/private/shop.git/info/refs?service=git-upload-pack")


def test_a_deploy_key_reads_everything_and_changes_nothing(forge: Forge, tmp_path: Path) -> None:
    clone = git(forge, "clone", "--quiet", f"{forge.ssh_url}/private/shop.git", str(tmp_path / "clone"))
    assert clone.returncode == 0, clone.stderr
    pushed = git(forge, "-C", str(tmp_path / "clone"), "push", "origin", "HEAD:other")
    assert "read only" in pushed.stderr


def test_another_key_and_another_host_are_refused(forge: Forge, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    assert "Permission denied" in git(forge, "ls-remote", f"{forge.ssh_url}/shop.git", key=other).stderr
    assert forge.ssh is not None
    known = forge.ssh.known_hosts.read_text()
    try:
        forge.ssh.known_hosts.write_text(f"{known.split()[0]} {other.with_suffix('.pub').read_text()}")
        refused = git(forge, "ls-remote", f"{forge.ssh_url}/shop.git").stderr
    finally:
        forge.ssh.known_hosts.write_text(known)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused


@pytest.mark.parametrize("path", ["none.git", "../private", "/etc"])
def test_what_is_no_repository_is_not_found_over_ssh(forge: Forge, path: str) -> None:
    assert "Repository not found" in git(forge, "ls-remote", f"{forge.ssh_url}/{path}").stderr


def test_an_ssh_client_gets_no_shell(forge: Forge) -> None:
    assert forge.ssh is not None
    shell = [
        *(
            "ssh",
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            f"UserKnownHostsFile={forge.ssh.known_hosts}",
        ),
        *("-i", str(forge.ssh.deploy_key), "-p", str(forge.ssh.port), "git@127.0.0.1", "id"),
    ]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (128, "")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"kind": "status", "status": 403}, "Repository not found"),
        ({"kind": "status", "status": 503}, "Internal server error"),
        ({"kind": "reset"}, "Connection .*closed|Broken pipe|hung up|disconnect"),
    ],
)
def test_the_faults_of_the_forge_reach_ssh(forge: Forge, fault: dict[str, object], seen: str) -> None:
    forge.misbehave(method="SSH", path="/git/shop.git", count=1, **fault)  # type: ignore[arg-type]
    url = f"{forge.ssh_url}/shop.git"
    disturbed = git(forge, "ls-remote", url)
    assert disturbed.returncode != 0
    assert re.search(seen, disturbed.stderr), disturbed.stderr
    assert git(forge, "ls-remote", url).returncode == 0


@pytest.mark.parametrize("over", ["http", "ssh"])
def test_submodules_are_read_the_way_their_repository_is(forge: Forge, tmp_path: Path, over: str) -> None:
    url = with_token(forge.url) if over == "http" else forge.ssh_url
    done = git(
        forge, "clone", "--quiet", "--recurse-submodules", f"{url}/private/shop.git", str(tmp_path / "clone")
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone/vendor/library/assets/logo.svg").read_text() == "<svg/>\n"


def test_an_object_of_git_lfs_is_where_the_pointer_says(forge: Forge, repositories: Path) -> None:
    pointer = subprocess.run(
        ["git", "-C", str(repositories / "pictures.git"), "show", f"main:{LFS_PATH}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    identifier = hashlib.sha256(LFS_CONTENT).hexdigest()
    assert f"oid sha256:{identifier}" in pointer
    wanted = {"operation": "download", "objects": [{"oid": identifier, "size": len(LFS_CONTENT)}]}
    request = urllib.request.Request(
        f"{forge.url}/pictures.git/info/lfs/objects/batch", data=json.dumps(wanted).encode()
    )
    with urllib.request.urlopen(request) as answer:
        [found] = json.load(answer)["objects"]
    with urllib.request.urlopen(found["actions"]["download"]["href"]) as answer:
        assert answer.read() == LFS_CONTENT
