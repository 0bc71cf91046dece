"""The one door through which datasets come into the lake."""

from __future__ import annotations

import logging

from darkroom.contract import checked_name
from darkroom.sources.archive import ArchiveReader
from darkroom.sources.base import FetchResult, Progress, Reader
from darkroom.sources.config import AnySource, FolderSource, KaggleSource, PhantomSource
from darkroom.sources.folder import FolderReader
from darkroom.sources.kaggle import KaggleReader
from darkroom.sources.phantom_reader import PhantomReader
from darkroom.sources.storing import known_result, remember, store
from darkroom.storage import Storage

_LOG = logging.getLogger(__name__)


def fetch(source: AnySource, dataset: str, lake: Storage, progress: Progress = _LOG.info) -> FetchResult:
    """Brings a source's files into raw/<dataset>/ and leaves an index of them; a no-op when they are there already.

    The files of a folder that is taken in place stay where they are; the index then holds their addresses and tags.

    Raises SourceError (the source is missing, empty, damaged or unsafe), InvalidRequest (a bad name or address) and
    StorageUnavailable (a server or disk failed; trying again may help). Whatever is raised, nothing new is visible.
    """
    checked_name(dataset)
    reader = _reader(source)
    quick = reader.quick_fingerprint()
    known = known_result(lake, dataset, quick) if quick else None
    if known is None:
        with reader.opened(progress) as opened:
            known = next(filter(None, (known_result(lake, dataset, f) for f in opened.fingerprints)), None)
            result = known or store(opened, dataset, lake, reader.name, progress)
            remember(lake, dataset, opened.fingerprints, result, reader.name)
    else:
        result = known
    left_out = "".join(f"; left out: {count:,} {reason}" for reason, count in result.left_out.items())
    news = "" if result.changed else "nothing changed, "
    counts = f"{result.files:,} files, {result.bytes / 1e6:,.1f} MB, index {result.index_id}"
    progress(f"{reader.name}: {news}{counts}{left_out}")
    return result


def _reader(source: AnySource) -> Reader:
    if isinstance(source, PhantomSource):
        return PhantomReader(source)
    if isinstance(source, KaggleSource):
        return KaggleReader(source)
    return FolderReader(source) if isinstance(source, FolderSource) else ArchiveReader(source)
