#!/usr/bin/env bash
# Runs a command with secrets from files: for each variable NAME_FILE that names a file below /run/secrets, NAME is set
# to the file's content. Only for variables whose program reads no file itself.
set -euo pipefail
for name in $(compgen -e); do
  if [[ "$name" == *_FILE && "${!name}" == /run/secrets/* ]]; then
    value=$(<"${!name}")
    export "${name%_FILE}=$value"
    unset "$name"
  fi
done
exec "$@"
