#!/usr/bin/env bash
# Brings Airflow's database up to date, and makes what the DAGs need: MLflow's roles, logins, a pool. Safe to run again.
set -euo pipefail
airflow db check --retry 60 --retry-delay 2
airflow db migrate
"$(dirname "$0")/accounts.sh" ensure
airflow pools set spark "${SPARK_SLOTS:-1}" "Spark jobs that may run at the same time."
