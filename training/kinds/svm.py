"""A support vector machine on features, linear or with a radial kernel, by scikit-learn's SVC (libsvm).

The kernel's matrix is computed once a trial, for its folds too. Of more than two classes, each pair has a margin.
Margins become probabilities by a logistic regression on them, which for two classes is Platt scaling (Platt 1999): it
is fitted to margins of train images that a fit on the other folds gives, folds that keep groups whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Literal

import numpy as np
from pydantic import Field

from training.classical.graphs import GraphWriter
from training.classical.heads import HeadConfig, Scaling, fit_head, margin_calibration, sample
from training.classical.linear_graph import two_rows
from training.classical.trials import Trial, Tried, trials_of
from training.classical.vectors import Vectors
from training.kinds import Fitted, Job

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"


class Config(HeadConfig):
    """Options of scikit-learn's SVC."""

    kind: Literal["svm"] = "svm"
    kernel: Literal["linear", "rbf"] = Field(default="rbf", description="What likeness of two images is.")
    cost: tuple[float, ...] = Field(default=(0.3, 3.0, 30.0), min_length=1, description="C. val loss chooses.")
    width: tuple[float, ...] = Field(
        default=(1.0,), min_length=1, description="gamma of rbf, times 1 / (values x their variance). val loss chooses."
    )
    standardize: bool = Field(default=True, description="Give every value of the features the same spread.")
    folds: int = Field(default=3, ge=2, le=20, description="Of train, for the probabilities.")
    max_images: int = Field(
        default=8000, ge=100, le=50_000, description="Of more train images, so many are drawn: time grows by squares."
    )


@dataclass(frozen=True)
class Machine:
    """A fitted SVM: ``probabilities`` of vectors float[N, D] as scikit-learn gives them."""

    scaling: Scaling
    gamma: float | None  # None: linear
    vectors: np.ndarray  # float64[N, D], scaled, what it was fitted to
    svc: Any
    calibration: Any  # LogisticRegression

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        margins = _margins(self.svc, kernel(self.scaling.apply(values), self.vectors, self.gamma))
        found: np.ndarray = self.calibration.predict_proba(margins)
        return found


def fit(job: Job) -> Fitted:
    """Fits one machine for each cost and width and keeps the one with the lowest loss on val."""
    config: Config = job.config
    widths = config.width if config.kernel == "rbf" else (1.0,)
    return fit_head(job, trials_of(cost=config.cost, width=widths), partial(fit_one, config, job.seed))


def fit_one(config: Config, seed: int, train: Vectors, val: Vectors, trial: Trial) -> Tried:
    """The machine and its graph."""
    train = sample(train, config.max_images, seed)
    scaling = Scaling.of(train.values, train.weight, config.standardize)
    scaled = scaling.apply(train.values)
    spread = float(scaled.var()) or 1.0
    gamma = trial["width"] / (scaled.shape[1] * spread) if config.kernel == "rbf" else None
    gram = kernel(scaled, scaled, gamma)
    svc = _svc(trial["cost"], gram, train.truth, train.weight)
    rows, margins = _unseen_margins(config, seed, train, gram, trial["cost"])
    if rows.size:
        truth, weight = train.truth[rows], train.weight[rows]
    else:
        log.info("Too few images of a class for folds: probabilities are fitted to val.")
        margins = _margins(svc, kernel(scaling.apply(val.values), scaled, gamma))
        truth, weight = val.truth, val.weight
    machine = Machine(scaling, gamma, scaled, svc, margin_calibration(margins, truth, weight, len(train.classes)))
    return Tried(machine, _graph(machine, len(train.classes)), {"support_vectors": len(svc.support_)})


def kernel(these: np.ndarray, those: np.ndarray, gamma: float | None) -> np.ndarray:
    """float64[N, M] of scaled vectors [N, D] and [M, D]: exp(-gamma |x - y|^2), or x.y / D, so that C means alike."""
    products: np.ndarray = these @ those.T
    if gamma is None:
        return products / these.shape[1]
    squares = (these**2).sum(axis=1)[:, None] + (those**2).sum(axis=1) - 2 * products
    return np.exp(-gamma * np.maximum(squares, 0))


def _svc(cost: float, gram: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> Any:
    from sklearn.svm import SVC

    svc = SVC(C=cost, kernel="precomputed", decision_function_shape="ovo", cache_size=500)
    return svc.fit(gram, truth, weight / weight.mean())


def _margins(svc: Any, gram: np.ndarray) -> np.ndarray:
    """float64[N, pairs of classes]."""
    found: np.ndarray = svc.decision_function(gram).reshape(len(gram), -1)
    return found


def _unseen_margins(
    config: Config, seed: int, train: Vectors, gram: np.ndarray, cost: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of train and their margins, each by a fit that saw nothing of its group; none where folds cannot be made."""
    rows, margins = [], []
    for seen, unseen in _folds(config.folds, seed, train):
        svc = _svc(cost, gram[np.ix_(seen, seen)], train.truth[seen], train.weight[seen])
        rows.append(unseen)
        margins.append(_margins(svc, gram[np.ix_(unseen, seen)]))
    return (np.concatenate(rows), np.concatenate(margins)) if rows else (np.array([], int), np.empty((0, 0)))


def _folds(folds: int, seed: int, train: Vectors) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(seen, unseen) rows; groups whole, every class on both sides. Nothing where there are too few groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [len({train.group[row] for row in np.flatnonzero(train.truth == k)}) for k in range(len(train.classes))]
    parts = min(folds, *groups)
    if parts < 2:
        return
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    made = list(splitter.split(np.zeros(len(train.truth)), train.truth, train.group))
    if all(len(np.unique(train.truth[seen])) == len(train.classes) for seen, _ in made):
        yield from made


def _graph(machine: Machine, classes: int) -> bytes:
    svc, scaling = machine.svc, machine.scaling
    support = machine.vectors[svc.support_]
    weights = _pair_weights(svc, classes)
    graph = GraphWriter(support.shape[1:])
    centred = graph.node("Sub", graph.doubles, graph.constant(scaling.mean))
    scaled = graph.node("Div", centred, graph.constant(scaling.scale))
    if machine.gamma is None:
        margins = graph.affine(scaled, support.T @ weights / support.shape[1], svc.intercept_)
    else:
        own = graph.node("ReduceSumSquare", scaled, axes=[1], keepdims=1)
        distances = graph.node("Add", graph.affine(scaled, -2 * support.T, (support**2).sum(axis=1)), own)
        near = graph.node("Exp", graph.node("Mul", distances, graph.constant(np.float64(-machine.gamma))))
        margins = graph.affine(near, weights, svc.intercept_)
    coefficients, intercepts = two_rows(machine.calibration.coef_, machine.calibration.intercept_)
    return graph.finish(graph.node("Softmax", graph.affine(margins, coefficients.T, intercepts), axis=1), classes)


def _pair_weights(svc: Any, classes: int) -> np.ndarray:
    """float64[support vectors, pairs of classes], from scikit-learn's dual_coef_ [classes - 1, support vectors].

    Row j - 1 of it holds, for support vectors of a class i < j, their weight against j; row i likewise for those of j.
    """
    if classes == 2:
        return svc.dual_coef_.T
    ends = np.cumsum(svc.n_support_)
    of_class = [slice(end - count, end) for end, count in zip(ends, svc.n_support_, strict=True)]
    weights = np.zeros((len(svc.support_), classes * (classes - 1) // 2))
    for pair, (first, second) in enumerate(combinations(range(classes), 2)):
        weights[of_class[first], pair] = svc.dual_coef_[second - 1, of_class[first]]
        weights[of_class[second], pair] = svc.dual_coef_[first, of_class[second]]
    return weights
