#!/usr/bin/env bash
# Makes the environment in .darkroom/env from requirements.lock. Says what is missing before anything is installed.
# Does nothing when the environment is there and matches the lock file.
set -euo pipefail
cd "$(dirname "$0")/.."

env_dir=".darkroom/env"
need_disk_mb=6000

stop() {
  printf 'darkroom: %s\n' "$1" >&2
  exit 1
}

# --- Python 3.11 to 3.13, with venv
python=""
seen=""
for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
  version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  seen="$seen $candidate is $version;"
  case "$version" in
    3.11 | 3.12 | 3.13)
      python=$candidate
      break
      ;;
  esac
done
[ -n "$python" ] || stop "needs Python 3.11, 3.12 or 3.13.${seen:+ Found:$seen} Install one, or name it: make PYTHON=/path/to/python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  stop "$python has no venv module. On Debian or Ubuntu: apt-get install python$version-venv"

# --- Java 17 or newer
if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then java="$JAVA_HOME/bin/java"; else java=java; fi
command -v "$java" >/dev/null 2>&1 || stop "needs Java 17 for Spark; none was found. On Debian or Ubuntu: apt-get install openjdk-17-jre-headless"
java_version=$("$java" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -1)
[ "${java_version:-0}" -ge 17 ] ||
  stop "needs Java 17 or newer for Spark; $java is version ${java_version:-unknown}. Install one, or set JAVA_HOME"

# --- is there anything to do?
stamp="$(sha256sum requirements.lock infra/bootstrap.lock infra/images/requirements_of.py pyproject.toml | sha256sum | cut -c1-64) $version $PWD"
if [ -x "$env_dir/bin/python" ] && [ "$(cat "$env_dir/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

# --- a port that something else has, where services are to be started: "infra/setup.sh local" or "... stack"
home=${DARKROOM_HOME:-.darkroom}
case "${1:-}" in
  local) run="$home/run" ;;
  stack) run="$home/stack/run" ;;
  *) run="" ;;
esac
check_port() { # variable, port, service
  [[ $2 =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge 1 ] && [ "$2" -le 65535 ] ||
    stop "$1=$2 is no port. Expected a number from 1 to 65535"
  (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null || return 0
  local pid=""
  read -r pid _ 2>/dev/null <"$run/$3.pid" || true
  if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then return 0; fi # ours
  stop "port $2, wanted for $3, is taken by another program. Stop that one, or choose another port: make $1=$((10#$2 + 1)) up"
}
if [ -n "$run" ]; then
  check_port AIRFLOW_PORT "${AIRFLOW_PORT:-8080}" airflow-api
  check_port MLFLOW_PORT "${MLFLOW_PORT:-5500}" mlflow
fi

# --- room on the disk
mkdir -p .darkroom
free_mb=$(df -Pm .darkroom | awk 'NR==2 {print $4}')
[ -x "$env_dir/bin/python" ] || [ "$free_mb" -ge "$need_disk_mb" ] ||
  stop "needs $need_disk_mb MB of disk for its environment; $free_mb MB are free in $PWD. Make room, or clone to a larger disk"

if [ -x "$env_dir/bin/python" ]; then
  echo "darkroom: bringing the environment in $env_dir up to date"
else
  echo "darkroom: installing the environment into $env_dir (about 4 GB, once)"
fi
current=$("$env_dir/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
[ "$current" = "$version" ] || rm -rf "$env_dir"
[ -x "$env_dir/bin/python" ] || "$python" -m venv "$env_dir"
"$env_dir/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/bootstrap.lock
# Without Kubernetes' clients: where they are, the Spark provider imports them into every task and parse, 3 s each.
# Without asking what they need: the lock says it, and to ask Spark's sources it would unpack them a second time.
# With bytecode: where Python is told to write none, each process would compile TensorFlow anew, 7 CPU-seconds.
"$env_dir/bin/uv" pip install --python "$env_dir/bin/python" --no-deps --compile-bytecode --require-hashes \
  -r <("$env_dir/bin/python" infra/images/requirements_of.py laptop)
"$env_dir/bin/uv" pip install --quiet --python "$env_dir/bin/python" --no-deps --no-build-isolation --editable .
printf '%s' "$stamp" >"$env_dir/.stamp"
