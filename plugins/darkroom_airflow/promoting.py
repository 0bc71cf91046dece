"""The tasks of promote_champion and rollback_champion: a person's yes or no, and the way back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from darkroom.requests import PromoteRequest, RollbackRequest, parse_request
from darkroom.storage import open_lake
from darkroom_airflow.common import DATASETS, MODELS, champion_event
from darkroom_airflow.forms import fields_of
from darkroom_airflow.lineage_events import TellsLineage
from darkroom_airflow.tasks import work

log = logging.getLogger(__name__)


class PromotionApproval(TellsLineage, ApprovalOperator):
    """Asks a person, for as long as the gate's limits say; no answer by then means no."""

    template_fields: Sequence[str] = ("subject", "body", "hours", "page")

    def __init__(self, *, hours: Any, page: Any, **kwargs: Any) -> None:
        # The real timeout comes with the proposal. One has to be given: Airflow would take the execution timeout.
        super().__init__(defaults=self.REJECT, response_timeout=timedelta(days=3), **kwargs)
        self.hours = hours
        self.page = page

    def lineage_request(self) -> dict[str, Any]:
        return {"page": self.page}

    def execute(self, context: Any) -> Any:
        self.response_timeout = timedelta(hours=float(self.hours))
        return super().execute(context)


@work(multiple_outputs=True)
def propose(params: Any = None) -> dict[str, Any]:
    """What the person gets to see, while the verdict still holds."""
    from training.deciding.promotion import propose as proposal_of

    request = parse_request(PromoteRequest, fields_of(params))
    return proposal_of(open_lake(), request.model, request.gate_key)


@work(inlets=[DATASETS], outlets=[MODELS])
def promote_approved(verdict: dict[str, Any], answer: dict[str, Any], outlet_events: Any = None) -> dict[str, Any]:
    """Promotes what was approved; refuses where the champion has changed since the gate compared with it."""
    from training import flow

    user = answer.get("responded_by_user") or {}
    by = {
        "approval": "person",
        "name": user.get("name") or user.get("id") or "unknown",
        "at": str(answer.get("responded_at") or ""),
    }
    promoted = flow.promote(open_lake(), verdict, by)
    outlet_events[MODELS].extra = champion_event(promoted)
    return promoted


@work(multiple_outputs=True)
def plan_rollback(params: Any = None) -> dict[str, Any]:
    """Which entries are to be withdrawn, so that a retry withdraws no more than they."""
    from training.deciding.promotion import plan_rollback as plan_of

    request = parse_request(RollbackRequest, fields_of(params))
    return plan_of(open_lake(), request.model, request.to)


@work(outlets=[MODELS])
def roll_back(
    plan: dict[str, Any], params: Any = None, dag_run: Any = None, outlet_events: Any = None
) -> dict[str, Any]:
    """Withdraws them, moves the alias, and lists the partitions that the withdrawn models wrote."""
    from training.deciding.promotion import partitions_of
    from training.deciding.promotion import roll_back as back

    lake, request = open_lake(), parse_request(RollbackRequest, fields_of(params))
    by = str(getattr(dag_run, "triggering_user_name", None) or "")
    done = back(lake, plan, request.reason, by=by, now=datetime.now(UTC))
    written = partitions_of(lake, request.model, plan["withdraw"])
    for partition in written:
        log.warning("Written by a withdrawn model: %s", " ".join(f"{k}={v}" for k, v in partition.items()))
    done["partitions"] = len(written)
    outlet_events[MODELS].extra = champion_event(done)
    return done
