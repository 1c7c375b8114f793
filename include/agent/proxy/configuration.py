"""Who exists: ``haproxy.cfg``, validated, installed and loaded."""

from __future__ import annotations

import time

from agent.paths import Paths
from agent.protocol import AgentError, Code
from agent.proxy.haproxy import RELOAD_WAIT, Haproxy
from agent.proxy.processes import Processes
from agent.proxy.traffic_map import TrafficMap
from agent.proxy.unprivileged import AS_HAPROXY, Unprivileged, is_for_haproxy, write_for_haproxy
from agent.system import alert, digest, read_json, started_at, write_atomically, write_json

# Of a sync's seconds, those that are kept for going back to the old configuration.
GO_BACK_TO_OLD_CONFIGURATION = 75.0
# Files that a hand had edited: so many are kept.
EDITED_KEPT = 10
# Bytes of the file that are read; a request is not larger.
LARGEST_CONFIG = 16 << 20


class Configuration:
    """Who exists: the file, and whether HAProxy runs it."""

    def __init__(self, paths: Paths, haproxy: Haproxy) -> None:
        self.paths, self.haproxy, self.deadline = paths, haproxy, haproxy.deadline
        self.unprivileged = Unprivileged(paths, haproxy.deadline)

    def file_digest(self) -> str | None:
        """Digest of the file, with which the next HAProxy would start; None if there is none."""
        try:
            with self.paths.config.open("rb") as file:
                return digest(file.read(LARGEST_CONFIG))
        except OSError:
            return None

    def running_digest(self) -> str | None:
        """Digest of what runs; None if anything but :meth:`load` has started the present worker."""
        loaded, processes = read_json(self.paths.loaded), self.haproxy.processes()
        if processes is None or len(processes.workers) != 1:
            return None
        worker = processes.workers[0]
        return loaded.get("sha256") if loaded.get("worker") == [worker, started_at(worker)] else None

    def validate(self, config: bytes) -> None:
        """Let HAProxy, which is not root, check a configuration that is not installed.

        :raises AgentError: with the code ``invalid_config`` and HAProxy's own reason.
        """
        candidate = self.paths.config.with_name(".haproxy.cfg.candidate")
        write_for_haproxy(candidate, config)
        status, output = self.deadline.run(*AS_HAPROXY, "haproxy", "-c", "-f", str(candidate))
        candidate.unlink()
        if status != 0:
            message = f"HAProxy refuses the configuration, nothing was changed: {alert(output)}"
            raise AgentError(Code.INVALID_CONFIG, message)

    def install(self, config: bytes) -> bytes | None:
        """Put the file in place and return the one before, which is kept if a hand has edited it.

        HAProxy's next start is without root's rights, or with them if the file needs them. Killed anywhere,
        this leaves a file and a unit that go together.

        :raises AgentError: with the code ``not_installed``.
        """
        if not self.unprivileged.fits(config):
            self.unprivileged.remove()
        old = self._replace(config)
        if self.unprivileged.fits(config):
            self.unprivileged.install()
        return old

    def _replace(self, config: bytes) -> bytes | None:
        old = self.paths.config.read_bytes() if self.paths.config.exists() else None
        if old == config and is_for_haproxy(self.paths.config):
            return old
        if old is not None and digest(old) != read_json(self.paths.installed).get("sha256"):
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            write_atomically(self.paths.config.with_name(f"haproxy.cfg.{stamp}.bak"), old)
            for oldest in sorted(self.paths.config.parent.glob("haproxy.cfg.*Z.bak"))[:-EDITED_KEPT]:
                oldest.unlink()
        write_for_haproxy(self.paths.config, config)
        write_json(self.paths.installed, {"sha256": digest(config)})
        return old

    def load(self, config: bytes, expected: TrafficMap | None) -> None:
        """Start or reload HAProxy, and make sure that it happened: Debian's unit does not wait for it.

        :param expected: the map that the new worker has to read; any map if there is none.
        :raises AgentError: with the code ``reload_failed``.
        """
        before = None
        if self.deadline.run("systemctl", "is-active", "haproxy")[0] == 0:
            # A reload that is under way, for example a killed call's, keeps the master from answering.
            before = self.deadline.wait_for(RELOAD_WAIT, self.haproxy.processes)
            if before is None:
                raise AgentError(Code.RELOAD_FAILED, f"nothing answers on {self.paths.master_socket}")
        else:
            self.deadline.run("systemctl", "reset-failed", "haproxy")
        how = "start" if before is None else "restart" if self._may_restart() else "reload"
        status, output = self.deadline.run("systemctl", how, "haproxy")
        if status != 0:
            raise AgentError(Code.RELOAD_FAILED, alert(output))
        after = self.deadline.wait_for(RELOAD_WAIT, lambda: self._outcome(before, expected))
        if after is None or after.failed:
            died = "its new worker does not start, see journalctl -u haproxy"
            raise AgentError(Code.RELOAD_FAILED, died if after else "no new worker answers")
        worker = after.workers[0]
        write_json(self.paths.loaded, {"sha256": digest(config), "worker": [worker, started_at(worker)]})

    def load_or_go_back(self, config: bytes, old: bytes | None, wanted: TrafficMap) -> None:
        """Load the installed configuration, or go back to the one before.

        :raises AgentError: if it did not load; the message says whether the old one is back.
        """
        try:
            with self.deadline.keeping(GO_BACK_TO_OLD_CONFIGURATION):
                self.load(config, wanted)
        except AgentError as error:
            outcome = "there is no old one to go back to"
            if old is not None:
                self.install(old)
                outcome = "the old one is back"
                try:
                    self.load(old, None)
                except AgentError as again:
                    outcome = f"the old file is back, but does not load either ({again})"
            message = f"HAProxy did not load the new configuration: {error}; {outcome}"
            raise AgentError(error.code, message) from None

    def _may_restart(self) -> bool:
        """Whether HAProxy runs as root, as a package has started it, and no client can notice a restart."""
        return self.unprivileged.is_there() and self.haproxy.is_root() is True and not self.haproxy.serves()

    def _outcome(self, before: Processes | None, expected: TrafficMap | None) -> Processes | None:
        now = self.haproxy.processes()
        if now is None or (before and (now.master, now.reloads) == (before.master, before.reloads)):
            return None
        if now.failed:
            return now
        known = before.workers + before.old if before else ()
        if len(now.workers) != 1 or now.workers[0] in known or self.haproxy.worker() != now.workers[0]:
            return None
        return now if expected is None or self.haproxy.running_map() == expected else None
