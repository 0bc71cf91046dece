"""
### Ask a person whether a challenger may become champion

The task *approve* waits under *Required Actions* with both models' figures and pictures. **Approve** promotes;
**Reject**, or no answer in time, ends green with the champion unchanged.

**When:** `train_model` starts it when a challenger has passed the gate and the gate's limits say `approval: required`.

Nothing else waits: training goes on, and several challengers may wait side by side. An approval that comes after the
champion has changed is refused, since the gate compared with another one.
"""

from __future__ import annotations

from airflow.sdk import dag
from darkroom_airflow import promoting
from darkroom_airflow.common import DEFAULT_ARGS, TRAIN_RUN_TYPES
from darkroom_airflow.forms import params_of

from darkroom.requests import PromoteRequest


@dag(
    schedule=None,
    params=params_of(PromoteRequest),
    default_args=DEFAULT_ARGS,
    allowed_run_types=TRAIN_RUN_TYPES,
    max_active_runs=16,
    tags=["darkroom", "training"],
    doc_md=__doc__,
)
def promote_champion() -> None:
    proposal = promoting.propose()
    shown = {name: proposal[name] for name in ("subject", "body", "hours", "page")}
    approve = promoting.PromotionApproval(task_id="approve", **shown)
    promoting.promote_approved(proposal["verdict"], approve.output)


promote_champion()
