"""Approval, promotion and rollback without Airflow: what is stale is refused, and the way back takes no training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from darkroom import champions
from darkroom.contract import predictions_table
from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.gate import GatePolicy, load_policy
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from tests.packages import champion_of
from tests.suites.verdicts import verdict_on
from training import tracking
from training.deciding import promotion
from training.policy import DEFAULT, gate_policy

pytestmark = pytest.mark.unit

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


@pytest.fixture
def lake(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A lake, and an MLflow store in SQLite that knows three versions of a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    get_settings.cache_clear()
    client = tracking.open_client()
    client.create_registered_model("lamps")
    for _ in range(3):
        client.create_model_version("lamps", str(tmp_path))
    yield open_storage(str(tmp_path / "lake"))
    get_settings.cache_clear()


def promoted(lake: Storage, number: int) -> champions.Champion:
    entry = champion_of(lake, "lamps", seed=number) | {"version": str(number)}
    return champions.append(lake, "lamps", entry, now=NOON.replace(day=number))


def aliases(lake: Storage) -> dict[str, str]:
    model = tracking.open_client().get_registered_model("lamps")
    return {name: str(version) for name, version in model.aliases.items()}


def it_shows_both_models_figures_and_pictures(lake: Storage) -> None:
    verdict_on(lake, 2, promoted(lake, 1))
    proposal = promotion.propose(lake, "lamps", f"{2:016x}")
    assert proposal["subject"] == "May version 2 of lamps (cnn) become champion?"
    assert "| balanced accuracy | 0.900 | 0.800 |\n| recall of a | 0.900 | 0.700 |\n" in proposal["body"]
    assert "Difference of balanced accuracy: +0.020 to +0.200, 95% interval." in proposal["body"]
    picture = "![The challenger](/darkroom/reports/training/lamps/p/confusion-challenger.png)"
    assert f"|  | {picture} |  |\n" in proposal["body"]
    assert proposal["hours"] == 72


def it_proposes_a_first_model(lake: Storage) -> None:
    verdict_on(lake, 1, None)
    body = promotion.propose(lake, "lamps", f"{1:016x}")["body"]
    assert "| config | cnn | none yet |" in body
    assert "| recall of a | 0.900 |  |" in body
    assert "Balanced accuracy: 0.800 to 1.000, 95% interval." in body


def it_shows_a_class_name_as_it_is(lake: Storage) -> None:
    figures = {"metric": "accuracy", "value": 0.9, "interval": [0.8, 1.0], "recall": {"a|<b>*": 0.9}}
    verdict_on(lake, 1, None, figures=figures)
    row = next(line for line in promotion.propose(lake, "lamps", f"{1:016x}")["body"].splitlines() if "recall" in line)
    assert row == r"| recall of a\|\<b\>\* | 0.900 |  |"


def it_says_who_approved(lake: Storage) -> None:
    verdict = verdict_on(lake, 1, None)
    promotion.promote_challenger(lake, verdict, NOON, {"approval": "person", "name": "ada"})
    champion = champions.current(lake, "lamps")
    assert champion is not None
    assert champion.details["by"] == {"approval": "person", "name": "ada"}
    assert aliases(lake) == {"champion": "1"}
    second = promotion.promote_challenger(lake, verdict_on(lake, 2, champion), NOON)
    assert second["entry"] == 2
    assert aliases(lake) == {"champion": "2", "previous": "1"}
    assert champions.history(lake, "lamps")[1]["details"]["by"] == {"approval": "auto"}


def it_refuses_an_approval_that_comes_after_the_champion_has_changed(lake: Storage) -> None:
    first = promoted(lake, 1)
    stale = verdict_on(lake, 2, first)
    promotion.promote_challenger(lake, verdict_on(lake, 3, first), NOON)
    with pytest.raises(InvalidRequest, match="has changed since the gate compared"):
        promotion.promote_challenger(lake, stale, NOON)
    with pytest.raises(InvalidRequest, match="has changed since the gate compared"):
        promotion.propose(lake, "lamps", f"{2:016x}")
    assert aliases(lake) == {"champion": "3", "previous": "1"}


def it_refuses_an_approval_that_another_one_overtakes_while_it_is_written(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promoted(lake, 1)
    late, quick = verdict_on(lake, 2, first), verdict_on(lake, 3, first)
    real, raced = promotion._check_standing, []

    def overtaken(*arguments: Any) -> None:
        real(*arguments)
        if not raced:
            raced.append(1)
            promotion.promote_challenger(lake, quick, NOON)

    monkeypatch.setattr(promotion, "_check_standing", overtaken)
    with pytest.raises(CommitConflict, match="faster"):
        promotion.promote_challenger(lake, late, NOON)
    with pytest.raises(InvalidRequest, match="has changed since"):  # as the retry says
        promotion.promote_challenger(lake, late, NOON)
    assert [one["version"] for one in champions.history(lake, "lamps")] == ["1", "3"]


def it_knows_only_verdicts_that_were_given(lake: Storage) -> None:
    promoted(lake, 1)
    with pytest.raises(InvalidRequest, match="gave no verdict"):
        promotion.propose(lake, "lamps", "f" * 16)


def it_does_not_propose_what_the_gate_refused(lake: Storage) -> None:
    verdict_on(lake, 2, None, verdict="refuse", reasons=["Recall of a is 0.1."])
    with pytest.raises(InvalidRequest, match=r"refused this challenger: Recall of a is 0\.1"):
        promotion.propose(lake, "lamps", f"{2:016x}")


def it_goes_back_one_and_says_what_the_withdrawn_one_wrote(lake: Storage) -> None:
    table = Table(lake, predictions_table("lamps"))
    for number, dates in {1: (1, 2), 2: (2, 3)}.items():
        champion = promoted(lake, number)
        for day in dates:
            partition = {"dt": f"2026-03-0{day}", "feed": "lamps", "origin": "batch"}
            table.commit(partition, [], {"package": champion.package})
    plan = promotion.plan_rollback(lake, "lamps")
    assert plan == {"model": "lamps", "to": 1, "withdraw": [2]}
    for _ in range(2):  # a retry after a kill does no more
        done = promotion.roll_back(lake, plan, "trained on leaked images", by="ada", now=NOON)
        assert (done["version"], done["entry"], done["withdrawn"]) == ("1", 1, [2])
    assert [one["dt"] for one in promotion.partitions_of(lake, "lamps", [2])] == ["2026-03-02", "2026-03-03"]
    assert aliases(lake) == {"champion": "1"}
    assert len(champions.history(lake, "lamps")) == 3


def it_goes_back_to_the_one_that_is_named(lake: Storage) -> None:
    for number in (1, 2, 3):
        promoted(lake, number)
    plan = promotion.plan_rollback(lake, "lamps", 1)
    done = promotion.roll_back(lake, plan, "both were wrong", by="ada", now=NOON)
    assert (done["version"], done["withdrawn"]) == ("1", [2, 3])
    with pytest.raises(InvalidRequest, match="1 champions that stand"):
        promotion.plan_rollback(lake, "lamps")


@pytest.mark.parametrize("to", [2, 7])
def it_goes_back_only_to_an_earlier_promotion(lake: Storage, to: int) -> None:
    for number in (1, 2):
        promoted(lake, number)
    with pytest.raises(InvalidRequest, match=rf"Entry {to} of lamps cannot become .* one of \[1\]"):
        promotion.plan_rollback(lake, "lamps", to)


def it_does_not_take_over_a_champion_that_came_meanwhile(lake: Storage) -> None:
    for number in (1, 2):
        promoted(lake, number)
    plan = promotion.plan_rollback(lake, "lamps")
    promoted(lake, 3)
    with pytest.raises(CommitConflict, match="promoted meanwhile"):
        promotion.roll_back(lake, plan, "wrong", by="ada", now=NOON)


def it_has_its_limits_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_policy(DEFAULT) == GatePolicy()
    own = tmp_path / "gate.yaml"
    own.write_text("approval: required\nrecall_floors: {PNEUMONIA: 0.9}\n")
    monkeypatch.setenv("DARKROOM_GATE_POLICY", str(own))
    get_settings.cache_clear()
    assert gate_policy() == GatePolicy(approval="required", recall_floors={"PNEUMONIA": 0.9})
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("margin: -1", r"margin: .*received -1"),
        ("margins: 0.1", "margins: Extra inputs"),
        ("[", "cannot be read"),
        ("slices: [colour]", "slices"),
        ("metric: roc_auc", "metric"),
    ],
)
def it_refuses_limits_that_it_does_not_know(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "gate.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=told):
        load_policy(tmp_path / "gate.yaml")
    with pytest.raises(InvalidRequest, match="No such file"):
        load_policy(tmp_path / "none.yaml")
