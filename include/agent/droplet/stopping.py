"""Stopping the app on a droplet of the idle color."""

from __future__ import annotations

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.claims import Claims, token_of
from agent.protocol import AgentError, Code, Json

# Seconds to wait for the service. Requests in progress may take longer; the service ends after them.
STOP_WAIT = 15.0


def stop(call: Call, request: Json) -> Json:
    """Stop the app. It stays stopped when the droplet restarts; the next activation enables it again.

    Request: ``app``, ``token``. Answer: ``stopped``, false if its last requests are still in progress, after
    which it ends by itself. Codes: ``busy``, ``claimed``; nothing was stopped then.
    ``failed`` if systemd refuses. Killed anywhere, the app runs or ends; the next call finishes.
    """
    app = AppPaths.of(call.paths, request)
    claims, token = Claims(app, call.deadline), token_of(request)

    def shown(name: str) -> str:
        return call.deadline.run("systemctl", "show", f"--property={name}", "--value", app.service)[1].strip()

    # Nobody starts a release meanwhile.
    with claims.held(token, "nothing was stopped, trigger a new run"):
        claims.take(token)
        if shown("LoadState") == "not-found":
            return {"stopped": True}
        for command in (("disable", "--quiet"), ("stop", "--no-block")):
            status, output = call.deadline.run("systemctl", *command, app.service)
            if status != 0:
                message = f"systemctl does not {command[0]} {app.service}: {output[-300:]}"
                raise AgentError(Code.FAILED, message)
        is_stopped = call.deadline.wait_for(
            STOP_WAIT, lambda: shown("ActiveState") in ("inactive", "failed") or None, pause=0.1
        )
        return {"stopped": bool(is_stopped)}
