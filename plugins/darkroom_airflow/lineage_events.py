"""OpenLineage events of our operators. The provider is optional: it is imported when it asks, and never before."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

from darkroom_airflow.openlineage_rules import paths_of


class TellsLineage:
    """An operator whose events carry the tables and files of the lake that it reads and writes, and its assets."""

    told: Any = None  # what it returned; None until then
    inlets: Any
    outlets: Any

    def lineage_name(self) -> str:
        """The name of its rule."""
        return type(self).__name__

    def lineage_request(self) -> dict[str, Any]:
        """What it was asked for."""
        return {}

    def get_openlineage_facets_on_start(self) -> Any:
        """Called by the provider when the task starts."""
        return self._lineage()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Called by the provider when the task has ended, also where it failed."""
        return self._lineage()

    def _lineage(self) -> Any:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import Dataset

        read, written = paths_of(self.lineage_name(), self.lineage_request(), self.told)
        inputs = [address(path) for path in read] + [("darkroom", asset.name) for asset in self.inlets]
        outputs = [address(path) for path in written] + [("darkroom", asset.name) for asset in self.outlets]
        return OperatorLineage(
            inputs=[Dataset(*place) for place in inputs], outputs=[Dataset(*place) for place in outputs]
        )


class StartRun(TellsLineage, TriggerDagRunOperator):
    """Starts a run of another DAG; its event says what that one is about."""

    def lineage_request(self) -> dict[str, Any]:
        return {"conf": self.conf}


def address(path: str) -> tuple[str, str]:
    """Namespace and name of a path on the lake, or of an address, as OpenLineage names data sets.

    ("s3://bucket", "prefix/tables/...") on an object store, ("hdfs://host:port", "/lake/tables/...") on HDFS,
    ("file", "/lake/tables/...") in a folder.
    """
    from darkroom.storage import open_lake

    uri = path if "://" in path or path.startswith("/") else open_lake().uri(path)
    if "://" not in uri:
        return "file", uri
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return "file", parts.path
    host = parts.netloc.rpartition("@")[2]  # a login stays out
    return f"{parts.scheme}://{host}", parts.path.lstrip("/") if parts.scheme == "s3" else parts.path or "/"
