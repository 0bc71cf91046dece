"""The doors through which a package answers: its own, MLflow's, and that of batch inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darkroom.model import load_package
from darkroom.storage import Storage
from spark_apps.predict import classify_files

BROKEN = b"no image"


def answers(lake: Storage, path: str, model_id: str, images: Sequence[bytes]) -> dict[str, np.ndarray]:
    """What each door says of images, float[N, classes]: all at once, one by one, and through the other doors.

    ``model_id``: the package's in MLflow, which must be reached. The other doors get a file that is no image besides,
    have to say so, and have to name the label that the package names.
    """
    import mlflow
    import pandas as pd

    model = load_package(lake, path)
    pixels = np.stack([model.transform.apply(data) for data in images])
    found = {"at once": model.predict(pixels)}
    found["one by one"] = np.concatenate([model.predict(one[None]) for one in pixels])
    labels = model.labels(found["at once"])[0]
    assert model.predict(pixels[:0]).shape == (0, len(model.info.classes))

    table = mlflow.pyfunc.load_model(f"models:/{model_id}").predict(pd.DataFrame({"image": [*images, BROKEN]}))
    files = {f"inbox/doors/{number}": data for number, data in enumerate([*images, BROKEN])}
    for name, data in files.items():
        lake.write(name, data)
    rows = classify_files(lake, model, [(name, len(data)) for name, data in files.items()])
    for door, said in {"MLflow": table.to_dict("records"), "batch": rows}.items():
        *good, bad = said
        assert (bad["label"], bad["problem"].partition(":")[0]) == (None, "not_an_image")
        assert [row["label"] for row in good] == labels
        assert all(row["problem"] is None for row in good)
        found[door] = np.array([row["probabilities"] for row in good])
    return found


def check_doors(lake: Storage, path: str, model_id: str, images: Sequence[bytes], atol: float = 1e-5) -> np.ndarray:
    """What all doors say alike, float32[N, classes]; see ``answers``."""
    found = answers(lake, path, model_id, images)
    for door, said in found.items():
        np.testing.assert_allclose(said, found["at once"], atol=atol, err_msg=door)
    return found["at once"]
