"""Where an image, a prediction or a model came from, and what became of it: read from the lake alone.

Neither Airflow nor MLflow is asked; links to their pages are given where the lake holds them.
"""

from __future__ import annotations

from darkroom.lineage.asked import understood
from darkroom.lineage.graph import Graph, Node
from darkroom.lineage.records import Records
from darkroom.lineage.trace import Tracer
from darkroom.storage import Storage

__all__ = ["Graph", "Node", "lineage"]


def lineage(lake: Storage, asked: str) -> Graph:
    """The chain of what was asked for, in both directions.

    ``asked``: an image_id or at least 8 digits of it; predictions/<model>/dt=.../feed=...[/<path>];
    <model>@<version>; champions/<model>/<n>.json; a package's id. Raises InvalidRequest where it names nothing, or
    more than one thing.
    """
    records = Records(lake)
    return Tracer(records, asked).draw(understood(records, asked))
