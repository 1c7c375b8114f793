"""What Airflow alone costs: as many tasks as a deploy runs, one after the other, that do nothing."""

from __future__ import annotations

from pathlib import Path

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, chain

TASKS = int(Path(__file__).with_name("empty_chain.tasks").read_text())


def nothing() -> None:
    """Do nothing."""


with DAG("empty_chain", schedule=None, is_paused_upon_creation=False) as dag:
    chain(*(PythonOperator(task_id=f"empty_{n}", python_callable=nothing) for n in range(TASKS)))
