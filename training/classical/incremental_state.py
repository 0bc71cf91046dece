"""What an incremental learner has learned, and how it goes on: plain arrays in, plain arrays out.

Scikit-learn's SGDClassifier with the log loss, one class against the rest, averaged (Polyak and Juditsky 1992). Values
are standardised by the mean and spread of the vectors so far, each vector by those up to itself. So vectors that come
one by one, or in parts of any size, give what they would have given at once.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from darkroom.errors import ModelError
from training.classical.graphs import GraphWriter

CLIP = 5.0  # spreads: early on a value that had not changed before would be far out
_ROWS = 1024
_MAX_BYTES = 2**30


@dataclass(frozen=True)
class State:
    """Of K rows of weights, one a class, or of two classes the second one's alone; D values and a constant."""

    classes: np.ndarray  # names, sorted
    penalty: np.ndarray  # float64[], of large weights: SGDClassifier's alpha
    count: np.ndarray  # int64[], vectors so far
    origin: np.ndarray  # float64[D], the first vector: sums are of distances from it
    sums: np.ndarray  # float64[D]
    squares: np.ndarray  # float64[D]
    weights: np.ndarray  # float64[K, D + 1], where the descent stands
    average: np.ndarray  # float64[K, D + 1], of all places it has been: what predicts

    @property
    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the vectors so far, float64[D] each."""
        mean, spread = _moments(self.sums, self.squares, max(int(self.count), 1))
        return self.origin + mean, spread


def start(classes: tuple[str, ...], length: int, penalty: float) -> State:
    """One that has seen nothing yet, of vectors with ``length`` values."""
    rows = 1 if len(classes) == 2 else len(classes)
    none, weights = np.zeros(length), np.zeros((rows, length + 1))
    return State(np.array(classes), np.array(penalty), np.array(0), none, none, none, weights, weights)


def partial_fit(state: State, values: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None) -> State:
    """What it has learned after these vectors too; the given state stays as it is.

    ``values`` float[N, D] in the order in which they count, ``truth`` int64[N] indices of its classes, ``weight``
    float64[N]. Parts give what the whole gives, but for the last bits.
    """
    weight = np.ones(len(truth)) if weight is None else weight
    for begin in range(0, len(truth), _ROWS):
        rows = slice(begin, begin + _ROWS)
        state = _few(state, values[rows].astype(np.float64), truth[rows], weight[rows])
    return state


def _few(state: State, values: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> State:
    before = int(state.count)
    origin = state.origin if before else values[0]
    away = values - origin
    sums = np.cumsum(np.vstack([state.sums, away]), axis=0)[1:]
    squares = np.cumsum(np.vstack([state.squares, away**2]), axis=0)[1:]
    mean, spread = _moments(sums, squares, np.arange(before + 1, before + 1 + len(values))[:, None])
    learner = _learner(state)
    learner.partial_fit(_scaled(away, mean, spread), truth, sample_weight=weight)
    return replace(
        state,
        count=np.array(before + len(values)),
        origin=origin,
        sums=sums[-1],
        squares=squares[-1],
        weights=learner._standard_coef.reshape(state.weights.shape).copy(),
        average=learner._average_coef.reshape(state.weights.shape).copy(),
    )


def _moments(sums: np.ndarray, squares: np.ndarray, count: Any) -> tuple[np.ndarray, np.ndarray]:
    mean = sums / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, np.where(spread <= 1e-9 * np.maximum(np.abs(mean), 1e-9), 1.0, spread)


def _scaled(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Vectors of about length one, which SGDClassifier's steps are made for, and a constant behind."""
    scaled = np.clip((values - mean) / spread, -CLIP, CLIP) / np.sqrt(values.shape[1])
    return np.hstack([scaled, np.ones((len(scaled), 1))])


def _learner(state: State) -> Any:
    """Scikit-learn's classifier as it was after the last vector.

    The constant stands in for its intercept, which it does not keep apart from the average's between calls.
    """
    from sklearn.linear_model import SGDClassifier

    learner = SGDClassifier(
        loss="log_loss", alpha=float(state.penalty), average=True, shuffle=False, fit_intercept=False
    )
    learner.classes_ = np.arange(len(state.classes))
    learner.n_features_in_ = state.weights.shape[1]
    learner._standard_coef, learner._average_coef = state.weights.copy(), state.average.copy()
    learner.coef_ = learner._average_coef
    learner._standard_intercept, learner._average_intercept = (np.zeros(len(state.weights)) for _ in range(2))
    learner.intercept_ = np.zeros(len(state.weights))
    learner.t_ = 1.0 + int(state.count)
    return learner


def probabilities(state: State, values: np.ndarray) -> np.ndarray:
    """float64[N, classes], as scikit-learn says it, of vectors float[N, D]."""
    mean, spread = state.scaling
    found: np.ndarray = _learner(state).predict_proba(_scaled(values.astype(np.float64), mean, spread))
    return found


def state_graph(state: State) -> bytes:
    """The same as an ONNX graph of float32[N, D]."""
    mean, spread = state.scaling
    graph = GraphWriter(mean.shape)
    centred = graph.node("Sub", graph.doubles, graph.constant(mean))
    scaled = graph.node("Div", centred, graph.constant(spread))
    limits = [graph.constant(np.float64(limit)) for limit in (-CLIP, CLIP)]
    inside = graph.node("Clip", scaled, *limits)
    margins = graph.affine(inside, state.average[:, :-1].T / np.sqrt(len(mean)), state.average[:, -1])
    each = graph.node("Sigmoid", margins)
    classes = len(state.classes)
    return graph.finish(graph.beside_rest(each) if classes == 2 else graph.shares(each), classes)


def pack_state(state: State, features: bytes, seen: np.ndarray, transform: dict[str, Any]) -> bytes:
    """One npz file of plain arrays: the state and all that the next image needs to become a vector for it.

    ``features``: packed; ``seen``: uint64[N], the images that it has seen; ``transform``: the options of their pixels'.
    """
    buffer = io.BytesIO()
    own = {one.name: getattr(state, one.name) for one in fields(State)}
    told = np.array(json.dumps(transform, sort_keys=True))
    np.savez(buffer, allow_pickle=False, **own, features=np.frombuffer(features, np.uint8), seen=seen, transform=told)
    return buffer.getvalue()


def unpack_state(data: bytes) -> tuple[State, bytes, np.ndarray, dict[str, Any]]:
    """What ``pack_state`` was given. Raises ModelError for anything else."""
    names = {one.name for one in fields(State)}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if (declared := sum(member.file_size for member in archive.infolist())) > _MAX_BYTES:
                raise ModelError(f"The state of a learner unpacks to {declared:,} bytes, more than {_MAX_BYTES:,}.")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        state = State(**{name: arrays[name] for name in names})
        features, seen = arrays["features"].tobytes(), arrays["seen"].astype(np.uint64)
        transform: dict[str, Any] = json.loads(str(arrays["transform"]))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"The state of an incremental learner cannot be read ({error!r}). Name another, or none to begin anew."
        ) from error
    width = state.origin.shape[0] if state.origin.ndim == 1 else -1
    if set(arrays) != names | {"features", "seen", "transform"} or state.weights.shape[1:] != (width + 1,):
        raise ModelError("The state of an incremental learner holds other arrays than it should. Begin anew.")
    return state, features, seen, transform
