"""The MLflow door to a model package: a table with a column of image bytes in, labels and probabilities out.

MLflow runs this file when it loads the model (models from code). It needs the darkroom package, which is logged
beside it in one zip that Python imports from, and no TensorFlow.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any
from zipimport import zipimporter

import mlflow
import numpy as np
import pandas as pd

BATCH = 32


class PackageModel(mlflow.pyfunc.PythonModel):
    """Predicts with the model package among the artifacts.

    Input: a DataFrame whose column ``image`` (or only column) holds the bytes of image files.
    Output: label, score (probability of the label), probabilities (in class order) and problem; an image that cannot
    be read has only a problem.
    """

    def load_context(self, context: Any) -> None:
        _import_packed(context.artifacts["code"])
        from darkroom.model import load_package
        from darkroom.storage import open_storage

        path = Path(context.artifacts["package"])
        self.model = load_package(open_storage(str(path.parent)), path.name, threads=2)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        from darkroom.transform import ImageProblem

        column = "image" if "image" in model_input.columns else model_input.columns[0]
        images = model_input[column].tolist()
        rows: list[dict[str, Any]] = []
        for start in range(0, len(images), BATCH):
            pixels, positions = [], []
            for data in images[start : start + BATCH]:
                rows.append({"label": None, "score": None, "probabilities": None, "problem": None})
                try:
                    pixels.append(self.model.transform.apply(data))
                    positions.append(len(rows) - 1)
                except ImageProblem as problem:
                    rows[-1]["problem"] = str(problem)
            if not pixels:
                continue
            probabilities = self.model.predict(np.stack(pixels))
            labels, scores = self.model.labels(probabilities)
            for at, label, score, shares in zip(positions, labels, scores, probabilities, strict=True):
                rows[at] |= {"label": label, "score": float(score), "probabilities": [float(p) for p in shares]}
        return pd.DataFrame(rows, columns=["label", "score", "probabilities", "problem"], index=model_input.index)


def _import_packed(path: str) -> None:
    """Imports the package darkroom from a zip, unless this process has it already; its modules follow it there."""
    if "darkroom" not in sys.modules and (spec := zipimporter(path).find_spec("darkroom")) and spec.loader:
        sys.modules["darkroom"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["darkroom"])


mlflow.models.set_model(PackageModel())
