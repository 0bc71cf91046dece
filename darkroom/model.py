"""A model package, loaded: asked to predict, to embed and to say where it looked.

Graphs are standard ONNX, so TensorFlow is not needed. What a package holds: darkroom.package.
"""

from __future__ import annotations

import hashlib

import numpy as np

from darkroom.calibration import calibrated
from darkroom.contract import model_package
from darkroom.drift.reference import Reference
from darkroom.engines import ENGINES
from darkroom.errors import DataError, InvalidRequest, ModelError
from darkroom.features import FittedFeatures
from darkroom.metrics import predict_labels
from darkroom.package import Package, PackageInfo, pack, read_package
from darkroom.storage import Storage

BATCH = 32


class Model:
    """A loaded package. Not shared between threads or processes: each worker loads its own."""

    def __init__(self, package: Package, threads: int) -> None:
        self.info = package.info
        self.reference = package.reference
        self.package_id = package.package_id
        self.classes = self.info.classes
        self.transform = package.transform
        self._engine = ENGINES[self.info.answers](package, threads)
        self._check_shapes()

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, classes], rows summing to one, from uint8[N, H, W, C] made by ``transform``; calibrated.

        Raises ModelError for another shape or dtype.
        """
        return calibrated(self._run(pixels, [0])[0], self.info.temperature)

    @property
    def can_embed(self) -> bool:
        return self._engine.outputs > 1

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, D]: the features that the last layer sees. Raises ModelError where the model has none."""
        if not self.can_embed:
            raise ModelError(f"The model of {self.info.config} gives no embeddings. Use one trained by Keras.")
        return self._run(pixels, [1])[0]

    @property
    def can_map(self) -> bool:
        return self._engine.outputs > 2

    def maps(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, h, w, classes]: the part of each place in each class's score. ModelError where there is none."""
        if not self.can_map:
            raise ModelError(f"The model of {self.info.config} gives no activation maps. Use one trained by Keras.")
        return self._run(pixels, [2])[0]

    def predict_with_features(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """``predict`` and, in the same pass, float32[N, K] features for drift; None without a reference."""
        if self.reference is None:
            return self.predict(pixels), None
        if self.reference.kind == "pixels":
            return self.predict(pixels), self.reference.features(None, pixels)
        probabilities, embedding = self._run(pixels, [0, 1])
        return calibrated(probabilities, self.info.temperature), self.reference.features(embedding, pixels)

    def labels(self, probabilities: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The label of each row of float[N, classes] and that label's probability, float64[N]."""
        chosen = self.label_indices(probabilities)
        score = np.asarray(probabilities, dtype=np.float64)[np.arange(len(chosen)), chosen]
        return [self.classes[k] for k in chosen.tolist()], score

    def label_indices(self, probabilities: np.ndarray) -> np.ndarray:
        """int64[N]: two classes by the threshold, more by the largest probability."""
        positive = None if self.info.positive_class is None else self.classes.index(self.info.positive_class)
        return predict_labels(np.asarray(probabilities), positive, self.info.threshold)

    def _run(self, pixels: np.ndarray, outputs: list[int]) -> list[np.ndarray]:
        shape = self.info.input_shape
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != shape:
            raise ModelError(
                f"Got pixels {pixels.dtype}{list(pixels.shape)}. Expected uint8[N, {', '.join(map(str, shape))}]. "
                "Make them with the model's own transform."
            )
        if not len(pixels):  # a blank image tells the outputs' widths: not every graph takes an empty batch
            return [found[:0] for found in self._run(np.zeros((1, *shape), dtype=np.uint8), outputs)]
        parts = [self._engine.run(pixels[k : k + BATCH], outputs) for k in range(0, len(pixels), BATCH)]
        return [np.concatenate(found).astype(np.float32, copy=False) for found in zip(*parts, strict=True)]

    def _check_shapes(self) -> None:
        """One blank image through the graph: what comes out must fit the classes."""
        try:
            out = self.predict(np.zeros((1, *self.info.input_shape), dtype=np.uint8))
        except ModelError:
            raise
        except (DataError, InvalidRequest) as error:
            raise ModelError(f"The features of {self.info.config} do not fit its images. {error.message}") from error
        except Exception as error:  # onnxruntime raises many private types
            raise ModelError(f"The model of {self.info.config} does not run on its own input shape: {error}") from error
        if out.shape != (1, len(self.classes)) or not np.isfinite(out).all():
            raise ModelError(
                f"The model of {self.info.config} gives {out.shape} for one blank image. "
                f"Expected {(1, len(self.classes))} finite numbers. Train it again."
            )
        if self.reference is not None:
            self._check_reference(self.reference)

    def _check_reference(self, reference: Reference) -> None:
        if reference.classes != self.classes or (reference.kind == "embedding" and not self.can_embed):
            raise ModelError(
                f"The drift reference of {self.info.config} is for the classes {list(reference.classes)} and a model's "
                f"{reference.kind}: another model's. Train it again."
            )
        try:
            self.predict_with_features(np.zeros((1, *self.info.input_shape), dtype=np.uint8))
        except DataError as error:
            raise ModelError(f"The drift reference of {self.info.config} does not fit it: {error}") from error


def load_package(lake: Storage, source: str | bytes, *, package_id: str | None = None, threads: int = 1) -> Model:
    """Loads a package from its lake path or its bytes; ``threads`` is what one prediction may use.

    Raises ModelError for what ``read_package`` refuses, for a graph of anything but standard operators, and for a
    pyfunc model that is not allowed here (darkroom.pyfunc.allowed) or does not answer as it should.
    """
    return Model(read_package(lake, source, package_id=package_id), threads)


def write_package(
    lake: Storage,
    model: str,
    info: PackageInfo,
    content: bytes,
    reference: Reference | None = None,
    features: FittedFeatures | None = None,
) -> tuple[str, str]:
    """Checks that the package loads, then puts it on the lake. Returns its path and its id (SHA-256)."""
    data = pack(info, content, reference, features)
    load_package(lake, data)
    package_id = hashlib.sha256(data).hexdigest()
    path = model_package(model, package_id)
    lake.create(path, data)  # False: this very package is there already
    return path, package_id
