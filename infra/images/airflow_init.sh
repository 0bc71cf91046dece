#!/usr/bin/env bash
# Brings Airflow's database up to date, and makes what the DAGs need. Safe to run again.
set -euo pipefail
airflow db check --retry 60 --retry-delay 2
airflow db migrate
airflow users create --role Admin --username admin --firstname Darkroom --lastname Admin \
  --email admin@localhost.localdomain --password "$AIRFLOW_ADMIN_PASSWORD"
airflow pools set spark "${SPARK_SLOTS:-1}" "Spark jobs that may run at the same time."
