"""The documentation of each task in Airflow's UI: sections of one Markdown file, by the task's id."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk.definitions.mappedoperator import MappedOperator

if TYPE_CHECKING:
    from airflow.sdk import DAG

TASKS = Path(__file__).resolve().parents[3] / "include" / "docs" / "tasks.md"


@cache
def task_docs() -> dict[str, str]:
    """Return the sections of ``include/docs/tasks.md`` by their headings; empty if the file is not there."""
    if not TASKS.is_file():
        return {}
    _, *sections = re.split(r"^## ", TASKS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading.strip(): text.strip() for heading, _, text in (one.partition("\n") for one in sections)}


def documented(dag: DAG) -> DAG:
    """Give each task of a DAG its documentation, and return the DAG."""
    for task in dag.tasks:
        text = task_docs().get(task.task_id)
        if isinstance(task, MappedOperator):
            task.partial_kwargs["doc_md"] = text
        else:
            task.doc_md = text
    return dag
