"""The settings of an app whose droplets are the sandbox's."""

from __future__ import annotations

from typing import Any

PREVIEW_HOST = "green.example.com"
# How the sandbox's account calls Airflow's key.
SSH_KEY = "airflow"


def app_settings(app: str, repository: str) -> dict[str, Any]:
    """Return the content of the app's file.

    :param app: the app's id.
    :param repository: where droplets and Airflow fetch it.
    """
    return {
        "repository": repository,
        "default_ref": "main",
        "fleet": {
            "region": "nyc3",
            "size": "s-1vcpu-1gb",
            "image": "debian-12-x64",
            "ssh_keys": [SSH_KEY],
            "tags": {"app": f"app:{app}"},
        },
        "traffic": {"preview_host": PREVIEW_HOST},
        "validation": {"bake": 5, "confirm_within": 30},
        # The sample's releases are tags, some on branches of their own, and are deployed in any order.
        "policy": {"branches": ["*"], "allow_older": "always"},
        "dry_run_schedule": None,
    }
