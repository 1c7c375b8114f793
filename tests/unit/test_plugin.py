"""The plugin: what the scheduler has imported, the tasks that it forks need not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Like the scheduler with ``[core] lazy_load_plugins = False``, and then like a task that it forks.
IMPORTED_BY_A_TASK = """
import sys
import bluegreen_plugin
bluegreen_plugin.BlueGreenPlugin.on_load()
before = set(sys.modules)
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert "bluegreen_deploy__my_perl_app" in bag.dags, bag.import_errors
found = set(sys.modules) - before
# The DAGs' files, and what says which Airflow that is.
print(*sorted(name for name in found if not name.startswith("unusual_prefix_") and name != "airflow.version"))
"""


def test_tasks_import_nothing_that_the_scheduler_has_not_imported(tmp_path: Path) -> None:
    paths = os.pathsep.join(str(ROOT / part) for part in ("plugins", "include"))
    environment = os.environ | {"PYTHONPATH": paths, "AIRFLOW_HOME": str(tmp_path)}

    imported = subprocess.run(
        [sys.executable, "-c", IMPORTED_BY_A_TASK, str(ROOT / "dags")],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=120,
    )

    assert imported.stdout.splitlines()[-1].split() == []
