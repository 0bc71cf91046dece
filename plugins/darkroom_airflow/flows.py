"""The Python tasks of the DAGs: from a form or an event to requests for the library and for training.

The only place where darkroom/, training/ and Airflow's context meet. Heavy imports stand inside the functions.
Parameters with the default None and a name of Airflow's context (params, dag_run, ...) are filled in by Airflow.
"""

from __future__ import annotations

import logging
from typing import Any

from darkroom.errors import InvalidRequest
from darkroom.prepare_request import PrepareRequest
from darkroom.requests import TrainRequest, parse_request
from darkroom.settings import get_settings
from darkroom.storage import open_lake
from darkroom_airflow.common import DATASETS, MODELS, champion_event, run_type_of
from darkroom_airflow.forms import fields_of
from darkroom_airflow.links import run_url
from darkroom_airflow.tasks import work

log = logging.getLogger(__name__)

_OF_TRAINING = ("dataset", "split_id", "configs")
_ASKED_BY = {"asset_triggered": "data", "scheduled": "schedule"}


@work(multiple_outputs=True)
def check_request(params: Any = None) -> dict[str, Any]:
    """Checks the whole form before any work starts, and says what each later task gets."""
    from training.config import load_config, wanted_features

    request = parse_request(PrepareRequest, fields_of(params))
    configs = [load_config(name) for name in request.configs]
    transforms = {config.transform.hash: config.transform.model_dump(mode="json") for config in configs}
    return {
        "dataset": request.dataset,
        "source": request.source_config(),
        "layout": request.layout(),
        "split_options": request.split_options(),
        "limits": request.validation_limits(),
        "configs": request.configs,
        "transforms": list(transforms.values()),
        "features": wanted_features(configs),
    }


@work(multiple_outputs=True)
def download(dataset: str, source: dict[str, Any], dag_run: Any = None) -> dict[str, Any]:
    """Copies the source's files into raw/; a no-op when the same bytes are there. Reads what feedback has come."""
    from darkroom import feedback
    from darkroom.sources import fetch, parse_source

    lake = open_lake()
    result = fetch(parse_source(source), dataset, lake, progress=log.info)
    if told := feedback.check_if_prepared(lake, dataset, now=dag_run.start_date):
        log.info("Feedback. %s", feedback.sentence(told))
    if not result.changed:
        log.info("Nothing changed: these %d files are in the lake.", result.files)
    return {
        "index_path": result.index_path,
        "files": result.files,
        "bytes": result.bytes,
        "changed": result.changed,
    }


@work
def eda(dataset: str, version: str, split_id: str | None = None) -> dict[str, Any]:
    """The EDA page of a dataset version, or of a split of it."""
    from darkroom.eda import eda_dataset

    return eda_dataset(open_lake(), {"dataset": dataset, "version": version, "split_id": split_id})


@work(multiple_outputs=True)
def split(dataset: str, version: str, options: dict[str, Any]) -> dict[str, Any]:
    """Assigns every image of a version to train, val, test or out; the dataset's newest split is the parent."""
    from darkroom.splitting_flow import split_dataset

    request = {"dataset": dataset, "version": version, "options": options, "parent": "newest"}
    return split_dataset(open_lake(), request)


@work(outlets=[DATASETS])
def publish(dataset: str, version: str, split_id: str, configs: list[str], outlet_events: Any = None) -> dict[str, Any]:
    """Writes the dataset's card, and tells whom it concerns that it can be trained on."""
    from darkroom.cards import write_dataset_card

    page = write_dataset_card(open_lake(), dataset, version, split_id)
    event = {"dataset": dataset, "version": version, "split_id": split_id, "configs": configs}
    outlet_events[DATASETS].extra = event
    return {**event, "page": page}


@work(multiple_outputs=True)
def plan(params: Any = None, triggering_asset_events: Any = None, dag_run: Any = None) -> dict[str, Any]:
    """What this run trains: from the form, else the newest dataset event, else the schedule's setting.

    Skipped, and all that follows with it, where a training that nobody asked for by hand has to wait.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from darkroom.contract import images_table, splits_table
    from darkroom.splitting_flow import newest_split
    from darkroom.tables import Table
    from training import flow

    lake = open_lake()
    request = parse_request(TrainRequest, fields_of(params))
    event: dict[str, Any] = next(iter(_published(triggering_asset_events)), {})
    dataset = request.dataset or event.get("dataset") or get_settings().train_dataset
    same = event.get("dataset") == dataset
    split_id = request.split_id or (event.get("split_id") if same else None)
    splits = Table(lake, splits_table(dataset))
    split_id = split_id or newest_split(splits)
    recorded = splits.last_commit({"split_id": split_id}) if split_id else None
    if recorded is None:
        raise InvalidRequest(
            f"The dataset {dataset!r} has no split {split_id or 'yet'} in {lake.root}. Run prepare_dataset for it "
            "first, or name another dataset."
        )
    version = str(recorded["version"])
    if Table(lake, images_table(dataset)).last_commit({"version": version}) is None:
        raise InvalidRequest(
            f"The split {split_id} names the dataset version {version}, which {lake.root} does not hold."
        )
    planned = flow.plan(
        lake,
        {
            "dataset": dataset,
            "version": version,
            "split_id": split_id,
            "configs": request.configs or (event.get("configs") if same else None) or [],
            "seed": request.seed,
            "with_leaks": request.with_leaks,
            "links": {"airflow_run": run_url(dag_run)},
            "asked_by": request.asked_by or _ASKED_BY.get(run_type_of(dag_run), "hand"),
        },
    )
    if planned["wait"]:
        raise AirflowSkipException(planned["wait"])
    return planned


@work(inlets=[DATASETS])
def other_datasets(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """The form of one more run for each dataset that was published while another one was being trained on."""
    others = _published(triggering_asset_events)[1:]
    return [{name: event[name] for name in _OF_TRAINING if event.get(name)} | {"asked_by": "data"} for event in others]


def _published(triggering_asset_events: Any) -> list[dict[str, Any]]:
    """What ``publish`` told of each dataset last; the newest event first.

    An event that a person makes in the UI may name no dataset: it means the setting's.
    """
    events = sorted((triggering_asset_events or {}).get(DATASETS, []), key=lambda event: event.timestamp, reverse=True)
    newest: dict[str | None, dict[str, Any]] = {}
    for event in events:
        newest.setdefault(event.extra.get("dataset"), dict(event.extra))
    return list(newest.values())


@work
def configs_of(runs_in: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The configs that are not trained yet, of the kinds that run in a plain task ("python") or in a Spark driver."""
    return [task for task in tasks if task["runs_in"] == runs_in and not task["trained"]]


@work(map_index_template="{{ task.op_kwargs['config']['name'] }}")
def train(config: dict[str, Any]) -> dict[str, Any]:
    """Trains one config in this process."""
    from training import flow

    return flow.train(open_lake(), config)


@work(trigger_rule="none_failed_min_one_success")
def evaluate(plan: dict[str, Any], trained: Any, in_spark: Any) -> dict[str, Any]:
    """Chooses the challenger on val, scores every config on test, and draws the comparison."""
    from training import flow

    return flow.evaluate(open_lake(), {"plan": plan, "results": [*(trained or []), *(in_spark or [])]})


@work
def gate(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The gate: challenger against champion on the same test images."""
    from training import flow

    verdict = flow.decide(open_lake(), evaluation)
    log.info("Gate: %s. %s", verdict["verdict"], " ".join(verdict["reasons"]))
    return verdict


@work(inlets=[DATASETS], outlets=[MODELS])
def promote(verdict: dict[str, Any], outlet_events: Any = None) -> dict[str, Any]:
    """Appends the challenger to the champion history; a refused one is skipped, with the reasons."""
    from airflow.sdk.exceptions import AirflowSkipException

    from training import flow

    if verdict["verdict"] != "promote":
        raise AirflowSkipException("Not promoted. " + " ".join(verdict["reasons"]))
    if verdict["approval"] == "required":
        raise AirflowSkipException("A person decides: the run of promote_champion that ask_approval started waits.")
    promoted = flow.promote(open_lake(), verdict)
    outlet_events[MODELS].extra = champion_event(promoted)
    return promoted


@work
def to_approve(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """The form of promote_champion for a challenger that a person has to approve; none for any other."""
    if verdict["verdict"] != "promote" or verdict["approval"] != "required":
        return []
    return [{"model": verdict["model"], "gate_key": verdict["gate_key"]}]


@work
def close_runs(ti: Any = None) -> dict[str, Any]:
    """Ends every MLflow run of this training that is still running; there is none where the plan failed."""
    from training import flow

    parent_run_id = ti.xcom_pull(task_ids="plan", key="parent_run_id")
    if parent_run_id is None:
        log.info("No training had begun: there is no run to end.")
    else:
        flow.close_runs(parent_run_id)
    return {"parent_run_id": parent_run_id}
