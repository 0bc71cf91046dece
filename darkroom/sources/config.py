"""What a dataset is taken from: one frozen model a kind of source, told apart by ``type``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from darkroom.errors import InvalidRequest


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhantomSource(_Source):
    """Synthetic chest radiographs, drawn from a seed. They show no patient; scores on them mean nothing medically."""

    type: Literal["phantom"] = "phantom"
    images: int = Field(1200, ge=1, le=10_000_000, description="How many files to draw, broken ones included.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Equal seeds draw equal files.")
    size_range: tuple[int, int] = Field(
        (400, 2000), description="Smallest and largest side, in pixels. Small images are more frequent than large ones."
    )

    @field_validator("size_range")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 64 <= value[0] <= value[1] <= 2000:
            raise ValueError(f"{list(value)} is not a range within 64 and 2000, smallest first; correct it")
        return value


class FolderSource(_Source):
    """A folder of images, on a disk or an object store. Directories are classes."""

    type: Literal["folder"] = "folder"
    uri: str = Field(min_length=1, description="A folder path, file://, s3:// or hdfs:// address.")
    in_place: bool = Field(False, description="Leave the files there: the lake keeps addresses and tags, no copies.")


class ArchiveSource(_Source):
    """A zip or tar archive of images."""

    type: Literal["archive"] = "archive"
    url: str = Field(min_length=1, description="A path, or a file://, http:// or https:// address.")
    sha256: str | None = Field(None, description="The expected checksum of the archive, 64 hex digits.")

    @field_validator("sha256")
    @classmethod
    def _hexadecimal(cls, value: str | None) -> str | None:
        if value is None:
            return None
        lowered = value.strip().lower()
        if len(lowered) != 64 or not set(lowered) <= set("0123456789abcdef"):
            raise ValueError(f"{value!r} is not a SHA-256 of 64 hex digits; correct it or leave it out")
        return lowered


class KaggleSource(_Source):
    """A dataset of Kaggle."""

    type: Literal["kaggle"] = "kaggle"
    handle: str = Field(min_length=1, description="owner/dataset for the newest version, or owner/dataset/versions/3.")

    @field_validator("handle")
    @classmethod
    def _named(cls, value: str) -> str:
        if not _HANDLE.fullmatch(value):
            raise ValueError(f"{value!r} is not a handle; expected owner/dataset or owner/dataset/versions/3")
        return value


AnySource = PhantomSource | FolderSource | ArchiveSource | KaggleSource
SourceConfig = Annotated[AnySource, Field(discriminator="type")]

_HANDLE = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+(/versions/[1-9][0-9]{0,8})?")
_KINDS = (PhantomSource, FolderSource, ArchiveSource, KaggleSource)
_ADAPTER: TypeAdapter[AnySource] = TypeAdapter(SourceConfig)
SOURCE_TYPES = tuple(get_args(kind.model_fields["type"].annotation)[0] for kind in _KINDS)


def parse_source(value: Any) -> AnySource:
    """The source that a dict describes. Raises InvalidRequest with a sentence for each wrong field."""
    if isinstance(value, _KINDS):
        return value
    known = ", ".join(SOURCE_TYPES)
    if not isinstance(value, dict):
        raise InvalidRequest(f"A source must be a map with a type ({known}); received {value!r}.")
    if value.get("type") not in SOURCE_TYPES:
        raise InvalidRequest(f"The source type {value.get('type')!r} is not known. Expected one of: {known}.")
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        kind = value["type"]
        fields = ", ".join(next(k for k in _KINDS if k.model_fields["type"].default == kind).model_fields)
        raise InvalidRequest(" ".join(_sentence(problem, kind, fields) for problem in error.errors())) from error


def _sentence(problem: Any, kind: str, fields: str) -> str:
    field = ".".join(str(part) for part in problem["loc"][1:]) or "source"
    if problem["type"] == "extra_forbidden":
        return f"The {kind} source has no option {field!r}. Its options are: {fields}."
    if problem["type"] == "missing":
        return f"The {kind} source needs {field!r}; none was given."
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"The {kind} source's {field!r}: {reason}."
    return f"The {kind} source's {field!r} cannot be {problem['input']!r}: {reason}."
