"""Where datasets come from: a folder, an archive, or the bundled phantoms; all through ``fetch``."""

from darkroom.sources.config import (
    SOURCE_TYPES,
    ArchiveSource,
    FolderSource,
    PhantomSource,
    SourceConfig,
    parse_source,
)
from darkroom.sources.layout import LayoutOptions, describe, describe_all, parse_layout
from darkroom.sources.phantom import phantom_images

__all__ = [
    "SOURCE_TYPES",
    "ArchiveSource",
    "FolderSource",
    "LayoutOptions",
    "PhantomSource",
    "SourceConfig",
    "describe",
    "describe_all",
    "parse_layout",
    "parse_source",
    "phantom_images",
]
