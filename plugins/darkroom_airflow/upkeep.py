"""The Python tasks of the DAG vacuum. Heavy imports stand inside the functions."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from darkroom.contract import run_page
from darkroom.settings import get_settings
from darkroom.storage import open_lake
from darkroom_airflow.common import run_type_of
from darkroom_airflow.forms import fields_of
from darkroom_airflow.tasks import work

log = logging.getLogger(__name__)

SHOWN = 1000


@work
def vacuum_lake(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
    """Removes what is beyond the retention from the lake, with a page of what it was."""
    from darkroom.html import Page, byte_size
    from darkroom.vacuum import vacuum_lake

    lake, (before, dry_run) = open_lake(), _asked(params, dag_run)
    counts: Counter[str] = Counter()
    rows, size = [], 0
    for removal in vacuum_lake(lake, before, dry_run=dry_run):
        counts[removal.kind] += 1
        size += removal.size
        if len(rows) < SHOWN:
            rows.append([removal.kind, removal.path, removal.size])
    verb = "would be removed" if dry_run else "were removed"
    told = f"{sum(counts.values()):,} files from before {before:%Y-%m-%d %H:%M} UTC {verb}, {byte_size(size)}."
    log.info("%s %s", told, dict(counts))
    page = Page("Vacuum").text(told).section("Kinds").table(["kind", "files"], sorted(counts.items()))
    page.section("Files").table(["kind", "path", "bytes"], rows, title=f"The first {len(rows):,}")
    path = run_page("vacuum", f"{dag_run.dag_id}/{dag_run.run_id}")
    lake.write(path, page.render().encode())
    return {"page": path, "files": sum(counts.values()), "bytes": size, "kinds": dict(counts), "dry_run": dry_run}


@work
def vacuum_mlflow(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
    """Deletes MLflow runs that are beyond the retention and that nothing names."""
    from training.vacuum import vacuum_runs

    before, dry_run = _asked(params, dag_run)
    gone = vacuum_runs(open_lake(), before, dry_run=dry_run)
    log.info("%d runs %s.", len(gone), "would be deleted" if dry_run else "were deleted")
    return {"runs": len(gone), "dry_run": dry_run}


def _asked(params: Any, dag_run: Any) -> tuple[datetime, bool]:
    """Up to when, and whether only to tell: a schedule was set on purpose, so its runs do remove."""
    from darkroom.date_requests import VacuumRequest
    from darkroom.requests import parse_request

    request = parse_request(VacuumRequest, fields_of(params))
    before = dag_run.run_after.astimezone(UTC) - timedelta(days=request.days or get_settings().retention_days)
    return before, request.dry_run and run_type_of(dag_run) != "scheduled"
