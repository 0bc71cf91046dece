"""Splitting as a step of the workflow: reads the manifest and the parent from the lake, commits the split."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel, ConfigDict

from darkroom.codedigest import code_digest, other_code
from darkroom.contract import checked_name, images_table, splits_table
from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.requests import checked_job
from darkroom.splitting import SplitOptions, SplitResult, checked_options, identity, split
from darkroom.splitting.contents import MANIFEST_COLUMNS
from darkroom.storage import Storage
from darkroom.tables import Table

log = logging.getLogger(__name__)

NEWEST = "newest"


class SplitRequest(BaseModel):
    """Which version of which dataset to split, how, and what to inherit from.

    ``parent``: a split_id of the dataset; "newest" for its newest split that was drawn with the same proportions (or
    counts), keep_given_test and seed; None for a split that inherits nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    version: str
    options: dict[str, Any] = {}
    parent: str | None = NEWEST


def split_dataset(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """Splits a dataset version and commits the split; a split that is there already is not made again.

    One that is there and not the newest, since the data went back to what it was, is committed again as it is: what
    follows asks for the dataset's newest split.

    ``request``: see SplitRequest. Returns {"split_id", "parent", "summary", "changed"}. Raises InvalidRequest for a
    wrong request, an unknown version or parent; DataError when the images cannot carry the split.
    """
    wanted = _checked(request)
    options = checked_options(wanted.options)
    splits = Table(lake, splits_table(wanted.dataset))
    history = _splits(splits)
    made = _made(history, wanted, options)
    if made is not None:
        if sentence := other_code(made):
            log.warning("Split %s of %s: %s", made["split_id"], wanted.dataset, sentence)
        returns = made is not history[0]
        if returns:
            partition = {"split_id": made["split_id"]}
            splits.commit(partition, splits.read(partition), made)
            log.info("Split %s of %s is its newest again.", made["split_id"], wanted.dataset)
        return {"split_id": made["split_id"], "parent": made["parent"], "summary": made["summary"], "changed": returns}
    parent = _parent(history, wanted, options)
    result = plan_split(lake, wanted.dataset, wanted.version, options, parent)
    metadata = {
        "split_id": result.split_id,
        "version": wanted.version,
        "options": options.model_dump(mode="json"),
        "policy": options.policy,
        "parent": parent,
        "code_digest": code_digest(),
        "summary": result.summary,
    }
    try:
        splits.commit({"split_id": result.split_id}, result.table, metadata, after=0)
        changed = True
    except CommitConflict:
        # The identity holds all inputs, so another writer of this partition has made this very split.
        if splits.last_commit({"split_id": result.split_id}) is None:
            raise
        changed = False
    return {"split_id": result.split_id, "parent": parent, "summary": result.summary, "changed": changed}


def plan_split(lake: Storage, dataset: str, version: str, options: SplitOptions, parent: str | None) -> SplitResult:
    """The split that ``split_dataset`` would commit; writes nothing."""
    images = Table(lake, images_table(dataset))
    if images.last_commit({"version": version}) is None:
        raise InvalidRequest(
            f"The dataset {dataset!r} has no version {version!r} in {lake.root}. Expected one that the manifest step "
            "made. Run prepare_dataset, or correct the version."
        )
    manifest = images.read({"version": version}, columns=[*MANIFEST_COLUMNS, "version"])
    inherited = Table(lake, splits_table(dataset)).read({"split_id": parent}) if parent else None
    return split(manifest, options, inherited)


def newest_split(splits: Table) -> str | None:
    """The split_id of a dataset's newest split; None when it has none."""
    history = _splits(splits)
    return history[0]["split_id"] if history else None


def newest_version(lake: Storage, dataset: str) -> str | None:
    """The dataset version of the newest split; before the first split, the one committed last. None without any."""
    if history := _splits(Table(lake, splits_table(dataset))):
        return str(history[0]["version"])
    for entry in Table(lake, images_table(dataset)).history():
        if entry["partition"]:
            return str(entry["partition"]["version"])
    return None


def _splits(splits: Table) -> list[dict[str, Any]]:
    """What each split's newest commit says of it, newest first."""
    found: dict[str, dict[str, Any]] = {}
    for entry in splits.history():
        metadata = entry["metadata"] or {}
        if "split_id" in metadata:
            found.setdefault(metadata["split_id"], metadata)
    return list(found.values())


def _made(history: list[dict[str, Any]], wanted: SplitRequest, options: SplitOptions) -> dict[str, Any] | None:
    """The split that was made from the same inputs, if any; with the newest as parent, whatever the newest was then."""
    if wanted.parent != NEWEST:
        split_id = identity(wanted.version, options, wanted.parent)
        return next((entry for entry in history if entry["split_id"] == split_id), None)
    same = {"version": wanted.version, "options": options.model_dump(mode="json")}
    return next((entry for entry in history if all(entry[name] == value for name, value in same.items())), None)


def _parent(history: list[dict[str, Any]], wanted: SplitRequest, options: SplitOptions) -> str | None:
    if wanted.parent is None:
        return None
    if wanted.parent == NEWEST:
        return next((entry["split_id"] for entry in history if entry["policy"] == options.policy), None)
    if not any(entry["split_id"] == wanted.parent for entry in history):
        raise InvalidRequest(
            f"The dataset {wanted.dataset!r} has no split {wanted.parent!r} to inherit from. Expected one of its "
            f"{len(history)} splits, 'newest', or null."
        )
    return wanted.parent


def _checked(unchecked: dict[str, Any]) -> SplitRequest:
    request = checked_job(SplitRequest, unchecked, "split")
    checked_name(request.dataset)
    return request
