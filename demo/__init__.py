"""What ties the sandbox and Airflow together, for ``make demo`` and for the system tests."""
