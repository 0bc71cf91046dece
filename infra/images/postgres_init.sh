#!/usr/bin/env bash
# Run once by the PostgreSQL image, on an empty data folder: one role and one database a service.
set -euo pipefail
secrets=${SECRETS_FOLDER:-/run/secrets}
psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
  -v airflow="$(cat "$secrets/airflow-database-password")" -v mlflow="$(cat "$secrets/mlflow-database-password")" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
REVOKE CONNECT, TEMPORARY ON DATABASE airflow, mlflow, mlflow_auth FROM PUBLIC;
SQL
