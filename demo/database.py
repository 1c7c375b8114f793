"""An empty, migrated metadata database, made once: the migration takes several seconds."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from demo.airflow_settings import ROOT, Home, environment
from demo.errors import DemoError

CACHE = ROOT / "build" / "cache"
MIGRATE_SECONDS = 300


def prepare(cache: Path = CACHE) -> Path:
    """Return the empty database for the Airflow that is installed; make it if there is none yet.

    :raises DemoError: if Airflow cannot make it.
    """
    recipe = f"{sys.version_info[:2]} {(ROOT / 'requirements.txt').read_text()}"
    path = cache / f"airflow-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.db"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            home = Home(Path(directory))
            _migrate(home)
            # Renamed into place, so that a reader never sees half of it.
            whole = home.directory / "whole.db"
            copy(home.database, whole)
            whole.rename(path)
    return path


def copy(source: Path, target: Path) -> None:
    """Copy a database, with what still stands in its write-ahead log."""
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
    target.chmod(0o600)


def _migrate(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment(home, port=1),
        capture_output=True,
        text=True,
        timeout=MIGRATE_SECONDS,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise DemoError(f"Airflow cannot make its database: {last}")
