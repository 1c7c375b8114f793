"""A small fleet of its own, deployed to without Airflow, for tests that look at it and break it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from agent.protocol import Program
from bluegreen.checks.finding import Finding
from bluegreen.checks.gather.collect import collect
from bluegreen.checks.run import findings_in
from bluegreen.color import Color
from bluegreen.fleet import host_keys as hostkey
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.configuration import configuration_of
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.file_transfer import FileTransfer
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.hooks.repository import with_source
from bluegreen.release.artifact import ArtifactFile, BuildAnswer
from bluegreen.release.jobs import JobReport
from bluegreen.release.release import build_program, build_unit, deploy_program, deploy_unit
from bluegreen.run.seal import key_from
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.preview_key import derived_key
from sandbox import Machine
from sandbox.sample_app import build_repository
from tests.sandbox.droplets import Shop
from tests.started import started

APP = "watched"
SEALING_SECRET = "Never.to.be.printed.in.any.log.or.finding"
# HAProxy's configuration has the key of Airflow's own requests, which no finding may show.
PREVIEW_KEY = derived_key(key_from(SEALING_SECRET), APP)
NAMES = {"lb": ("watched-lb-1", "watched-lb-2"), "blue": ("watched-blue-1",), "green": ("watched-green-1",)}

# Branches that cannot be deployed, and how each is made from main.
BRANCHES = {
    "no-snapshot": "git rm --quiet cpanfile.snapshot",
    "no-psgi": "git rm --quiet app.psgi",
    "not-vendored": "touch vendor/cache/kept && git add vendor && echo >> cpanfile &&"
    " git rm --quiet $(git ls-files vendor/cache/authors/id | grep tar.gz)",
    "left-out": "echo 'cpanfile.snapshot export-ignore' >.gitattributes && git add .gitattributes",
    "no-vendor": "git rm --quiet -r vendor && echo >> cpanfile",
    "submodule": "mkdir -p lib/other &&"
    " git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),lib/other",
    "link-out": "ln -s /srv outward && git add outward",
}


# It writes wherever the app may, on a volume as well as beside it, and does not mind if it cannot.
SCRIBE = """
mkdir /mnt/volume /run/scribe && mount -t tmpfs volume /mnt/volume
chown app-watched: /mnt/volume /run/scribe
cat >/mnt/volume/Scribe.pm <<'END'
package Scribe;
for my $place (qw(/mnt/volume /run/scribe /var/lib/app-watched /var/tmp /tmp /dev/shm)) {
    open my $file, '>>', "$place/written" or next;
    print $file "x\\n";
}
1;
END
echo 'PERL5OPT="-I/mnt/volume -MScribe"' >/etc/default/app-watched
"""
NO_SCRIBE = "umount /mnt/volume && rm -r /mnt/volume /run/scribe /etc/default/app-watched"


@dataclass
class Watched:
    """The fleet: v2, which is also ``main``, is live on green; blue runs v1 and has v2, too.

    :param revisions: of the sample app, by tag.
    """

    shop: Shop
    app: App
    revisions: dict[str, str]
    machines: dict[str, Machine] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=lambda: Fleet(proxies=(), blue=(), green=()))

    def findings(self, ref: str = "main", app: App | None = None) -> list[Finding]:
        """Return what a dry run finds now, the same way as its operator."""
        self.shop.box.reset_limits()
        return findings_in(collect(app or self.app, ref))

    def on(self, name: str, command: str) -> str:
        """Run a command on a machine as root, not by way of SSH."""
        return self.machines[f"watched-{name}"].run(command).stdout

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Let the app on a machine write as soon as it is loaded; the one that runs there stays as it is."""
        self.on(name, SCRIBE)
        try:
            yield
        finally:
            self.on(name, NO_SCRIBE)

    @contextmanager
    def locked(self) -> Iterator[ProxiesHook]:
        """Hold the lock, as a run does."""
        hook = ProxiesHook(self.app, self.fleet.proxies)
        hook.lock("somebody", "deploy/run-7", "v2", lambda other: True)
        try:
            yield hook
        finally:
            hook.unlock()
            hook.close()

    def sync(self) -> None:
        """Install HAProxy's configuration, and start it if it does not run."""
        with self.locked() as hook:
            ipv6 = all(status.haproxy.ipv6 for status in hook.statuses().values())
            hook.sync(haproxy_config(self.app, self.fleet, (2, 6), ipv6=ipv6), None, Color.BLUE)

    def switch(self, hook: ProxiesHook, to: Color) -> None:
        """Move traffic."""
        tag = {Color.BLUE: "v1", Color.GREEN: "v2"}[to]
        revision = self.revisions[tag]
        hook.switch(
            to=to,
            revision=revision,
            started=started(revision),
            confirm_within=60,
            min_servers=1,
            health_path=self.app.health.path,
        )

    def settle(self) -> None:
        """Let green be live, and confirmed after whatever was there before."""
        with self.locked() as hook:
            for color in Color:
                self.switch(hook, color)
                hook.confirm(self.revisions["v1" if color is Color.BLUE else "v2"])

    def deploy(self, tag: str, *droplets: Droplet) -> None:
        """Build a release on the first of some droplets, and start it on all of them."""
        with TemporaryDirectory() as directory:
            file = Path(directory) / "artifact.tar.gz"
            answer = self._build(droplets[0], self.revisions[tag], file)
            for droplet in droplets:
                self._start(droplet, answer, file)

    def _build(self, droplet: Droplet, revision: str, file: Path) -> BuildAnswer:
        with self._job(droplet, build_unit(APP, revision)) as job, with_source(self.app, revision) as source:
            sent = ArtifactFile(name="source.tar.gz", sha256=source.sha256, size=source.size)
            transfer = FileTransfer(job.agent, APP, job.token, 60)
            transfer.put(source.path, sent)
            program = build_program(self.app, revision, source.committed, sent.sent, None)
            answer = BuildAnswer.parse(self._done(job, program).answers.get("build"), revision)
            transfer.get(answer.artifact, file)
            job.end()
        return answer

    def _start(self, droplet: Droplet, answer: BuildAnswer, file: Path) -> None:
        with self._job(droplet, deploy_unit(APP, answer.release.partition("-")[0])) as job:
            FileTransfer(job.agent, APP, job.token, 60).put(file, answer.artifact)
            configuration = configuration_of(self.app, {})
            artifact, address = answer.artifact.sent, str(droplet.private)
            about = (answer.release, answer.digest, artifact, configuration, address)
            self._done(job, deploy_program(self.app, *about, kept=""))
            job.end()

    def _job(self, droplet: Droplet, unit: str) -> RemoteJob:
        return RemoteJob(DropletAgentHook.of(droplet, self.app), APP, unit, token=1)

    @staticmethod
    def _done(job: RemoteJob, program: Program) -> JobReport:
        written: list[str] = []
        job.start("deploy/run-1", program, timeout=120)
        report = job.follow(written.extend)
        assert report.state == "success", written
        return report


def settings(repository: str) -> dict[str, Any]:
    """What the app's file says."""
    tags = {"app": "app:watched", "blue": "watched:blue", "green": "watched:green"}
    return {
        "repository": repository,
        "default_ref": "main",
        "fleet": {
            "region": "nyc3",
            "size": "s-1vcpu-1gb",
            "image": "debian-12-x64",
            "ssh_keys": ["test"],
            "droplets_per_color": 1,
            "proxies": 2,
            # The fleet was not made by provisioning.
            "firewalls": False,
            "vpc": "default-nyc3",
            "tags": {**tags, "proxy": "watched:lb"},
        },
        "server": {"workers": 2},
        "policy": {"branches": ["*"]},
        "traffic": {"preview_host": "green.example.com"},
        "timeouts": {"ssh_connect": 2},
    }


@contextmanager
def watched_fleet(shop: Shop, directory: Path) -> Iterator[Watched]:
    """Order the machines, deploy to them, and destroy them afterwards."""
    box = shop.box
    revisions = build_repository(box.repositories / f"{APP}.git")
    (directory / f"{APP}.yaml").write_text(yaml.safe_dump(settings(f"{box.git_url}/{APP}.git")))
    connections: dict[str, dict[str, Any]] = {
        "DIGITALOCEAN": {"host": box.api_url, "password": box.token, "extra": {"ca_file": box.ca_file}},
        "BLUEGREEN_SSH": {"login": "root", "extra": {"key_file": str(shop.key)}},
        "BLUEGREEN_SEAL": {"password": SEALING_SECRET},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEGREEN_APPS_DIR", str(directory))
        for name, values in connections.items():
            kind = "ssh" if name == "BLUEGREEN_SSH" else "http"
            patch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": kind, **values}))
        world = Watched(shop, load_app(APP), revisions)
        try:
            for branch, command in BRANCHES.items():
                commit(box.repositories / f"{APP}.git", branch, command, directory)
            _order(world)
            _deploy(world)
            yield world
        finally:
            for machine in world.machines.values():
                shop.client().droplets.destroy(machine.droplet_id)


def _order(world: Watched) -> None:
    tags = {"lb": world.app.fleet.tags.proxy, "blue": "watched:blue", "green": "watched:green"}
    for role, names in NAMES.items():
        key = hostkey.generate()
        data = render_user_data(app=APP, proxy=role == "lb", host_key=key)
        ordered = world.shop.order(*names, user_data=data, tags=("app:watched", tags[role], key.tag))
        world.machines |= {machine.name: machine for machine in ordered}
    for machine in world.machines.values():
        machine.wait_ready()
        world.shop.wait_for_ssh(machine)
    found = world.shop.client().droplets.list(tag_name="app:watched")["droplets"]
    world.fleet = Fleet.of([Droplet.from_api(one) for one in found], world.app.fleet.tags)


def _deploy(world: Watched) -> None:
    [blue], [green] = world.fleet.blue, world.fleet.green

    def deploy() -> None:
        world.deploy("v2", green, blue)
        world.deploy("v1", blue)

    work: tuple[Callable[[], None], ...] = (deploy, world.sync)
    with ThreadPoolExecutor(len(work)) as pool:
        for job in [pool.submit(one) for one in work]:
            job.result()
    world.settle()


def commit(repository: Path, branch: str, command: str, directory: Path) -> None:
    """Push a branch that is ``main`` after a shell command."""
    clone = directory / branch
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for words in (
        ("git", "clone", "--quiet", str(repository), str(clone)),
        ("sh", "-c", command),
        ("git", *identity, "commit", "--quiet", "--all", "--message", branch),
        ("git", "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}"),
    ):
        subprocess.run(words, check=True, cwd=clone if clone.exists() else directory)
