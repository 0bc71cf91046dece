"""Deletes MLflow runs that are beyond the retention and that nothing names: ``python -m training.vacuum``.

MLflow keeps a deleted run restorable; its own ``mlflow gc`` then frees the space.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from darkroom.errors import DarkroomError
from darkroom.kept import what_is_kept
from darkroom.storage import Storage, open_lake
from training import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000


def vacuum_runs(lake: Storage, before: datetime, *, dry_run: bool) -> list[str]:
    """Deletes what ended before ``before``; the run_ids, children first. A dry run returns the same.

    A run stays where the champion history or a registered model version names it, or the run of the config whose fold
    or trial it is; where it has not ended, where one of its children stays, and where it is not a training of ours.
    Raises MachineryError where MLflow does not answer.
    """
    client = tracking.open_client()
    with tracking.reached("nothing more was deleted"):
        named = what_is_kept(lake, before).runs
        named |= {str(version.run_id) for version in _pages(client.search_model_versions, max_results=_PAGE)}
        old, parents = _old_runs(client, before, named)
        for run_id in (gone := [*old, *parents]):
            if not dry_run:
                client.delete_run(run_id)
    return gone


def _old_runs(client: MlflowClient, before: datetime, named: set[str]) -> tuple[list[str], list[str]]:
    """Children and parents that may go."""
    limit = int(before.timestamp() * 1000)
    experiments = [str(one.experiment_id) for one in _pages(client.search_experiments, max_results=_PAGE)]
    found: list[Run] = list(_pages(client.search_runs, experiments, max_results=_PAGE)) if experiments else []
    ours = [run for run in found if "darkroom.model" in run.data.tags]
    of = {run.info.run_id: run.data.tags.get(tracking.PARENT) for run in ours}
    # Folds and trials stay with the config's run that has them, which has a run above it in turn.
    named = named | {run_id for run_id, parent in of.items() if parent in named and of.get(parent)}
    old = {run.info.run_id for run in ours if run.info.end_time and run.info.end_time <= limit} - named
    staying = {parent for run_id, parent in of.items() if parent and run_id not in old}
    children = sorted(run_id for run_id in old if of[run_id])
    return children, sorted(run_id for run_id in old if not of[run_id] and run_id not in staying)


def _pages(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """What a search of MLflow's client finds, over all its pages."""
    token = None
    while True:
        page = search(*arguments, **options, page_token=token)
        yield from page
        if not (token := page.token):
            return


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="training.vacuum", description=__doc__)
    parser.add_argument("--before", type=datetime.fromisoformat, required=True, help="an ISO time with its zone")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args(argv)
    try:
        gone = vacuum_runs(open_lake(), arguments.before, dry_run=arguments.dry_run)
    except DarkroomError as error:
        print(f"MLflow: {error.message}", file=sys.stderr)
        return 2
    for run_id in gone:
        print(f"{'would delete' if arguments.dry_run else 'deleted'} run {run_id}")
    print(f"MLflow: {len(gone):,} runs that ended before {arguments.before:%Y-%m-%d %H:%M} and that nothing names.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
