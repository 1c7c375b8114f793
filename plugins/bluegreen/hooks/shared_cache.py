"""Whether all tasks have the same cache."""

from __future__ import annotations

import os

from airflow.sdk import conf

from bluegreen.hooks.store_errors import StoreError


def require_shared_cache() -> None:
    """Make sure that a task finds in the cache what another one has left there.

    :raises StoreError: if ``BLUEGREEN_CACHE_IS_SHARED`` denies it or, without that, if workers execute tasks.
    """
    executor, told = conf.get("core", "executor"), os.environ.get("BLUEGREEN_CACHE_IS_SHARED", "")
    if (told or str(executor == "LocalExecutor")).lower() != "true":
        raise StoreError(
            f"the artifact store is a directory of this host, but tasks may run on several ({executor}); set "
            "artifacts.store to an object store, or to a directory that every worker has mounted, or "
            "BLUEGREEN_CACHE_IS_SHARED=True if all workers have the same BLUEGREEN_CACHE_DIR"
        )
