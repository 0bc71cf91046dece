"""Fitted features as one npz file, which is how a model package carries them."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from darkroom.errors import ModelError
from darkroom.features.sets import FittedFeatures

MAX_BYTES = 2**30


def pack_features(fitted: FittedFeatures) -> bytes:
    """Plain arrays; equal content, equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **fitted.to_arrays())
    return buffer.getvalue()


def unpack_features(data: bytes) -> FittedFeatures:
    """Raises ModelError for bytes that are none, and where the libraries here compute other features."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > MAX_BYTES:
            raise ModelError(f"The features of a model unpack to {declared:,} bytes. Expected at most {MAX_BYTES:,}.")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"The features of a model package cannot be read ({error!r}). Train it again.") from error
    return FittedFeatures.from_arrays(arrays)
