"""What each task reads and writes, as paths of the lake: for OpenLineage's events, from its request and its result.

A rule is named after the task's function, its Spark job or its operator. It is asked when the task starts, when only
the request is known, and again when it ends: what is not known yet is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from darkroom import contract
from darkroom.errors import DarkroomError
from darkroom.settings import get_settings

Known = Mapping[str, Any]
Rule = Callable[[Known], tuple[Iterable[Any], Iterable[Any]]]
"""What is known of a task -> the lake paths (or addresses) that it reads, and those that it writes; None: not known."""


def part(known: Known, *names: str) -> Any:
    """A value inside of nested mappings; None where one of them lacks it."""
    value: Any = known
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _source(known: Known) -> str | None:
    source = part(known, "source") or {}
    place = source.get("uri") or source.get("url") or ""
    if "://" in place:
        return str(place)
    if place:
        return str(Path(place).expanduser().absolute())
    return f"{source['type']}://{source.get('handle', '')}" if "type" in source else None


def _images(known: Known) -> str | None:
    dataset, version = part(known, "dataset"), part(known, "version")
    return f"{contract.images_table(dataset).path}/version={version}" if dataset and version else None


def _split(known: Known) -> str | None:
    dataset, split_id = part(known, "dataset"), part(known, "split_id")
    return f"{contract.splits_table(dataset).path}/split_id={split_id}" if dataset and split_id else None


def _parent(known: Known) -> str | None:
    return _split({"dataset": part(known, "dataset"), "split_id": part(known, "parent")})


def _examples(known: Known) -> list[str]:
    from darkroom.transform import ImageTransform

    transforms = part(known, "transforms") or [part(known, "transform")]
    hashes = [
        one.get("transform_hash") or ImageTransform.model_validate(one).hash for one in transforms if one is not None
    ]
    dataset = part(known, "dataset")
    return [f"{contract.examples_table(dataset).path}/transform_hash={one}" for one in hashes] if dataset else []


def _features(known: Known) -> list[str]:
    """Those that a training reads by its plan, or those that the preprocess job made or found."""
    pairs: list[tuple[str, str]] = []
    if hashes := part(known, "feature_hashes"):
        from darkroom.transform import ImageTransform

        transform = ImageTransform.model_validate(part(known, "transform")).hash
        pairs = [(transform, one) for one in hashes]
    made = part(known, "feature_partitions") or []
    pairs += [(one["transform_hash"], one["feature_hash"]) for one in made]
    dataset = part(known, "dataset")
    folder = contract.features_table(dataset).path if dataset else ""
    return [f"{folder}/transform_hash={one}/feature_hash={two}" for one, two in pairs] if dataset else []


def _read_by_training(known: Known) -> list[Any]:
    return [_split(known), *_examples(known), *_features(known)]


def _package(known: Known) -> str | None:
    return part(known, "package")


def _run(known: Known, name: str = "run_id") -> str | None:
    run = part(known, name)
    return f"{get_settings().mlflow_tracking_uri}/runs/{run}" if run else None


def _page(known: Known) -> str | None:
    return part(known, "page")


def _predictions(known: Known) -> str | None:
    model, dt, feed = (part(known, name) for name in ("model", "dt", "feed"))
    return (
        f"{contract.predictions_table(model).path}/dt={dt}/feed={feed}/origin=batch" if model and dt and feed else None
    )


def _inbox(known: Known) -> str | None:
    feed, dt = part(known, "feed"), part(known, "dt")
    return contract.inbox(feed, dt) if feed and dt else None


def _champion(known: Known) -> str | None:
    model, entry = part(known, "model"), part(known, "entry")
    return contract.champion_entry(model, int(entry)) if model and entry else None


def _each(rule: Callable[[Known], Any], values: Any) -> list[Any]:
    """The rule's answer for each of a list. What mapped tasks returned is none, and asks Airflow: it is left alone."""
    return [rule(value) for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _promotion(known: Known) -> tuple[Iterable[Any], Iterable[Any]]:
    return [part(known, "verdict", "page"), part(known, "verdict", "challenger", "package")], [_champion(known)]


def _judgement(known: Known) -> tuple[Iterable[Any], Iterable[Any]]:
    evaluation = part(known, "evaluation") or {}
    read = [_split(evaluation.get("plan") or {}), part(evaluation, "challenger", "package")]
    rival, model = part(known, "champion_package_id"), part(known, "model")
    return [*read, rival and contract.model_package(model, rival)], [_page(known)]


def _evaluation(known: Known) -> tuple[Iterable[Any], Iterable[Any]]:
    plan = part(known, "plan") or {}
    return [_split(plan), *_examples(plan), *_each(_package, part(known, "results"))], [_page(known)]


def _asked(conf: Known) -> list[str | None]:
    """What a run that is started is about: a split, a dataset, or a verdict of the gate."""
    dataset, model, key = part(conf, "dataset"), part(conf, "model"), part(conf, "gate_key")
    return [
        _split(conf) or (contract.splits_table(dataset).path if dataset else None),
        f"{contract.training_reports(model, 'receipts')}/{key}.json" if model and key else None,
    ]


RULES: dict[str, Rule] = {
    # prepare_dataset
    "check_request": lambda known: ([_source(known)], []),
    "download": lambda known: ([_source(known)], [part(known, "index_path")]),
    "spark_apps.jobs.manifest": lambda known: ([part(known, "raw_index")], [_images(known)]),
    "eda": lambda known: ([_images(known), _split(known)], [_page(known)]),
    "split": lambda known: ([_images(known), _parent(known)], [_split(known)]),
    "spark_apps.jobs.validate": lambda known: ([_images(known), _split(known)], [_page(known)]),
    "spark_apps.jobs.preprocess": lambda known: (
        [_images(known), _split(known)],
        [*_examples(known), *_features(known)],
    ),
    "publish": lambda known: ([_images(known), _split(known)], [_page(known)]),
    # train_model
    "plan": lambda known: ([_images(known), _split(known)], [_run(known, "parent_run_id")]),
    "configs_of": lambda known: (_each(_split, part(known, "tasks")), []),
    "train": lambda known: (
        _read_by_training(known["config"]) if "config" in known else [],
        [_package(known), _run(known)],
    ),
    "training.jobs.train": lambda known: (_read_by_training(known), [_package(known), _run(known)]),
    "evaluate": _evaluation,
    "gate": _judgement,
    "promote": _promotion,
    "to_approve": lambda known: ([part(known, "verdict", "page")], []),
    "other_datasets": lambda known: (_each(_split, part(known, "told")), []),
    "close_runs": lambda known: ([], [_run(known, "parent_run_id")]),
    # promote_champion and rollback_champion
    "propose": lambda known: ([_page(known)], []),
    "PromotionApproval": lambda known: ([_page(known)], []),
    "promote_approved": _promotion,
    "plan_rollback": lambda known: ([_champion({**known, "entry": part(known, "to")})], []),
    "roll_back": lambda known: (
        [_champion({"model": part(known, "plan", "model"), "entry": n}) for n in part(known, "withdrawn") or []],
        [_champion(known)],
    ),
    # batch_inference, reconcile, vacuum and monitor_drift
    "find_feeds": lambda known: (_each(_inbox, part(known, "told")), []),
    "spark_apps.jobs.predict": lambda known: (
        [_inbox(known), part(known, "champion", "package")],
        [_predictions(known), _page(known)],
    ),
    "summarise": lambda known: ([], []),  # its assets say it
    "find_changes": lambda known: (_each(_inbox, part(known, "told")), []),
    "summarise_changes": lambda known: ([], []),
    "vacuum_lake": lambda known: (["tables"], [_page(known)]),
    "vacuum_mlflow": lambda known: ([get_settings().mlflow_tracking_uri], []),
    "find_partitions": lambda known: (_each(_predictions, part(known, "told")), []),
    "check": lambda known: ([_predictions(part(known, "partition") or {})], [_page(known)]),
    "alert": lambda known: ([], []),
    # Runs of other DAGs that a task starts.
    "StartRun": lambda known: (_asked(part(known, "conf") or {}), []),
}


def paths_of(name: str, asked: Known, told: Any) -> tuple[list[str], list[str]]:
    """What the task of that name reads and writes, each once. ``told``: what it returned; None while it runs."""
    known = dict(told) if isinstance(told, Mapping) else {"told": told}
    known |= {name: value for name, value in asked.items() if value is not None}
    try:
        read, written = RULES[name](known)
    except DarkroomError:  # a request that cannot be used; the task itself says so
        return [], []
    inputs, outputs = list(dict.fromkeys(filter(None, read))), list(dict.fromkeys(filter(None, written)))
    return [path for path in inputs if path not in outputs], outputs
