#!/usr/bin/env bash
# Accounts of Airflow and MLflow: ensure, add NAME ROLE, remove NAME. The code is in plugins/darkroom_airflow/accounts.py.
set -euo pipefail
export PYTHONPATH="$AIRFLOW__CORE__PLUGINS_FOLDER${PYTHONPATH:+:$PYTHONPATH}"
exec python -m darkroom_airflow.accounts "$@"
