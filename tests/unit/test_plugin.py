"""The plugin: what the scheduler has imported, the tasks that it forks need not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Like the scheduler with ``[core] lazy_load_plugins = False``, and then like a task that it forks.
IMPORTED_BY_A_TASK = """
import importlib, sys
import bluegreen_plugin
bluegreen_plugin.BlueGreenPlugin.on_load()
before = set(sys.modules)
for kind in sys.argv[1:]:
    importlib.import_module(kind)
found = set(sys.modules) - before - set(sys.argv[1:])
print(*sorted(name for name in found if not name.startswith("airflow.")))
"""


def test_tasks_import_nothing_that_the_scheduler_has_not_imported(tmp_path: Path) -> None:
    dag_files = [file.stem for file in sorted((ROOT / "dags").glob("*.py"))]
    paths = os.pathsep.join(str(ROOT / part) for part in ("plugins", "dags", "include"))
    environment = os.environ | {"PYTHONPATH": paths, "AIRFLOW_HOME": str(tmp_path)}

    imported = subprocess.run(
        [sys.executable, "-c", IMPORTED_BY_A_TASK, *dag_files],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=120,
    )

    assert imported.stdout.split() == []
