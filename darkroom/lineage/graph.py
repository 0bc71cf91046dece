"""The graph of a lineage: named nodes in the order of the chain, and what each was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "image",
    "manifest row",
    "dataset version",
    "split",
    "examples",
    "features",
    "run",
    "model version",
    "gate verdict",
    "champion",
    "predictions",
    "prediction",
)
"""What a node can be, from the pixels to what was said of them."""

_SHOWN = 20  # nodes of a kind that a text shows


@dataclass(frozen=True)
class Node:
    """One thing on the lake. ``uri``: where it is; ``links``: pages about it, by title."""

    kind: str
    name: str
    uri: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass
class Graph:
    """Nodes by key, and edges from what was there first to what was made from it."""

    asked: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)

    def add(self, node: Node, *sources: Node | None) -> Node:
        """Adds the node once, with an edge from each source that is given; the node that stands there."""
        kept = self.nodes.setdefault(node.key, node)
        for source in sources:
            if source is not None:
                self.join(source, kept)
        return kept

    def join(self, source: Node, target: Node) -> None:
        self.edges[source.key, target.key] = None

    def in_order(self) -> list[Node]:
        """The nodes by kind, along the chain; of a kind in the order in which they were found."""
        return sorted(self.nodes.values(), key=lambda node: KINDS.index(node.kind))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: {"asked", "nodes": [{"key", "kind", "name", "uri", "facts", "links"}], "edges": [[from, to]]}."""
        nodes = [
            {"key": node.key, **vars(node), "facts": dict(node.facts), "links": dict(node.links)}
            for node in self.in_order()
        ]
        return {"asked": self.asked, "nodes": nodes, "edges": [list(edge) for edge in self.edges]}

    def as_text(self) -> str:
        """A block a node along the chain: its number, what it was made from, facts, address and pages."""
        nodes = self.in_order()
        number = {node.key: place for place, node in enumerate(nodes, 1)}
        lines: list[str] = []
        for kind in KINDS:
            here = [node for node in nodes if node.kind == kind]
            for node in here[:_SHOWN]:
                sources = sorted(number[source] for source, target in self.edges if target == node.key)
                made_from = f"   <- {', '.join(f'[{source}]' for source in sources)}" if sources else ""
                lines.append(f"[{number[node.key]}] {node.kind}: {node.name}{made_from}")
                lines += [
                    f"      {name}: {_said(value)}" for name, value in node.facts.items() if value not in (None, "")
                ]
                lines.append(f"      {node.uri}")
                lines += [f"      {title}: {address}" for title, address in node.links.items()]
            if len(here) > _SHOWN:
                lines.append(f"      ... and {len(here) - _SHOWN:,} more; --json has them all")
        return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(str(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
