"""Search: trials of a config with other options, chosen by Optuna, judged on val, each an MLflow run of its own.

Nothing is kept but the outcome of each trial, one receipt on the lake, written by whoever fitted it. What Optuna
proposes next depends on the seed and on those outcomes alone, so a search that was killed proposes the same trials
again, finds their receipts, and goes on where it stopped. DECISIONS.md says why there is no study database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from darkroom.contract import stable_hash
from darkroom.errors import DataError, UserError
from darkroom.metrics import METRIC_NAMES, flat_metrics
from darkroom.storage import Storage
from training import receipts
from training.config import SearchOptions, TrainingConfig
from training.data import read_split
from training.experiments.fitting import Step, fit_recorded
from training.experiments.nested import Nested
from training.experiments.placement import Place, Unit
from training.experiments.space import distributions, from_optuna, to_optuna, value_of, with_options
from training.kinds import Job
from training.packaging import assemble

log = logging.getLogger(__name__)

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
FIRST_JUDGED = 4  # trials that end before one can be stopped for being worse than their median
FIRST_STEPS = 2  # of each trial, which are never judged


def search(
    lake: Storage, task: Mapping[str, Any], config: TrainingConfig, place: Place, nested: Nested
) -> tuple[TrainingConfig, dict[str, Any]]:
    """The config with the options of the best trial, and a summary of the search (small plain data).

    Best is the highest primary metric on val, of equal ones the lowest log loss there. Chosen among many, it looks a
    little better on val than it is: the test part tells how good it is. Raises DataError where no trial ended.
    """
    options = _options(config)
    split = read_split(lake, task["dataset"], task["split_id"])
    done: list[dict[str, Any]] = []
    spent = 0.0
    while len(done) < options.trials and not (options.seconds and spent >= options.seconds):
        asked = propose(config, done, min(options.parallel, options.trials - len(done)), task["seed"])
        jobs = []
        for values in asked:
            tried = with_options(config, values).once()
            jobs.append((values, Job(lake, task["dataset"], split, tried, task["seed"])))
        left = options.seconds - spent if options.seconds else float("inf")
        found = _batch(lake, task, place, nested, done, jobs, config.primary_metric, left)
        done += found
        spent += sum(one["seconds"] for one in found)
    ended = [one for one in done if one["state"] == COMPLETE]
    if not ended:
        raise DataError(
            f"None of the {len(done)} trials of {config.name} ended with a model. The first: {done[0]['reason']} "
            "Expected some to. Correct the config, or narrow the space of its search."
        )
    best = min(ended, key=lambda one: (-one["value"], one["val"].get("log_loss", 0.0), one["number"]))
    log.info(
        "Trial %d of %d is the best: %s %.3f on val, with %s",
        *(best["number"], len(done), METRIC_NAMES[config.primary_metric], best["value"], best["values"]),
    )
    summary = {
        "trials": len(done),
        **{state: sum(one["state"] == state for one in done) for state in (COMPLETE, PRUNED, FAILED)},
        "best": {name: best[name] for name in ("number", "values", "value")},
        "seconds": round(spent, 3),
    }
    return with_options(config, best["values"]), summary


def propose(config: TrainingConfig, done: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """The options of the next ``count`` trials, given what came of the others.

    The first trial is the config as it stands. Later ones are those of Optuna's tree-structured Parzen estimator
    (Bergstra et al. 2011), seeded by ``seed`` and the number of trials that are done; a trial that failed or was
    stopped counts as such.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = [{path: value_of(config, path) for path in _options(config).space}] if not done else []
    known = distributions(config)
    sampler = optuna.samplers.TPESampler(seed=(seed * 1009 + len(done)) % 2**32, n_startup_trials=5)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for one in done:
        params = to_optuna(config, one["values"])
        if params is None:
            continue  # the config's own options may lie outside the space
        state = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}[one["state"]]
        # A trial that was stopped is compared by how far it came, as Optuna's samplers do.
        curve = {step: -values["val_loss"] for step, values in one["steps"] if "val_loss" in values}
        study.add_trial(
            create_trial(
                state=state,
                value=one["value"] if state is TrialState.COMPLETE else None,
                params=params,
                distributions=known,
                intermediate_values=curve,
            )
        )
    while len(asked) < count:
        asked.append(from_optuna(config, study.ask(known).params))
    return asked


def fit_trial(task: Mapping[str, Any], key: str, metric: str, curves: Sequence[Mapping[int, float]], job: Job) -> Any:
    """One trial: fits, measures on val, and leaves a receipt; stopped early where it falls behind ``curves``.

    Returns {"state", "value", "val", "facts", "steps", "seconds", "reason"}. An error of the user's (a loss that is not
    finite, say) fails the trial and not the search.
    """
    started = time.monotonic()
    steps: list[Step] = []
    result: dict[str, Any] = {"state": COMPLETE, "value": None, "val": {}, "facts": {}, "reason": ""}
    behind = stopper(curves)

    def on_step(step: int, values: Mapping[str, float]) -> None:
        job.on_step(step, values)
        if "val_loss" in values and behind(step, values["val_loss"]):
            raise _Behind

    try:
        fitted = fit_recorded(job.telling(on_step), steps)
        made = assemble(job.lake, task, job.config, fitted, job.split)
        result["val"] = flat_metrics(made.info.metrics)
        result["facts"] = {name: float(value) for name, value in fitted.facts.items()}
        result["value"] = result["val"].get(metric)
        if result["value"] is None:
            raise DataError(f"There is no {metric} on val. Expected images of every class there.")
    except _Behind:
        result |= {"state": PRUNED, "reason": f"behind the median of the others after step {steps[-1][0]}"}
    except UserError as error:
        result |= {"state": FAILED, "reason": error.message}
    result |= {"steps": steps, "seconds": round(time.monotonic() - started, 3)}
    receipts.keep_trial(job.lake, task["model"], key, result)
    return result


class _Behind(Exception):
    """Ends a fit from inside ``on_step``."""


def stopper(curves: Sequence[Mapping[int, float]]) -> Callable[[int, float], bool]:
    """Whether a trial should stop at a step, given its val loss there and the ``curves`` of those that ended.

    Optuna's MedianPruner: the best loss so far is above the median of the others at that step.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=FIRST_JUDGED, n_warmup_steps=FIRST_STEPS + 1)
    study = optuna.create_study(direction="minimize", pruner=pruner)
    for curve in curves:
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.0, intermediate_values=dict(curve)))
    trial = study.ask()

    def behind(step: int, loss: float) -> bool:
        trial.report(loss, step)
        return bool(trial.should_prune())

    return behind


def trial_key(task: Mapping[str, Any], tried: TrainingConfig) -> str:
    """What decides the outcome of a trial, but for when it is stopped."""
    key = receipts.training_key(task["version"], task["split_id"], tried, task["seed"])
    return stable_hash(["trial", key, tried.primary_metric])


def _batch(
    lake: Storage,
    task: Mapping[str, Any],
    place: Place,
    nested: Nested,
    done: Sequence[Mapping[str, Any]],
    jobs: Sequence[tuple[dict[str, Any], Job]],
    metric: str,
    left: float,
) -> list[dict[str, Any]]:
    """The outcomes of some trials, in their order; none begins once ``left`` seconds of fitting are spent."""
    curves = [
        {step: values["val_loss"] for step, values in one["steps"] if "val_loss" in values}
        for one in done
        if one["state"] == COMPLETE
    ]
    found: dict[int, dict[str, Any]] = {}
    runs: dict[int, str] = {}

    def begin(number: int, job: Job) -> None:
        identity = {"darkroom.trial": str(number)}
        runs[number] = nested.start(f"{task['name']} trial {number}", identity, job.config.model_dump(mode="json"))

    def end(number: int, result: dict[str, Any], steps: Sequence[Step] = ()) -> None:
        found[number] = result
        numbers = {f"val_{name}": value for name, value in result["val"].items()}
        numbers |= {**result["facts"], "seconds": result["seconds"]}
        tags = {"darkroom.state": result["state"], "darkroom.reason": result["reason"]}
        nested.finish(runs[number], numbers, steps, failed=result["state"] == FAILED, **tags)
        told = result["reason"] or f"{METRIC_NAMES[metric]} {result['value']:.3f} on val"
        values = ", ".join(f"{path} {_short(value)}" for path, value in jobs[number - len(done) - 1][0].items())
        log.info("Trial %d, %s: %s, %s, %.1f s", number, values, result["state"], told, result["seconds"])

    def waiting() -> Iterator[Unit]:
        for number, (_, job) in enumerate(jobs, len(done) + 1):
            if sum(one["seconds"] for one in found.values()) >= left:
                return
            key = trial_key(task, job.config)
            begin(number, job)
            earlier = receipts.find_trial(lake, task["model"], key)
            if earlier and earlier["state"] != FAILED:  # what it failed for may have been mended
                end(number, earlier, earlier["steps"])
                continue
            told = job.telling(nested.steps_to(runs[number]))
            yield Unit(number, told, partial(fit_trial, dict(task), key, metric, curves))

    with nested.ending(runs):
        for number, result in place.run(waiting()):
            end(number, result)
    return [{**found[number], "number": number, "values": jobs[number - len(done) - 1][0]} for number in sorted(found)]


def _options(config: TrainingConfig) -> SearchOptions:
    assert config.search is not None
    return config.search


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
