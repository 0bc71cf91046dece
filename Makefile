# The commands of Darkroom. Everything that they make lives in .darkroom/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: airflow help setup installed demo test lint types unit kills dags containers integration e2e stack stack-down stack-account test-stack test-faults \
  test-crash simulate up containers-up containers-down containers-account down status reset bench bench-models lock

PY := .darkroom/env/bin/python
# local: Airflow and MLflow alone, on a folder. stack: PostgreSQL, S3 and a Spark cluster too.
PROFILE ?= local
export PYTHONUNBUFFERED := 1
export AIRFLOW_PORT MLFLOW_PORT
ifdef LAKE
export DARKROOM_LAKE := $(LAKE)
endif
export DATASET KEEP NAME ROLE DAYS

help:  ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

# What is to be started names itself, so that a taken port is said before anything is installed.
up: STARTS := local
demo: STARTS := $(PROFILE)
stack: STARTS := stack

setup:
	@infra/setup.sh $(STARTS)

# What looks, stops or deletes takes the environment as it is. The mark is the last thing that setup writes.
installed:
	@[ -e .darkroom/env/.stamp ] || { echo "darkroom: nothing is installed. Install and start: make up" >&2; exit 1; }

demo: setup  ## the whole job: prepare, train, classify three days. DATASET=<folder|archive|URL> LAKE=s3://... KEEP=0 PROFILE=stack
	@$(PY) -m infra.$(PROFILE) demo

up: setup  ## start Airflow and MLflow on this machine. AIRFLOW_PORT=8080 MLFLOW_PORT=5500
	@$(PY) -m infra.local up

down: installed  ## stop them
	@$(PY) -m infra.local down

status: installed  ## what is up, where its log is, how much memory it uses
	@$(PY) -m infra.local status
	@$(PY) -m infra.stack status

stack: setup  ## start PostgreSQL, S3, MLflow, Spark and Airflow, supervised; see docs/cluster.md. SPARK_PACKAGES=spark-training
	@$(PY) -m infra.stack up

stack-down: installed  ## stop all of the stack
	@$(PY) -m infra.stack down

stack-account: installed  ## make or change an account: NAME=ann ROLE=viewer, editor or admin; ROLE=none ends it
	@$(PY) -m infra.stack account

COMPOSE := docker compose --env-file .darkroom/containers/engine.env -f infra/compose.yaml

containers-up: setup  ## the stack as containers: make secrets, build, start, wait until all is healthy
	@$(PY) -m infra.container_secrets
	@$(COMPOSE) up --build --detach --wait

containers-down:  ## stop the containers; what they made stays in .darkroom/containers
	@$(COMPOSE) down

# A container of its own for the one command: the init service alone has the administrators' passwords.
containers-account:  ## in the containers, as stack-account: NAME=ann ROLE=viewer, editor or admin; ROLE=none ends it
	@$(COMPOSE) run --rm --no-deps airflow-init /opt/darkroom/bin/accounts.sh \
	  $(if $(filter none,$(ROLE)),remove "$$NAME",add "$$NAME" "$$ROLE")

airflow: installed  ## Airflow's own command line: make airflow ARGS="backfill create --dag-id batch_inference ..."
	@$(PY) -m infra.$(PROFILE) airflow $(ARGS)

reset: installed  ## stop everything and delete all but the environment
	@$(PY) -m infra.stack down
	@$(PY) -m infra.local reset

test: setup  ## every test, lint and types
	@$(PY) -m infra.test all

lint: setup  ## ruff
	@$(PY) -m infra.test lint

types: setup  ## mypy
	@$(PY) -m infra.test types

unit kills dags containers integration e2e: setup
	@$(PY) -m infra.test $@

test-stack: setup  ## the main job on the stack without Docker, with the laptop's rows, and on HDFS
	@$(PY) -m infra.test stack

test-faults: setup  ## the stack's locked doors; servers and disks that fail while they are used
	@$(PY) -m infra.test faults doors stack-faults

test-crash: setup  ## every kill of make test, and the Spark jobs killed at each of their points
	@$(PY) -m infra.test crash

simulate: setup  ## a quarter in the life, in minutes: DAYS=90. Its last week is played by a real Airflow
	@PYTHONPATH="$(CURDIR)/plugins" $(PY) -m infra.simulation

bench: setup  ## the benchmarks, peers side by side. PEERS=1 installs Daft, Ray Data and HF datasets for them
	@if [ -n "$(PEERS)" ] && [ ! -d .darkroom/peers ]; then .darkroom/env/bin/uv pip install -q --python $(PY) \
	  --target .darkroom/peers -c <(sed -E '/--hash/d; s/ \\$$//' requirements.lock) daft 'ray[data]' datasets; fi
	@PYTHONPATH="$(CURDIR)/.darkroom/peers:$(CURDIR)/benchmarks" $(PY) -m infra.test bench

bench-models: setup  ## what every kind of model reaches on real images, hours of work: ROWS="xray ct" SEEDS=5 AGAIN=1
	@PYTHONPATH="$(CURDIR)" $(PY) -m benchmarks.models $(if $(ROWS),--rows $(ROWS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(AGAIN),--again)

lock: setup  ## resolve the dependencies anew
	@.darkroom/env/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
	  --extra dev --extra kubernetes --extra openlineage pyproject.toml -o requirements.lock
	@.darkroom/env/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
	  --constraint requirements.lock infra/stack/worker.in -o infra/stack/worker.lock
	@.darkroom/env/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
	  --constraint requirements.lock infra/stack/worker-training.in -o infra/stack/worker-training.lock
