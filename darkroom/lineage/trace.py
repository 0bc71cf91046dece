"""Draws a lineage from the lake's records, from what was asked for in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkroom import contract
from darkroom.champions import Champion
from darkroom.errors import InvalidRequest
from darkroom.lineage.asked import PREDICTION_COLUMNS, Image, Package, Partition, Rows, address_of
from darkroom.lineage.graph import Graph, Node
from darkroom.lineage.records import Records
from darkroom.tables import Table
from darkroom.tables.search import find_rows

_SPLIT_ROW = ("content_id", "split", "reason")


class Tracer:
    """Adds nodes to one graph, each with all that it was made from."""

    def __init__(self, records: Records, asked: str) -> None:
        self.records = records
        self.lake = records.lake
        self.graph = Graph(asked)

    def draw(self, asked: Rows | Package | Image) -> Graph:
        """The whole lineage. Raises InvalidRequest for predictions that are not there."""
        if isinstance(asked, Package):
            self._used(asked.model, asked.package_id)
        elif isinstance(asked, Rows):
            self._rows(asked)
        else:
            image = self._image(asked.content_id, asked.rows)
            self._trained_on(image, asked.rows)
            for place, row in asked.predictions:
                self._prediction(place, row, image)
        return self.graph

    # --- data

    def _image(self, content_id: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Node:
        uris = sorted({row["uri"] for _, row in rows})
        uri = self.lake.uri(uris[0]) if uris and "://" not in uris[0] else next(iter(uris), "")
        return self.graph.add(Node("image", content_id, uri))

    def _dataset(self, dataset: str, version: str) -> Node:
        spec = contract.images_table(dataset)
        metadata = self.records.commit(spec, {"version": version}) or {}
        summary = metadata.get("summary", {})
        index = metadata.get("fingerprint", {}).get("raw_index")
        facts = {
            "source": self.records.source_of(dataset, index),
            "index": index,
            "files": summary.get("images"),
            "distinct images": summary.get("contents"),
            "classes": _counted(summary.get("classes", {})),
        }
        folder = contract.dataset_reports(dataset, version, "eda")
        links = {**_run(metadata), **self.records.page("EDA", f"{folder}/index.html")}
        uri = self._partition_uri(spec, {"version": version})
        return self.graph.add(Node("dataset version", f"{dataset} {version}", uri, facts, links))

    def _split(self, dataset: str, split_id: str, row: Mapping[str, Any] | None = None) -> Node:
        """``row``: the row of the image that was asked for, which the split's facts then tell of."""
        spec = contract.splits_table(dataset)
        metadata = self.records.commit(spec, {"split_id": split_id}) or {}
        facts: dict[str, Any] = {"parent": metadata.get("parent")}
        if row:
            facts["this image"] = f"{row['split']}: {row['reason']}" if row["reason"] else row["split"]
        links = _run(metadata)
        for kind, title in (("eda", "EDA"), ("validation", "validation"), ("card", "dataset card")):
            folder = contract.dataset_reports(dataset, split_id, kind)
            links |= self.records.page(title, f"{folder}/index.html")
        version = metadata.get("version")
        node = Node("split", f"{dataset} {split_id}", self._partition_uri(spec, {"split_id": split_id}), facts, links)
        return self.graph.add(node, self._dataset(dataset, version) if version else None)

    def _examples(self, dataset: str, transform_hash: str, split: Node) -> Node:
        spec, partition = contract.examples_table(dataset), {"transform_hash": transform_hash}
        metadata = self.records.commit(spec, partition) or {}
        transform = metadata.get("fingerprint", {}).get("transform") or {}
        facts = {name: transform.get(name) for name in ("width", "height", "color")}
        name, uri = f"{dataset} {transform_hash}", self._partition_uri(spec, partition)
        return self.graph.add(Node("examples", name, uri, facts, _run(metadata)), split)

    def _features(self, dataset: str, transform_hash: str, feature_hash: str, examples: Node) -> Node:
        spec = contract.features_table(dataset)
        partition = {"transform_hash": transform_hash, "feature_hash": feature_hash}
        metadata = self.records.commit(spec, partition) or {}
        facts = metadata.get("fingerprint", {}).get("feature") or {}
        name, uri = f"{dataset} {transform_hash} {feature_hash}", self._partition_uri(spec, partition)
        return self.graph.add(Node("features", name, uri, facts, _run(metadata)), examples)

    def _trained_on(self, image: Node, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """From an image's manifest rows on to the models that it was used for, and to what they did."""
        for dataset, row in rows:
            version = self._dataset(dataset, row["version"])
            facts = {name: row[name] for name in ("label", "given_split", "group", "problem")}
            node = Node("manifest row", f"{dataset} {row['version']} {row['path']}", version.uri, facts)
            self.graph.join(self.graph.add(node, image), version)
        for dataset in dict.fromkeys(dataset for dataset, _ in rows):
            splits = Table(self.lake, contract.splits_table(dataset))
            for row in find_rows(splits, "content_id", image.name, _SPLIT_ROW):
                split = self._split(dataset, row["split_id"], row)
                if row["split"] != contract.OUT:
                    self._made_of(dataset, row["split_id"], image.name, split)

    def _made_of(self, dataset: str, split_id: str, content_id: str, split: Node) -> None:
        examples = Table(self.lake, contract.examples_table(dataset))
        for row in find_rows(examples, "content_id", content_id, ["content_id"]):
            self._examples(dataset, row["transform_hash"], split)
        for model in self.records.models:
            for package_id in self.records.packages(model):
                about = self.records.package(model, package_id)
                if (about.get("dataset"), about.get("split_id")) == (dataset, split_id):
                    self._used(model, package_id)

    # --- models

    def _used(self, model: str, package_id: str) -> None:
        """A model with all before it, and with what it has classified."""
        judged = self._judged(model, package_id)
        path = contract.model_package(model, package_id)
        for commit in self.records.commits(contract.predictions_table(model)):
            metadata = commit["metadata"] or {}
            if metadata.get("package") == path:
                self._predictions(Partition(model, **commit["partition"]), metadata, judged)

    def _judged(self, model: str, package_id: str) -> list[Node]:
        """The last nodes before a model's predictions: its champion entries, else its verdicts, else the model."""
        made = self._package(model, package_id)
        verdicts = [self._verdict(one, made) for one in self.records.verdicts(model) if one["package_id"] == package_id]
        entries = self.records.champions(model)
        withdrawn = {entry["withdraws"]: entry for entry in entries if entry["kind"] == "withdrawn"}
        mine = [entry for entry in entries if entry.get("package_id") == package_id]
        return [self._champion(entry, withdrawn, verdicts or [made]) for entry in mine] or verdicts or [made]

    def _package(self, model: str, package_id: str) -> Node:
        about = self.records.package(model, package_id)
        verdicts = [one for one in self.records.verdicts(model) if one["package_id"] == package_id]
        promoted = [one for one in self.records.champions(model) if one.get("package_id") == package_id]
        version = next((one["version"] for one in [*verdicts, *promoted]), None)
        facts = {name: about.get(name) for name in ("config", "seed", "classes", "threshold", "code_digest")}
        if not about:
            facts["gone"] = "the package is not on the lake any more"
        links = _given({"MLflow version": next((one["mlflow_url"] for one in verdicts), None)})
        for verdict in verdicts:
            links |= self.records.page("model card", f"{verdict['path'].rpartition('/')[0]}/card/index.html")
        name = f"{model}@{version}" if version else f"{model} {package_id}"
        uri = self.lake.uri(contract.model_package(model, package_id))
        known = about or next(iter(promoted), {})
        run = self._training(model, package_id, known) if known else None
        return self.graph.add(Node("model version", name, uri, {"package": package_id, **facts}, links), run)

    def _training(self, model: str, package_id: str, known: Mapping[str, Any]) -> Node:
        """The run that made a package, from a split's examples and their features; the examples where none is known."""
        split = self._split(known["dataset"], known["split_id"])
        examples = self._examples(known["dataset"], known["transform_hash"], split)
        receipt = next((one for one in self.records.trainings(model) if one["package_id"] == package_id), {})
        run_id = receipt.get("run_id") or known.get("run_id")
        if not run_id:
            return examples
        value = receipt.get("val", {}).get("balanced_accuracy")
        facts = {"config": receipt.get("config"), "seconds": receipt.get("seconds"), "balanced accuracy on val": value}
        links = _given({"Airflow run": receipt.get("airflow_run"), "MLflow run": receipt.get("mlflow_url")})
        folder = contract.training_reports(model, "receipts")
        uri = self.lake.uri(f"{folder}/{receipt['key']}.json" if receipt else folder)
        hashes = receipt.get("feature_hashes", ())
        made = [self._features(known["dataset"], known["transform_hash"], one, examples) for one in hashes]
        return self.graph.add(Node("run", run_id, uri, facts, links), examples, *made)

    def _verdict(self, verdict: Mapping[str, Any], made: Node) -> Node:
        folder, _, _ = verdict["path"].rpartition("/")
        facts = {name: verdict.get(name) for name in ("verdict", "reasons", "approval")}
        links = _given({"Airflow run": verdict.get("airflow_run")})
        links |= self.records.page("gate", f"{folder}/gate.html")
        links |= self.records.page("comparison", f"{folder}/index.html")
        name = f"{made.name} in {folder.rpartition('/')[2]}"
        return self.graph.add(Node("gate verdict", name, self.lake.uri(verdict["path"]), facts, links), made)

    def _champion(self, entry: Mapping[str, Any], withdrawn: Mapping[int, Any], sources: Sequence[Node]) -> Node:
        champion = Champion.from_dict(entry)
        by = champion.details.get("by", {})
        end = withdrawn.get(champion.number)
        facts = {
            "since": f"{champion.promoted_at:%Y-%m-%d %H:%M} UTC",
            "approved by": by.get("name") or by.get("approval"),
            "after version": (entry.get("from") or {}).get("version"),
            "withdrawn": end and f"{end['promoted_at'][:10]}: {end['reason']}",
        }
        path = contract.champion_entry(champion.model, champion.number)
        node = Node("champion", f"{champion.model} {champion.number}", self.lake.uri(path), facts)
        return self.graph.add(node, *sources)

    # --- predictions

    def _rows(self, asked: Rows) -> None:
        spec = contract.predictions_table(asked.partition.model)
        metadata = self.records.commit(spec, asked.partition.values)
        if metadata is None:
            raise InvalidRequest(
                f"There are no predictions {address_of(asked.partition)} in {self.lake.root}. Looked at the commits of "
                f"{spec.path}. Its name is that of the model, the date and the feed of a run of batch_inference."
            )
        if not asked.path:
            self._classified(asked.partition)
            return
        found = find_rows(Table(self.lake, spec), "path", asked.path, PREDICTION_COLUMNS, asked.partition.values)
        rows = [row for row in found if row["path"] == asked.path]
        if not rows:
            raise InvalidRequest(
                f"{address_of(asked.partition)} has no row {asked.path!r}. Looked at the column path of that "
                "partition. Expected a file's path below the date's inbox."
            )
        for row in rows:
            uri = f"{contract.inbox(asked.partition.feed, asked.partition.dt)}/{row['path']}"
            image = self.graph.add(Node("image", row["image_id"], self.lake.uri(uri)))
            self._prediction(asked.partition, row, image)

    def _prediction(self, place: Partition, row: Mapping[str, Any], image: Node) -> Node:
        facts = {name: row[name] for name in ("label", "score", "model_version", "problem")}
        facts["predicted at"] = f"{row['predicted_at']:%Y-%m-%d %H:%M} UTC"
        uri = self._partition_uri(contract.predictions_table(place.model), place.values)
        node = Node("prediction", f"{address_of(place)}/{row['path']}", uri, facts)
        return self.graph.add(node, image, self._classified(place))

    def _classified(self, place: Partition) -> Node:
        """A date and feed with the model that classified it, and all before that."""
        metadata = self.records.commit(contract.predictions_table(place.model), place.values) or {}
        package = str(metadata.get("package") or "")
        package_id = package.rpartition("/")[2].removesuffix(".zip")
        return self._predictions(place, metadata, self._judged(place.model, package_id) if package_id else [])

    def _predictions(self, place: Partition, metadata: Mapping[str, Any], sources: Sequence[Node]) -> Node:
        summary = metadata.get("summary", {})
        facts = {"images": summary.get("images"), "labels": _counted(summary.get("labels", {}))}
        folder = contract.prediction_reports(place.model, place.dt, place.feed)
        links = {**_run(metadata), **self.records.page("summary", f"{folder}/index.html")}
        uri = self._partition_uri(contract.predictions_table(place.model), place.values)
        return self.graph.add(Node("predictions", address_of(place), uri, facts, links), *sources)

    def _partition_uri(self, spec: contract.TableSpec, partition: Mapping[str, str]) -> str:
        return self.lake.uri("/".join([spec.path, *(f"{name}={value}" for name, value in partition.items())]))


def _run(metadata: Mapping[str, Any]) -> dict[str, str]:
    return _given({"Airflow run": metadata.get("run")})


def _given(links: Mapping[str, str | None]) -> dict[str, str]:
    return {title: address for title, address in links.items() if address}


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())
