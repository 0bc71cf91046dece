"""A model that was made elsewhere and kept by MLflow as a pyfunc: it learns nothing here, and is gated like any other.

Loading it runs its code, so it has to be allowed by its address and digest, and runs in an environment and a process of
its own: darkroom.pyfunc, docs/bring-your-own.md. Nothing of it runs in this module.
"""

from __future__ import annotations

import logging
import time
from typing import Literal, Self

from pydantic import Field, model_validator

from darkroom.errors import InvalidRequest, ModelError
from darkroom.package import PyfuncSource, zipped
from darkroom.pyfunc.allowed import check_allowed
from darkroom.pyfunc.folder import HOW, Described, folder_digest
from darkroom.sources.base import without_login
from training.config import TrainingConfig
from training.kinds import Fitted, Job
from training.pyfunc_source import downloaded

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"


class Config(TrainingConfig):
    """Which model, and what its outputs mean."""

    GIVES_GRAPH = False

    kind: Literal["pyfunc"] = "pyfunc"
    uri: str = Field(min_length=1, description="The model's address: models:/name/3, runs:/..., s3://..., a folder.")
    model_digest: str = Field(pattern="^[0-9a-f]{64}$", description="Of its folder: `darkroom model digest URI`.")
    classes: tuple[str, ...] | None = Field(
        default=None, min_length=2, description="In the order of its outputs. Default: the dataset's, sorted."
    )

    @model_validator(mode="after")
    def _alone(self) -> Self:
        if self.search is not None:
            raise ValueError("a model that learns nothing has nothing to search for; leave search out")
        if self.where == "spark":
            raise ValueError("a model that learns nothing needs no cluster; leave where out")
        return self


def fit(job: Job) -> Fitted:
    """Fetches the model and checks that it is the one that is allowed and fits; ModelError says why it is not.

    The first package that is loaded builds its environment.
    """
    config: Config = job.config
    check_allowed(config.uri, config.model_digest)
    classes = config.classes or job.classes
    if tuple(sorted(classes)) != job.classes:
        raise InvalidRequest(
            f"The training config {config.name} names the classes {list(classes)}. Expected those of the dataset, in "
            f"the order of the model's outputs: {', '.join(job.classes)}. {HOW}"
        )
    started = time.monotonic()
    files = downloaded(config.uri)
    if (digest := folder_digest(files)) != config.model_digest:
        raise ModelError(
            f"The model {without_login(config.uri)} has the digest {digest}. Expected {config.model_digest}, which the "
            f"config names: it was changed or is another one. {HOW}"
        )
    described = Described.of(files)
    described.check(config.transform.shape, len(classes))
    log.info("%s takes %s and gives %s.", without_login(config.uri), described.takes, described.gives)
    source = PyfuncSource(uri=config.uri, digest=digest, classes=classes)
    content = zipped({name: files[name] for name in sorted(files)})
    return Fitted(content, {"fit_seconds": time.monotonic() - started}, pyfunc=source)
