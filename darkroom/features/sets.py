"""Several features side by side: one vector an image, the same in training and in batch inference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import RootModel, SerializeAsAny, ValidationError, field_validator

from darkroom.contract import stable_hash
from darkroom.errors import DataError, InvalidRequest, ModelError
from darkroom.features.feature import Feature, Raws, parse_feature

_MANIFEST = "features.json"


class FeatureSet(RootModel[tuple[SerializeAsAny[Feature], ...]]):
    """Features in order. In YAML a list of names, or of mappings with a ``kind`` and its options."""

    model_config = {"frozen": True}

    @field_validator("root", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> tuple[Feature, ...]:
        listed = [value] if isinstance(value, (str, Mapping)) else value
        if not isinstance(listed, (list, tuple)) or not listed:
            raise ValueError("expected a list of at least one feature")
        try:
            found = tuple(parse_feature(one) for one in listed)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        if len(set(found)) < len(found):
            raise ValueError("a feature is named twice with the same options")
        return found

    @property
    def features(self) -> tuple[Feature, ...]:
        return self.root

    @property
    def hash(self) -> str:
        """16 hex digits over the features, all their options and their order."""
        return stable_hash([[one.hash, one.model_dump(mode="json")] for one in self.features])

    def check(self, shape: Sequence[int]) -> None:
        """Raises InvalidRequest where a feature cannot be computed from images of [H, W, C]."""
        blank = np.zeros(tuple(shape), np.uint8)
        for feature in self.features:
            feature.extract(blank)

    def extract(self, pixels: np.ndarray) -> list[Raws]:
        """The raw features of uint8[N, H, W, C], a column a feature. Raises as Feature.extract does."""
        columns: list[Raws] = []
        for feature in self.features:
            raws = [feature.extract(image) for image in pixels]
            columns.append(raws if feature.fitted or not raws else np.stack(raws))
        return columns

    def fit(self, raws: Sequence[Raws], seed: int = 0) -> FittedFeatures:
        """Fits what has to be fitted on the training images' raw features, a column a feature (``extract``).

        Equal for equal raws and seed, whatever the number of threads. Raises DataError where there is too little.
        """
        if len(raws) != len(self.features) or not all(len(column) for column in raws):
            counts = [len(column) for column in raws]
            raise DataError(
                f"Got raw features of {counts} images for {len(self.features)} features. Expected a column for each "
                "feature, with at least one image."
            )
        pairs = list(zip(self.features, raws, strict=True))
        arrays = tuple(feature.fit(column, seed) for feature, column in pairs)
        first = [feature.encode(column[0], kept) for (feature, column), kept in zip(pairs, arrays, strict=True)]
        return FittedFeatures(self, arrays, tuple(len(vector) for vector in first))


@dataclass(frozen=True)
class FittedFeatures:
    """Features with what was fitted for them. Plain arrays: nothing in it runs code when it is loaded."""

    features: FeatureSet
    arrays: tuple[Mapping[str, np.ndarray], ...]  # of each feature; empty for those that are not fitted
    lengths: tuple[int, ...]  # of each feature's vector

    @property
    def length(self) -> int:
        """D, the length of an image's vector."""
        return sum(self.lengths)

    def names(self) -> list[str]:
        """A name for each of the D values: the kind and a number."""
        pairs = zip(self.features.features, self.lengths, strict=True)
        return [f"{feature.kind}_{number}" for feature, length in pairs for number in range(length)]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, D] of uint8[N, H, W, C], the same for an image whatever the others are.

        Raises DataError for images of another shape than those that it was fitted on, where the length tells.
        """
        return self.encode([[feature.extract(image) for image in pixels] for feature in self.features.features])

    def encode(self, raws: Sequence[Raws]) -> np.ndarray:
        """float32[N, D] of raw features, a column a feature. Raises DataError as ``apply`` does."""
        vectors = np.empty((len(raws[0]), self.length), np.float32)
        start = 0
        for feature, kept, length, column in zip(self.features.features, self.arrays, self.lengths, raws, strict=True):
            for row, raw in zip(vectors, column, strict=True):
                vector = feature.encode(raw, kept)
                if vector.shape != (length,):
                    raise DataError(
                        f"The feature {feature.kind} has {vector.size:,} values for an image. Expected {length:,}, as "
                        "when it was fitted. Give it pixels of the same transform."
                    )
                row[start : start + length] = vector
            start += length
        return vectors

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for np.savez: equal content, equal arrays."""
        manifest = {
            "features": self.features.model_dump(mode="json"),
            "digests": [feature.digest for feature in self.features.features],
            "lengths": list(self.lengths),
        }
        text = json.dumps(manifest, sort_keys=True).encode()
        kept = {f"{number}.{name}": array for number, one in enumerate(self.arrays) for name, array in one.items()}
        return {_MANIFEST: np.frombuffer(text, np.uint8), **kept}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> FittedFeatures:
        """What ``to_arrays`` gave; load it with allow_pickle=False.

        Raises ModelError for anything else, and where the libraries here compute other features than those that the
        model learned from.
        """
        try:
            manifest = json.loads(np.asarray(arrays[_MANIFEST], np.uint8).tobytes())
            features = FeatureSet.model_validate(manifest["features"])
            lengths = tuple(int(one) for one in manifest["lengths"])
            digests = list(manifest["digests"])
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise ModelError(f"The features of a model cannot be read: {error!r}. Train it again.") from error
        for feature, digest in zip(features.features, digests, strict=True):
            if feature.digest != digest:
                raise ModelError(
                    f"The feature {feature.kind} of a model gives other values here than where it was trained (digest "
                    f"{feature.digest} instead of {digest}). Use the libraries that it was trained with, or train it "
                    "again."
                )
        kept: list[dict[str, np.ndarray]] = [{} for _ in features.features]
        for name, array in arrays.items():
            number, _, rest = name.partition(".")
            if name != _MANIFEST:
                if not number.isdecimal() or int(number) >= len(kept) or array.dtype.hasobject:
                    raise ModelError(f"The features of a model hold an array {name!r} that none of them has made.")
                kept[int(number)][rest] = array
        return FittedFeatures(features, tuple(kept), lengths)
