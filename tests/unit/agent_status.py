"""The answer of a proxy's agent to `status`, which a test changes where it needs to."""

from __future__ import annotations

from typing import Any

NO_COUNTERS = {
    "requests": 0,
    "responses_5xx": 0,
    "connection_errors": 0,
    "retries": 0,
    "redispatches": 0,
}


def answer(**changes: Any) -> dict[str, Any]:
    said = {"live": "blue", "idle": "green", "idle_share": 0}
    server = {"name": "b-1", "address": "10.0.0.1", "port": 8080, "up": True, "check": "L7OK"}
    return {
        "ok": True,
        "haproxy": {
            "version": "2.6.12",
            "running": True,
            "config_sha256": None,
            "workers": 1,
            "old_workers": 0,
        },
        "live": "blue",
        "idle": "green",
        "map_file": said,
        "map_running": said,
        "consistent": True,
        "servers": {"blue": [server], "green": []},
        "counters": {"blue": NO_COUNTERS, "green": {**NO_COUNTERS, "requests": 7}},
        "sessions": {"blue": 2, "green": 0},
        "lock": {"owner": "deploy", "run_id": "r", "ref": "v1", "since": 1.5, "token": 3},
        "pending": {
            "from": "blue",
            "to": "green",
            "revision": "a" * 40,
            "run_id": "r",
            "deadline": 9.5,
            "path": "/",
        },
        "confirmed": {"color": "blue", "revision": "b" * 40, "run_id": "p", "at": 0.5},
        "last_revert": {"from": "green", "to": "blue", "at": 1.0, "reason": "x", "run_id": "q"},
        "moved_at": 1.0,
        "now": 2.0,
        **changes,
    }
