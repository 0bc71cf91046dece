"""MLflow pyfunc models: folders to be read and never run, and one in a registry that runs and, if told to, fails."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from darkroom.package import PackageInfo, PyfuncSource
from darkroom.pyfunc.folder import folder_digest
from tests.packages import CLASSES, TRANSFORM, package_info

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# What it does depends on the first pixel of a batch; 4 and less never come from the images here.
CODE = """
import os, signal, time
import mlflow, numpy as np

class Lights(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: np.ndarray, params=None):
        print("a word on standard output", flush=True)
        os.system("echo and one of a child")
        mean = model_input.reshape(len(model_input), -1).astype(float).mean(axis=1) / 255
        bright = 1 / (1 + np.exp(-20 * (mean - 0.5)))
        answer = np.stack([1 - bright, bright], axis=1)
        order = int(model_input[0, 0, 0, 0])
        if order == 1:
            answer[0, 0] = np.nan
        if order == 2:
            time.sleep(600)  # longer than any limit on an answer
        if order == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if order == 4:
            raise RuntimeError("lost in the dark: " + str([name for name in os.environ if "DARKROOM" in name]))
        return answer

mlflow.models.set_model(Lights())
"""


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def model_files(
    mark: Path | str = "", inputs: Any = None, outputs: Any = None, python: str = f"{PYTHON}.1"
) -> dict[str, bytes]:
    """A model whose code leaves the file ``mark`` when it is imported or unpickled."""
    taken = [tensor("uint8", -1, *TRANSFORM.shape)] if inputs is None else inputs
    given = [tensor("float32", -1, 2)] if outputs is None else outputs
    flavor = {"loader_module": "mlflow.pyfunc.loaders.code_model", "python_version": python, "model_code_path": "m.py"}
    content = {"flavors": {"python_function": flavor}}
    content |= {"signature": {"inputs": json.dumps(taken), "outputs": json.dumps(given)}}
    # A pickle that calls open(mark, "w").
    pickled = b"cbuiltins\nopen\n(V" + str(mark).encode() + b"\nVw\ntR."
    return {
        "MLmodel": yaml.safe_dump(content).encode(),
        "m.py": f"open({str(mark)!r}, 'w')\n".encode(),
        "python_model.pkl": pickled,
        "requirements.txt": b"mlflow-skinny\nnumpy\n",
        "setup/sitecustomize.py": f"open({str(mark)!r}, 'w')\n".encode(),
    }


def written(folder: Path, files: dict[str, bytes]) -> Path:
    """The folder with these files in it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pyfunc_info(files: dict[str, bytes], uri: str = "models:/lights/1", **changes: Any) -> PackageInfo:
    source = PyfuncSource(uri=uri, digest=folder_digest(files), classes=changes.pop("order", CLASSES))
    return package_info(pyfunc=source, **changes)


def bright(pixels: np.ndarray) -> np.ndarray:
    """What the model says of BRIGHT."""
    return np.asarray(1 / (1 + np.exp(-20 * (pixels.reshape(len(pixels), -1).mean(axis=1) / 255 - 0.5))))


def saved(folder: Path) -> None:
    """Registers the model as models:/lights/1. Its outputs are DARK, BRIGHT: not the sorted order."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from training import tracking

    client = tracking.open_client()
    (folder / "lights.py").write_text(CODE)
    taken, given = (-1, *TRANSFORM.shape), (-1, 2)
    mlflow.pyfunc.save_model(
        str(folder / "saved"),
        python_model=str(folder / "lights.py"),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), taken)]),
            outputs=Schema([TensorSpec(np.dtype("float32"), given)]),
        ),
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow-skinny", "numpy", "pandas")],
    )
    client.create_registered_model("lights")
    client.create_model_version("lights", str(folder / "saved"))
