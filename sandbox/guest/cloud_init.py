#!/usr/bin/python3
"""Stand-in for cloud-init on a sandbox machine: the part of it that a droplet's user data may rely on.

Installed as /usr/bin/cloud-init. ``init`` runs before sshd at the first boot, ``final`` after it, ``status``
is for users. What it cannot do is an error that ``cloud-init status`` reports, never silence.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

SEED = Path("/var/lib/cloud/seed/sandbox")
INSTANCE = Path("/var/lib/cloud/instance")
FINISHED = INSTANCE / "boot-finished"
ERRORS = INSTANCE / "errors.json"
LOG = Path("/var/log/cloud-init.log")
OUTPUT = Path("/var/log/cloud-init-output.log")

APT_GET = [
    "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--assume-yes",
    "--option=Dpkg::Options::=--force-confold",
]  # fmt: skip

# Asked for by many configurations; without meaning on a machine whose image is as new as its packages.
WITHOUT_EFFECT = {
    "package_update", "package_upgrade", "package_reboot_if_required", "hostname", "fqdn", "manage_etc_hosts",
    "preserve_hostname", "final_message", "output", "disable_root", "ssh_pwauth",
}  # fmt: skip
HONOURED = {
    "users", "packages", "write_files", "runcmd", "bootcmd", "ssh_keys", "ssh_deletekeys", "ssh_genkeytypes",
    "ssh_authorized_keys",
}  # fmt: skip
KEY_TYPES = ("ecdsa", "ed25519")


def log(message: str) -> None:
    with LOG.open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")


def fail(message: str) -> None:
    log(f"ERROR {message}")
    errors = json.loads(ERRORS.read_text()) if ERRORS.exists() else []
    ERRORS.write_text(json.dumps([*errors, message]))


def run(command: list[str], text: str | None = None) -> bool:
    with OUTPUT.open("a") as output:
        done = subprocess.run(
            command, input=text, text=True, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        fail(f"{' '.join(command)[:200]}: exit status {done.returncode}")
    return done.returncode == 0


def user_data() -> str:
    path = SEED / "user-data"
    return path.read_text() if path.exists() else ""


def configuration() -> Json:
    text = user_data()
    if not text.startswith("#cloud-config"):
        return {}
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        fail(f"user data is not YAML: {error}")
        return {}
    if not isinstance(config, dict):
        fail("user data is not a mapping")
        return {}
    return config


def report_unknown(config: Json) -> None:
    text = user_data()
    if text.strip() and not text.startswith(("#cloud-config", "#!")):
        fail("user data starts with neither #cloud-config nor #!: nothing was done")
    for key in sorted(set(config) - HONOURED - WITHOUT_EFFECT):
        fail(f"the sandbox's cloud-init does not know {key!r}")


def authorize(user: str, keys: list[str]) -> None:
    if not keys:
        return
    entry = pwd.getpwnam(user)
    directory = Path(entry.pw_dir, ".ssh")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / "authorized_keys"
    present = file.read_text().splitlines() if file.exists() else []
    file.write_text(
        "\n".join([*present, *(key.strip() for key in keys if key.strip() not in present)]) + "\n"
    )
    file.chmod(0o600)
    for path in (directory, file):
        os.chown(path, entry.pw_uid, entry.pw_gid)


def words(value: Any) -> list[str]:
    if not value:
        return []
    if isinstance(value, str):
        return [word.strip() for word in value.split(",")]
    return [str(word) for word in value]


def exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def add_user(user: Json) -> None:
    name = str(user["name"])
    command = ["useradd", "--shell", str(user.get("shell") or "/bin/bash")]
    command += ["--system"] if user.get("system") else []
    command += ["--no-create-home"] if user.get("no_create_home") or user.get("system") else ["--create-home"]
    for option, value in {
        "--comment": user.get("gecos"),
        "--home-dir": user.get("homedir"),
        "--uid": user.get("uid"),
        "--gid": user.get("primary_group"),
    }.items():
        command += [option, str(value)] if value is not None else []
    groups = words(user.get("groups"))
    for group in [*groups, *words(user.get("primary_group"))]:
        run(["groupadd", "--force", group])
    command += ["--groups", ",".join(groups)] if groups else []
    if not exists(name) and not run([*command, name]):
        return
    authorize(name, words(user.get("ssh_authorized_keys")))
    rules = user.get("sudo")
    if rules:
        lines = [f"{name} {rule}" for rule in ([rules] if isinstance(rules, str) else rules)]
        file = Path("/etc/sudoers.d/90-cloud-init-users")
        present = file.read_text() if file.exists() else ""
        file.write_text(present + "\n".join(lines) + "\n")
        file.chmod(0o440)


def users(config: Json) -> None:
    for user in config.get("users") or []:
        if user == "default":
            continue
        if isinstance(user, dict) and user.get("name"):
            add_user(user)
        else:
            fail(f"users: {user!r} has no name")


def host_keys(config: Json) -> None:
    directory = Path("/etc/ssh")
    if config.get("ssh_deletekeys", True):
        for file in directory.glob("ssh_host_*key*"):
            file.unlink()
    given = config.get("ssh_keys") or {}
    for name, text in given.items():
        kind, _, half = name.rpartition("_")
        if half not in ("private", "public") or not kind:
            fail(f"ssh_keys: unknown entry {name!r}")
            continue
        file = directory / (f"ssh_host_{kind}_key" + (".pub" if half == "public" else ""))
        file.touch(mode=0o600 if half == "private" else 0o644)
        file.write_text(str(text).rstrip("\n") + "\n")
    if not given:
        for kind in config.get("ssh_genkeytypes") or KEY_TYPES:
            file = directory / f"ssh_host_{kind}_key"
            if not file.exists():
                run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(file)])


def decoded(entry: Json) -> bytes:
    content = entry.get("content") or ""
    encoding = str(entry.get("encoding") or "text/plain").lower()
    data = content if isinstance(content, bytes) else str(content).encode()
    if encoding in ("b64", "base64", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64"):
        data = base64.b64decode(data)
    return gzip.decompress(data) if encoding.startswith("gz") else data


def write_files(config: Json, *, deferred: bool) -> None:
    for entry in config.get("write_files") or []:
        if bool(entry.get("defer")) is not deferred:
            continue
        try:
            path = Path(entry["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if entry.get("append") else "wb") as file:
                path.chmod(int(str(entry.get("permissions") or "0644"), 8))
                file.write(decoded(entry))
            user, _, group = str(entry.get("owner") or "root:root").partition(":")
            shutil.chown(path, user, group or user)
        except (KeyError, ValueError, OSError, LookupError) as error:
            fail(f"write_files: {entry.get('path')}: {error}")


def is_installed(name: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def packages(config: Json) -> None:
    wanted = [str(each if isinstance(each, str) else each[0]) for each in config.get("packages") or []]
    # Most are in the image, and the lists of the others take seconds to fetch.
    missing = [name for name in wanted if not is_installed(name)]
    if "haproxy" in wanted and "haproxy" not in missing:
        run(["systemctl", "enable", "--now", "haproxy"])
    if missing and run([*APT_GET, "update"]):
        run([*APT_GET, "install", *missing])


def commands(config: Json, key: str) -> None:
    for command in config.get(key) or []:
        run(["/bin/sh", "-c", command] if isinstance(command, str) else [str(word) for word in command])


def script() -> None:
    text = user_data()
    if text.startswith("#!"):
        path = INSTANCE / "user-data-script"
        path.write_text(text)
        path.chmod(0o700)
        run([str(path)])


def init() -> None:
    INSTANCE.mkdir(parents=True, exist_ok=True)
    config = configuration()
    report_unknown(config)
    keys = json.loads((SEED / "meta-data.json").read_text())["public_keys"]
    commands(config, "bootcmd")
    host_keys(config)
    write_files(config, deferred=False)
    users(config)
    authorize("root", [*keys, *words(config.get("ssh_authorized_keys"))])


def final() -> None:
    config = configuration()
    packages(config)
    write_files(config, deferred=True)
    commands(config, "runcmd")
    script()
    FINISHED.write_text(f"{time.time():.3f}\n")
    log("finished")


def status(arguments: list[str]) -> int:
    while "--wait" in arguments and not FINISHED.exists():
        time.sleep(0.1)
    errors = json.loads(ERRORS.read_text()) if ERRORS.exists() else []
    state = "running" if not FINISHED.exists() else "error" if errors else "done"
    if "json" in arguments:
        print(json.dumps({"status": state, "errors": errors}))
    else:
        print(f"status: {state}")
        if "--long" in arguments:
            print("\n".join(["errors:", *(f"  - {error}" for error in errors)]))
    return 1 if state == "error" else 0


def main(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else ""
    if verb == "status":
        return status(arguments[1:])
    if verb in ("init", "final"):
        try:
            {"init": init, "final": final}[verb]()
        except Exception as error:
            fail(f"{verb}: {error!r}")
            if verb == "final":
                FINISHED.touch()
            raise
        return 0
    print("usage: cloud-init status [--wait] [--long] [--format json]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
