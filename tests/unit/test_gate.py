"""The gate: each rule lets pass what it should and stops what it should, and doubt means no."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import pytest

from darkroom import gate
from darkroom.gate import GatePolicy, Scores, Verdict

pytestmark = pytest.mark.unit


def scores(
    recall_a: float, recall_b: float, *, count: int = 400, name: str = "model", seed: int = 0, **changes: Any
) -> Scores:
    """A model with exactly these recalls on ``count`` images, half of class a and half of b."""
    rng = np.random.default_rng(seed)
    truth = ["a", "b"] * (count // 2)
    predicted = list(truth)
    for label, recall in (("a", recall_a), ("b", recall_b)):
        own = [k for k, said in enumerate(truth) if said == label]
        for k in rng.permutation(own)[: round(len(own) * (1 - recall))]:
            predicted[k] = "b" if label == "a" else "a"
    ids = [f"image{k}" for k in range(count)]
    slices = {"mode": ["L"] * count, "size": ["under 128 px"] * count, "source": ["clinic"] * count, "group": ids}
    measured = Scores(name, ids, truth, predicted, [0.9] * count, slices=slices, milliseconds=2.0, megabytes=1.5)
    return dataclasses.replace(measured, **changes)


def decide(
    challenger: Scores,
    champion: Scores | None,
    policy: GatePolicy | None = None,
    classes: tuple[str, ...] = ("a", "b"),
) -> Verdict:
    return gate.decide(challenger, champion, classes, policy)


def it_promotes_a_first_model_that_is_above_chance() -> None:
    verdict = decide(scores(0.9, 0.9), None)
    assert verdict.promote
    assert verdict.word == "promote"
    assert verdict.figures["value"] == pytest.approx(0.9)
    assert verdict.figures["interval"][0] > 0.5
    assert any("no champion yet" in reason for reason in verdict.reasons)


def it_refuses_a_first_model_that_may_be_guessing() -> None:
    verdict = decide(scores(0.53, 0.52), None)
    assert not verdict.promote
    assert "not surely above chance" in verdict.reasons[0]


def it_refuses_one_that_neglects_a_class() -> None:
    verdict = decide(scores(0.45, 1.0), None)
    assert not verdict.promote
    assert verdict.reasons == ("Recall of a is 0.450, below the floor of 0.500.",)


def it_promotes_a_better_model_over_the_champion() -> None:
    verdict = decide(scores(0.95, 0.95), scores(0.85, 0.85, name="champion", seed=1))
    assert verdict.promote
    assert verdict.figures["difference"] == pytest.approx(0.1)
    assert verdict.figures["champion_recall"] == pytest.approx({"a": 0.85, "b": 0.85})
    assert verdict.figures["difference_interval"][0] > 0


def it_keeps_the_champion_on_a_tie() -> None:
    verdict = decide(scores(0.9, 0.9), scores(0.9, 0.9, name="champion"))
    assert not verdict.promote
    assert verdict.reasons == ("champion says the same about every image: a tie keeps the champion.",)


def it_promotes_one_that_is_right_once_more_and_wrong_nowhere_else() -> None:
    assert decide(scores(0.9, 0.9), scores(0.9, 0.895, name="champion")).promote


def it_asks_for_more_than_a_draw_where_superiority_is_wanted() -> None:
    policy = GatePolicy(comparison="superiority", margin=0.0)
    mine, rival = scores(0.9, 0.9), scores(0.9, 0.895, name="champion")
    assert decide(mine, rival).promote
    assert not decide(mine, rival, policy).promote
    assert decide(scores(0.97, 0.97), scores(0.8, 0.8, name="champion", seed=1), policy).promote


def it_compares_by_accuracy_where_that_is_wanted() -> None:
    truth = ["a"] * 300 + ["b"] * 100
    mine = broken(truth=truth, predicted=["a"] * 300 + ["b"] * 60 + ["a"] * 40)
    policy = GatePolicy(metric="accuracy")
    verdict = decide(mine, None, policy)
    assert (verdict.figures["value"], verdict.figures["chance"]) == (0.9, 0.75)
    assert verdict.promote
    assert not decide(broken(truth=truth, predicted=["a"] * 400), None, GatePolicy(metric="accuracy")).promote


def it_holds_each_class_to_its_own_floor() -> None:
    policy = GatePolicy(recall_floors={"b": 0.95})
    assert decide(scores(0.6, 0.97), None, policy).promote
    assert decide(scores(0.97, 0.9), None, policy).reasons == ("Recall of b is 0.900, below the floor of 0.950.",)
    assert "no class of these images" in decide(scores(1, 1), None, GatePolicy(recall_floors={"c": 0.1})).reasons[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": [0.6] * 400}, "calibration error is 0.35, above the limit of 0.25"),
        ({"milliseconds": 501.0}, "time for an image is 501 ms, above the limit of 500 ms"),
        ({"milliseconds": None}, "time for an image of model was not measured"),
        ({"milliseconds": math.nan}, "was not measured"),
        ({"megabytes": 1e4}, "package is 1e+04 MB, above"),
        ({"megabytes": None}, "package of model was not measured"),
    ],
)
def it_keeps_to_its_limits(changes: dict[str, Any], told: str) -> None:
    verdict = decide(scores(0.95, 0.95, **changes), None)
    assert not verdict.promote
    assert told in verdict.reasons[0]
    assert decide(
        scores(0.95, 0.95, **changes),
        None,
        GatePolicy(max_calibration_error=None, max_milliseconds=None, max_megabytes=None),
    ).promote


def of_two_clinics(first: float, second: float, name: str = "model", seed: int = 0) -> Scores:
    """A model with these shares of right answers in two clinics of 200 images each."""
    rng = np.random.default_rng(seed)
    truth = ["a", "b"] * 200
    predicted = list(truth)
    for start, share in ((0, first), (200, second)):
        for k in rng.permutation(200)[: round(200 * (1 - share))]:
            predicted[start + k] = "b" if truth[start + k] == "a" else "a"
    sources = ["first"] * 200 + ["second"] * 200
    whole = scores(1, 1)
    slices = {**whole.slices, "source": sources}
    return dataclasses.replace(whole, name=name, truth=truth, predicted=predicted, slices=slices)


def it_gives_up_no_slice_of_the_images() -> None:
    rival = of_two_clinics(0.7, 0.95, "The champion, version 1,")
    verdict = decide(of_two_clinics(1.0, 0.75, seed=1), rival)
    assert verdict.figures["difference"] > 0.04
    assert verdict.figures["difference_interval"][0] > -0.01
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0] == (
        "On the 200 images of source second the accuracy falls by 0.200 against the champion, version 1, "
        "more than 0.100."
    )
    assert decide(of_two_clinics(1.0, 0.75, seed=1), rival, GatePolicy(slice_margin=0.3)).promote
    assert decide(of_two_clinics(1.0, 0.75, seed=1), rival, GatePolicy(slice_min_images=201)).promote


def it_counts_the_slices_that_are_too_small_to_judge() -> None:
    verdict = decide(scores(0.95, 0.95), scores(0.85, 0.85, name="champion", seed=1))
    assert verdict.figures["slices_too_small"] == 400  # groups of one image each
    assert [(one["slice"], one["images"]) for one in verdict.figures["slices"]] == [
        ("mode", 400),
        ("size", 400),
        ("source", 400),
    ]


def it_does_not_decide_where_slices_are_not_known() -> None:
    verdict = decide(scores(0.95, 0.95, slices={}), scores(0.85, 0.85, name="champion", seed=1))
    assert verdict.reasons == ("model does not tell the images apart by mode, size, source, group.",)


def it_does_not_promote_when_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_draw(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no draw")

    monkeypatch.setattr("darkroom.gate.decision.resampled_counts", broken_draw)
    verdict = decide(scores(0.9, 0.9), None)
    assert not verdict.promote
    assert verdict.reasons == ("The gate could not decide: ZeroDivisionError: no draw.",)


def it_refuses_a_worse_model() -> None:
    verdict = decide(scores(0.8, 0.8), scores(0.95, 0.95, name="champion", seed=1))
    assert not verdict.promote
    assert "is not excluded" in verdict.reasons[0]


def it_refuses_an_equal_model_when_few_images_cannot_exclude_a_loss() -> None:
    mine, rival = scores(0.85, 0.85, count=60), scores(0.85, 0.85, count=60, name="champion", seed=5)
    assert not decide(mine, rival).promote


def it_uses_the_margin() -> None:
    mine, rival = scores(0.90, 0.90), scores(0.91, 0.91, name="champion", seed=0)
    assert not decide(mine, rival).promote
    assert decide(mine, rival, GatePolicy(margin=0.2)).promote


def it_compares_on_the_same_images_in_any_order() -> None:
    rival = scores(0.85, 0.85, name="champion", seed=1)
    order = np.random.default_rng(0).permutation(len(rival.content_ids)).tolist()
    columns = {
        name: [getattr(rival, name)[k] for k in order] for name in ("content_ids", "truth", "predicted", "score")
    }
    shuffled = dataclasses.replace(rival, **columns)
    assert decide(scores(0.95, 0.95), shuffled) == decide(scores(0.95, 0.95), rival)


@pytest.mark.parametrize("side", ["challenger", "champion"])
def it_leaves_out_what_either_was_trained_on(side: str) -> None:
    ids = frozenset(f"image{k}" for k in range(100))
    mine = scores(0.9, 0.9, trained_on=ids if side == "challenger" else frozenset())
    rival = scores(0.8, 0.8, name="champion", seed=1, trained_on=ids if side == "champion" else frozenset())
    verdict = decide(mine, rival)
    assert verdict.figures["images"] == 300
    assert verdict.figures["left_out_as_trained_on"] == 100


def broken(**changes: Any) -> Scores:
    return dataclasses.replace(scores(0.9, 0.9), **changes)


@pytest.mark.parametrize(
    ("challenger", "champion", "told"),
    [
        (scores(0.9, 0.9, count=30), None, "Only 30 images"),
        (scores(1.0, 1.0), scores(0.5, 0.5, trained_on=frozenset(f"image{k}" for k in range(399))), "Only 1 images"),
        (broken(score=[math.nan, *[0.9] * 399]), None, "no finite probability"),
        (broken(score=[0.9] * 399), None, "different lengths"),
        (broken(predicted=[None, *["a"] * 399]), None, "lacks 1 labels"),
        (broken(content_ids=["same"] * 400), None, "more than once"),
        (scores(0.9, 0.9), scores(0.9, 0.9, count=398), "not the same ones"),
        (scores(0.9, 0.9), broken(content_ids=[f"other{k}" for k in range(400)]), "not the same ones"),
        (scores(0.9, 0.9), Scores.unavailable("The champion", "its package is gone."), "its package is gone"),
        (Scores.unavailable("The challenger", "no prediction."), None, "no prediction"),
        (scores(0.9, 0.9, truth=["a"] * 400, predicted=["a"] * 400), None, "Only 0 images of b"),
        (Scores("empty", [], [], [], []), None, "Only 0 images"),
    ],
)
def it_fails_closed(challenger: Scores, champion: Scores | None, told: str) -> None:
    verdict = decide(challenger, champion)
    assert not verdict.promote
    assert any(told in reason for reason in verdict.reasons), verdict.reasons


def it_counts_a_class_that_the_champion_does_not_know_as_its_miss() -> None:
    rival = scores(0.99, 0.99, name="champion")
    renamed = dataclasses.replace(rival, predicted=["old name" if p == "b" else p for p in rival.predicted])
    verdict = decide(scores(0.9, 0.9, seed=3), renamed)
    assert verdict.promote
    assert verdict.figures["champion_value"] == pytest.approx(0.495)


def it_needs_enough_images_of_each_class() -> None:
    truth = ["a"] * 395 + ["b"] * 5
    few = broken(truth=truth, predicted=truth)
    verdict = decide(few, None)
    assert not verdict.promote
    assert any("Only 5 images of b" in reason for reason in verdict.reasons)


def it_refuses_where_a_class_of_the_model_is_missing_from_the_test_images() -> None:
    mine = scores(0.9, 0.9)
    assert decide(mine, None).promote
    verdict = decide(mine, None, classes=("a", "b", "rare"))
    assert not verdict.promote
    assert verdict.reasons == ("Only 0 images of rare; at least 10 are needed.",)


def it_needs_two_classes() -> None:
    one = scores(0.9, 0.9, truth=["a"] * 400, predicted=["a"] * 400)
    assert decide(one, None, classes=("a",)).reasons == ("Only 1 class occurs; at least two are needed.",)


def it_is_less_sure_of_grouped_images() -> None:
    groups = [f"patient{k // 40}" for k in range(400)]
    alone = decide(scores(0.9, 0.9), None).figures["interval"]
    mine = scores(0.9, 0.9)
    worst_first = sorted(range(400), key=lambda k: mine.predicted[k] == mine.truth[k])
    columns = {n: [getattr(mine, n)[k] for k in worst_first] for n in ("content_ids", "truth", "predicted", "score")}
    grouped = decide(dataclasses.replace(mine, groups=groups, **columns), None).figures["interval"]
    assert grouped[1] - grouped[0] > 1.5 * (alone[1] - alone[0])


def it_decides_on_ten_thousand_images_in_two_seconds() -> None:
    groups = [f"patient{k // 3}" for k in range(10_000)]
    mine = scores(0.9, 0.9, count=10_000, groups=groups)
    rival = scores(0.88, 0.9, count=10_000, name="champion", seed=1, groups=groups)
    began = time.process_time()
    assert decide(mine, rival).promote
    assert time.process_time() - began < 2
