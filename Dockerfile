# Airflow with this project's DAGs, plugins and pinned requirements.
FROM apache/airflow:3.3.2-python3.11
COPY --chown=airflow:0 requirements-image.txt /tmp/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/requirements-image.txt
COPY examples/ci/airflow-role.json hosting/init.py /opt/airflow/setup/
COPY dags /opt/airflow/dags
COPY plugins /opt/airflow/plugins
COPY include /opt/airflow/include
# The umask of the clone may keep others from reading the files.
USER root
RUN cd /opt/airflow && chmod -R go=u-w setup dags plugins include \
    # Containers cannot write here: neither what Python compiles, nor the file that Airflow makes where there is none.
    && python -m compileall -q dags plugins include/agent setup && touch airflow.cfg \
    # A new volume gets the owner and the mode of the directory that it is mounted on.
    && install --directory --owner=airflow --group=0 --mode=0770 cache
USER airflow
