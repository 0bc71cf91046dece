#!/bin/sh
# Makes an account and a bucket for the lake, and another pair for MLflow's artifacts. Safe to run again.
set -eu
secrets=${SECRETS_FOLDER:-/run/secrets}
ADMIN_ACCESS_KEY_ID=$(cat "$secrets/s3-root-access-key")
ADMIN_SECRET_ACCESS_KEY=$(cat "$secrets/s3-root-secret-key")
export ADMIN_ACCESS_KEY_ID ADMIN_SECRET_ACCESS_KEY
admin() { "${VERSITYGW:-versitygw}" admin --endpoint-url "$ADMIN_ENDPOINT_URL" "$@"; }

for bucket in lake mlflow; do
  key=$(cat "$secrets/$bucket-access-key")
  if ! admin list-users | grep -qF "$key"; then
    admin create-user --access "$key" --secret "$(cat "$secrets/$bucket-secret-key")" --role user
  fi
  if ! admin list-buckets | grep -qE "^$bucket[[:space:]]"; then
    admin create-bucket --bucket "$bucket" --owner "$key"
  fi
done
