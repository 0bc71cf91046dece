"""What the lake itself says of where things came from: commits, packages, receipts, verdicts, champions.

Each is read when it is asked for first, and kept for as long as one lineage is drawn.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

from darkroom import champions, contract
from darkroom.contract import TableSpec
from darkroom.errors import MachineryError, ModelError
from darkroom.package import MANIFEST
from darkroom.settings import get_settings
from darkroom.storage import Storage
from darkroom.tables import Table


class Records:
    """The records of one lake. Answers are remembered: make a new one to see what has come since."""

    def __init__(self, lake: Storage) -> None:
        self.lake = lake
        self.package = lru_cache(maxsize=None)(self._package)
        self.trainings = lru_cache(maxsize=None)(self._trainings)
        self.verdicts = lru_cache(maxsize=None)(self._verdicts)
        self.champions = lru_cache(maxsize=None)(self._champions)
        self._newest: dict[str, dict[str, dict[str, Any]]] = {}

    @cached_property
    def datasets(self) -> list[str]:
        return [name for name in self.lake.folders("tables") if name != "predictions"]

    @cached_property
    def models(self) -> list[str]:
        folders = ("packages", "champions", "reports/training", "tables/predictions")
        return sorted({name for folder in folders for name in self.lake.folders(folder)})

    def commits(self, spec: TableSpec) -> list[dict[str, Any]]:
        """The newest commit to each partition of a table: {"partition", "metadata", "version"}, newest first."""
        if spec.path not in self._newest:
            newest: dict[str, dict[str, Any]] = {}
            for commit in Table(self.lake, spec).history():
                if commit["partition"]:
                    newest.setdefault(json.dumps(commit["partition"], sort_keys=True), commit)
            self._newest[spec.path] = newest
        return list(self._newest[spec.path].values())

    def commit(self, spec: TableSpec, partition: Mapping[str, str]) -> dict[str, Any] | None:
        """Metadata of the newest commit to one partition."""
        if spec.path in self._newest:
            found = self._newest[spec.path].get(json.dumps(dict(partition), sort_keys=True))
            return found and found["metadata"]
        return Table(self.lake, spec).last_commit(partition)

    def packages(self, model: str) -> Iterator[str]:
        """The ids of a model's packages."""
        for blob in self.lake.list(f"packages/{model}"):
            yield blob.path.rpartition("/")[2].removesuffix(".zip")

    def source_of(self, dataset: str, index: str | None) -> str | None:
        """What the files of a raw index were fetched from, in words; None where no receipt tells."""
        folder = contract.raw_receipt(dataset, "").rpartition("/")[0]
        receipts = (self._json(blob.path) for blob in self.lake.list(folder)) if index else iter(())
        return next((receipt["source"] for receipt in receipts if receipt["index_path"] == index), None)

    def page(self, title: str, path: str) -> dict[str, str]:
        """A link to a report, through Airflow; empty where there is none."""
        return {title: f"{get_settings().airflow_url}/darkroom/{path}"} if self.lake.stat(path) else {}

    def _package(self, model: str, package_id: str) -> dict[str, Any]:
        """package.json of a package, and no more of it; empty where the package is gone."""
        path = contract.model_package(model, package_id)
        try:
            with self.lake.open(path) as stream, zipfile.ZipFile(stream) as archive:
                found: dict[str, Any] = json.loads(archive.read(MANIFEST))
        except FileNotFoundError:
            return {}
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ModelError(f"{self.lake.uri(path)} cannot be read ({error}). Restore it, or train again.") from error
        return found

    def _trainings(self, model: str) -> list[dict[str, Any]]:
        """The receipts of a model's trainings."""
        folder = contract.training_reports(model, "receipts")
        receipts = [self._json(blob.path) for blob in self.lake.list(folder)]
        return [receipt for receipt in receipts if "run_id" in receipt]

    def _verdicts(self, model: str) -> list[dict[str, Any]]:
        """What the gate said of a model's challengers, and whose it was."""
        found = []
        for run in self.lake.folders(f"reports/training/{model}"):
            path = f"{contract.training_reports(model, run)}/gate.json"
            if run != "receipts" and self.lake.stat(path):
                found.append({**self._json(path), "path": path})
        return [verdict for verdict in found if "package_id" in verdict]

    def _champions(self, model: str) -> list[dict[str, Any]]:
        return champions.history(self.lake, model)

    def _json(self, path: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.lake.read(path))
        except ValueError as error:
            raise MachineryError(
                f"{self.lake.uri(path)} cannot be read ({error}). Restore it from a copy of the lake."
            ) from error
        return found
