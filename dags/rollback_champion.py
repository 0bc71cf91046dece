"""
### Go back to an earlier champion

Withdraws the champion of a model, and any before it down to the one you choose, by new entries in the champion
history. The earlier model classifies from then on; the withdrawn ones are never promoted again and count for no date.

**When:** the champion turns out to be wrong. It takes seconds and retrains nothing.

**What comes out:** the log of *roll_back* lists every partition that a withdrawn model wrote. Run their dates again,
or backfill them, to have them classified anew.
"""

from __future__ import annotations

from airflow.sdk import dag
from darkroom_airflow import promoting
from darkroom_airflow.common import DEFAULT_ARGS, TRAIN_RUN_TYPES
from darkroom_airflow.forms import params_of

from darkroom.requests import RollbackRequest


@dag(
    schedule=None,
    params=params_of(RollbackRequest),
    default_args=DEFAULT_ARGS,
    allowed_run_types=TRAIN_RUN_TYPES,
    max_active_runs=1,
    tags=["darkroom", "training"],
    doc_md=__doc__,
)
def rollback_champion() -> None:
    promoting.roll_back(promoting.plan_rollback())


rollback_champion()
