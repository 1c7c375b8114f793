"""The page of deployments in Airflow."""
