# Airflow with this project's DAGs, plugins and pinned requirements.
FROM apache/airflow:3.3.2-python3.11
COPY requirements-image.txt /tmp/
RUN pip install --no-cache-dir --requirement /tmp/requirements-image.txt
COPY ci/airflow-role.json deploy/init.py /opt/airflow/setup/
COPY dags /opt/airflow/dags
COPY plugins /opt/airflow/plugins
COPY include /opt/airflow/include
