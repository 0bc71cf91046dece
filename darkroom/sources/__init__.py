"""Where datasets come from: a folder, an archive, Kaggle, or the bundled phantoms; all through ``fetch``."""

from darkroom.sources.base import FetchResult
from darkroom.sources.config import (
    SOURCE_TYPES,
    ArchiveSource,
    FolderSource,
    KaggleSource,
    PhantomSource,
    SourceConfig,
    parse_source,
)
from darkroom.sources.fetching import fetch
from darkroom.sources.layout import LayoutOptions, describe, describe_all, parse_layout
from darkroom.sources.phantom import phantom_images

__all__ = [
    "SOURCE_TYPES",
    "ArchiveSource",
    "FetchResult",
    "FolderSource",
    "KaggleSource",
    "LayoutOptions",
    "PhantomSource",
    "SourceConfig",
    "describe",
    "describe_all",
    "fetch",
    "parse_layout",
    "parse_source",
    "phantom_images",
]
