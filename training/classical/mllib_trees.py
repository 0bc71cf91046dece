"""The trees of MLlib's models as arrays, read from the JVM a whole tree at a time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from training.classical.tree_graph import Tree


def mllib_tree(tree: Any, statistics: bool) -> Tree:
    """A pyspark.ml decision tree. A leaf's value is its share of each class, or its prediction without ``statistics``.

    MLlib writes trees as rows of NodeData when it saves a model; the same rows come here as JSON, since asking for
    each node's fields one by one takes a call to the JVM each.
    """
    from pyspark.sql import SparkSession

    jvm: Any = SparkSession.active().sparkContext._jvm
    rows = _scala_object(jvm, "org.apache.spark.ml.tree.DecisionTreeModelReadWrite$NodeData")
    formats = _scala_object(jvm, "org.json4s.DefaultFormats")
    written = jvm.org.json4s.jackson.Serialization.write(rows.build(tree._java_obj.rootNode(), 0)._1(), formats)
    nodes = json.loads(written)
    nodes.sort(key=lambda node: node["id"])
    if statistics:
        counts = np.array([node["impurityStats"] for node in nodes])
        value = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    else:
        value = np.array([[node["prediction"]] for node in nodes])
    return Tree(
        feature=np.array([node["split"]["featureIndex"] for node in nodes]),
        threshold=np.array([(node["split"]["leftCategoriesOrThreshold"] or [0.0])[0] for node in nodes]),
        left=np.array([node["leftChild"] for node in nodes]),
        right=np.array([node["rightChild"] for node in nodes]),
        value=value,
    )


def _scala_object(jvm: Any, name: str) -> Any:
    return getattr(getattr(jvm, f"{name}$"), "MODULE$")
