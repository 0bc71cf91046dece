"""The folder of an MLflow pyfunc model, read as data: its digest, what it takes and gives, what it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

from darkroom.errors import ModelError

MLMODEL, REQUIREMENTS = "MLmodel", "requirements.txt"
INPUTS, OUTPUTS = ("uint8", "float32"), ("float32", "float64")  # the types that a signature may state
HOW = "docs/bring-your-own.md shows a model that fits."


def folder_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the sorted paths of a model's files, relative with slashes, and the SHA-256 of each content.

    Raises ModelError for a path that leads out of the folder, or that could be read as another one's line.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        if not path.isprintable() or "\\" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise ModelError(
                f"The model's folder holds a file {path[:200]!r}. Expected plain paths inside of it. {HOW}"
            )
        digest.update(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Tensor:
    """One array of a signature; -1 stands for any length."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def fits(self, dtypes: tuple[str, ...], shape: tuple[int, ...]) -> bool:
        """Whether it takes any number of arrays of that shape."""
        return (
            self.dtype in dtypes
            and len(self.shape) == len(shape) + 1
            and self.shape[0] == -1
            and all(mine in (-1, theirs) for mine, theirs in zip(self.shape[1:], shape, strict=True))
        )


@dataclass(frozen=True)
class Described:
    """What the MLmodel file of a folder says, and the requirements beside it."""

    takes: Tensor
    gives: Tensor
    python: str  # major.minor
    requirements: str

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Self:
        """Raises ModelError for a folder that is no pyfunc model with a tensor in and a tensor out."""
        for name in (MLMODEL, REQUIREMENTS):
            if name not in files:
                raise ModelError(f"The model's folder holds no {name}. Expected what MLflow's save_model writes. {HOW}")
        try:
            content: Any = yaml.safe_load(files[MLMODEL].decode())
            flavor = content["flavors"]["python_function"]
            version = str(flavor["python_version"]).split(".")
            requirements = files[REQUIREMENTS].decode()
            python = f"{int(version[0])}.{int(version[1])}"
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, IndexError) as error:
            reason = " ".join(repr(error).split())[:300]
            raise ModelError(
                f"The {MLMODEL} of the model is of no pyfunc model ({reason}). Expected the flavor python_function and "
                f"its python_version, as MLflow's save_model writes them. {HOW}"
            ) from error
        signature = content.get("signature")
        return cls(_tensor(signature, "inputs"), _tensor(signature, "outputs"), python, requirements)

    def check(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raises ModelError unless it takes images of that shape (height, width, channels) and gives those classes."""
        if not self.takes.fits(INPUTS, shape):
            sides = ", ".join(map(str, shape))
            raise ModelError(
                f"The model takes {self.takes}. Expected {' or '.join(INPUTS)} with the shape [-1, {sides}], which the "
                f"config's transform makes. Change the transform, or the model and its signature. {HOW}"
            )
        if not self.gives.fits(OUTPUTS, (classes,)):
            raise ModelError(
                f"The model gives {self.gives}. Expected {' or '.join(OUTPUTS)} with the shape [-1, {classes}]: a "
                f"probability for each of the {classes} classes. {HOW}"
            )


def _tensor(signature: Any, side: str) -> Tensor:
    """The only entry of a side of a signature, which MLflow keeps as JSON in the YAML."""
    told = signature.get(side) if isinstance(signature, dict) else None
    try:
        (entry,) = json.loads(str(told))
        if entry["type"] != "tensor" or entry.get("name") is not None:
            raise ValueError(entry)
        spec = entry["tensor-spec"]
        return Tensor(str(spec["dtype"]), tuple(int(length) for length in spec["shape"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"The signature of the model has as {side}: {str(told)[:300]}. Expected one TensorSpec without a name, "
            f"with -1 for the number of images: inputs [-1, height, width, channels], outputs [-1, classes]. {HOW}"
        ) from error
