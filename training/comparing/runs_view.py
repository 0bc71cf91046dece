"""A view of MLflow's table of runs: the columns in which configs compare.

MLflow keeps what its button *Share view* makes in a tag of the experiment; this is one such, under a name of our own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW = "darkroom"
_COSTS = ("images_per_second", "package_megabytes", "train_seconds")
_WIDTH = 190  # pixels, of a name of a kind or data set


def share_view(client: MlflowClient, experiment_id: str, metric: str) -> None:
    """Makes the experiment's view: trainings, the newest first, with their configs folded below. ``metric``: the
    primary one."""
    names = [f"val_{metric}", f"test_{metric}", f"test_{metric}_low", f"test_{metric}_high"]
    names += [name for name in ("test_roc_auc", "test_ece") if name not in names]
    widths = {"attributes.`Dataset`": _WIDTH, "params.`kind`": _WIDTH}
    widths |= {f"metrics.`{name}`": 30 + 7 * len(name) for name in (*names, *_COSTS)}  # each can be read
    columns = list(widths)
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": widths,
    }
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(state))


def view_link(experiment_id: str) -> str:
    """The view's place on the MLflow server that shows the link."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}"
