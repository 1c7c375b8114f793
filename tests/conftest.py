"""Where Airflow keeps its things in tests; set before anything imports it, because it looks only then."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.ending import pytest_configure as pytest_configure

ROOT = Path(__file__).resolve().parents[1]

_home = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)

os.environ.update(
    {
        "AIRFLOW_HOME": _home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
)
# A developer's own Airflow must not be what is tested.
for name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "BLUEGREEN_"))]:
    del os.environ[name]

# The tests' app is the reference file, copied as a user copies it.
_apps = Path(_home) / "apps"
_apps.mkdir()
shutil.copy(ROOT / "include" / "apps" / "my_perl_app.yaml.example", _apps / "my_perl_app.yaml")
os.environ["BLUEGREEN_APPS_DIR"] = str(_apps)


@pytest.fixture(autouse=True)
def _ssh_connection_as_it_is() -> None:
    """Let no test know the SSH connection of an earlier one: it is asked for once in a process."""
    if hooks := sys.modules.get("bluegreen.hooks.droplet"):
        hooks.ssh_connection.cache_clear()
