"""Models that become champion by hand, without a training and without the gate: ``darkroom model install``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol, cast

from darkroom import champions
from darkroom.champions import BY_HAND, Champion
from darkroom.codedigest import code_digest
from darkroom.contract import checked_name
from darkroom.errors import InvalidRequest
from darkroom.model import write_package
from darkroom.package import PackageInfo
from darkroom.storage import Storage
from training.config import TrainingConfig, load_config
from training.kinds import kind_of


class ReadyKind(Protocol):
    """A kind that needs no images to learn from."""

    def ready(self, lake: Storage, config: Any) -> tuple[tuple[str, ...], bytes]:
        """The names of its classes, sorted, and its ONNX graph."""


def install(lake: Storage, name: str, model: str, reason: str, *, by: str, now: datetime) -> Champion:
    """Packs the config of that name and appends it to the model's champion history, with who and why.

    Its package has no drift reference, for nothing was held back to measure. Installed before: the entry that stands.
    Raises InvalidRequest for a config whose kind has to be trained, and for a package that was withdrawn.
    """
    checked_name(model)
    config = load_config(name)
    kind = kind_of(config.kind)
    if not hasattr(kind, "ready"):
        raise InvalidRequest(
            f"The config {name} is of the kind {config.kind}, which has to be trained. Run train_model."
        )
    classes, graph = cast(ReadyKind, kind).ready(lake, config)
    info = _info(config, model, classes)
    path, package_id = write_package(lake, model, info, graph)
    if withdrawn := champions.withdrawn_because(lake, model, package_id):
        raise InvalidRequest(f"{withdrawn} It cannot be installed again. Install another config.")
    entry = {
        "package": path,
        "package_id": package_id,
        "version": f"{BY_HAND}-{package_id[:8]}",
        "run_id": BY_HAND,
        "dataset": info.dataset,
        "dataset_version": info.dataset_version,
        "split_id": info.split_id,
        "transform_hash": info.transform_hash,
        "details": {
            "config": name,
            "options": config.model_dump(mode="json"),
            "code_digest": info.code_digest,
            "by": {"approval": BY_HAND, "name": by, "reason": reason},
        },
    }
    return champions.append(lake, model, entry, now=now)


def _info(config: TrainingConfig, model: str, classes: tuple[str, ...]) -> PackageInfo:
    two = len(classes) == 2
    return PackageInfo(
        classes=classes,
        positive_class=(config.positive_class or classes[-1]) if two else None,
        threshold=0.5 if two else None,
        transform=config.transform.model_dump(mode="json"),
        transform_hash=config.transform.hash,
        dataset=model,
        dataset_version=BY_HAND,
        split_id=BY_HAND,
        config=config.name,
        config_digest=config.digest,
        code_digest=code_digest(),
        seed=config.seed,
        input_shape=config.transform.shape,
    )
