"""Training configs: what is trained, from what pixels, and how. One YAML file each in training/configs/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from darkroom.contract import stable_hash
from darkroom.errors import InvalidRequest
from darkroom.transform import ImageTransform

CONFIG_FOLDER = Path(__file__).parent / "configs"

PrimaryMetric = Literal["balanced_accuracy", "accuracy", "macro_f1", "roc_auc", "pr_auc"]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CnnOptions(_Options):
    """A small convolutional network: blocks of convolution, normalisation, ReLU and pooling, then a mean."""

    filters: tuple[int, ...] = Field(
        default=(16, 32, 64, 96), min_length=1, max_length=6, description="Channels of each block."
    )
    convolutions: int = Field(default=1, ge=1, le=3, description="Convolutions in a block.")
    first_stride: int = Field(
        default=2, ge=1, le=4, description="Stride of the first convolution, whose side is 2·stride+1."
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Share of the last features dropped in training.")


class AugmentationOptions(_Options):
    """Random changes of training images; none at prediction."""

    flip: bool = Field(default=False, description="Mirror left and right. Not where the side means something.")
    rotation: float = Field(default=8.0, ge=0, le=180, description="Largest rotation. Degrees.")
    shift: float = Field(default=0.06, ge=0, lt=0.5, description="Largest shift, as a share of the side.")
    zoom: float = Field(default=0.08, ge=0, lt=0.5, description="Largest zoom in or out, as a share.")
    brightness: float = Field(default=0.08, ge=0, lt=1, description="Largest change, as a share of the range.")
    contrast: float = Field(default=0.15, ge=0, lt=1, description="Largest change of contrast, as a share.")


class OptimizerOptions(_Options):
    """AdamW with a linear warm-up and a cosine decay to zero."""

    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(default=1e-3, ge=0, le=1, description="Decoupled weight decay.")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="Share of all steps that the rate climbs.")
    averaging: float = Field(
        default=0.98, ge=0, lt=1, description="Momentum of the running average of weights; 0: none."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the target spread over all classes.")


class EarlyStoppingOptions(_Options):
    """Training ends when the loss on val has not fallen for some epochs; the best weights are kept."""

    patience: int = Field(default=12, ge=1, description="Epochs without a better val loss.")
    min_delta: float = Field(default=1e-3, ge=0, description="A smaller fall of the loss does not count.")
    start_epoch: int = Field(default=0, ge=0, description="Epochs before patience is counted.")


class _Config(_Options):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="The file's name without .yaml.")
    description: str = ""
    transform: ImageTransform = Field(default_factory=lambda: ImageTransform.model_validate({}))
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    positive_class: str | None = Field(default=None, description="Of two classes. Default: the last in sorted order.")
    primary_metric: PrimaryMetric = Field(default="balanced_accuracy", description="Chooses among configs, on val.")

    @property
    def digest(self) -> str:
        """16 hex digits over every option."""
        return stable_hash(self.model_dump(mode="json"))


class KerasConfig(_Config):
    """A network trained from scratch by Keras."""

    engine: Literal["keras"] = "keras"
    model: CnnOptions = CnnOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    early_stopping: EarlyStoppingOptions = EarlyStoppingOptions()
    epochs: int = Field(default=40, ge=1, le=10_000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    max_seconds: float | None = Field(default=None, gt=0, description="Training ends after the epoch that passes this.")


class MllibConfig(_Config):
    """A multinomial logistic regression trained by Spark MLlib on pixels scaled to 0..1."""

    engine: Literal["mllib"] = "mllib"
    regularization: tuple[float, ...] = Field(
        default=(0.01,), min_length=1, description="Tried in turn; val loss chooses."
    )
    elastic_net: float = Field(default=0.0, ge=0, le=1, description="0 is a ridge, 1 a lasso.")
    max_iterations: int = Field(default=100, ge=1, le=10_000)
    tolerance: float = Field(default=1e-6, gt=0)
    standardize: bool = True


TrainingConfig = Annotated[KerasConfig | MllibConfig, Field(discriminator="engine")]
_ADAPTER: TypeAdapter[KerasConfig | MllibConfig] = TypeAdapter(TrainingConfig)


def known_configs(folder: Path | None = None) -> list[str]:
    """Names of the configs that can be loaded, sorted."""
    return sorted(path.stem for path in (folder or CONFIG_FOLDER).glob("*.yaml"))


def load_config(name: str, folder: Path | None = None) -> KerasConfig | MllibConfig:
    """The config of that name. Raises InvalidRequest for an unknown one, and for a file that is not valid."""
    known = known_configs(folder)
    if name not in known:
        raise InvalidRequest(f"There is no training config {name!r}. Expected one of: {', '.join(known) or 'none'}.")
    path = (folder or CONFIG_FOLDER) / f"{name}.yaml"
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The training config {path.name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InvalidRequest(f"The training config {path.name} holds a {type(content).__name__}. Expected a mapping.")
    return parse_config({"name": name, **content}, name)


def parse_config(content: dict[str, Any], name: str | None = None) -> KerasConfig | MllibConfig:
    """A config from plain values. Raises InvalidRequest that names every wrong field."""
    try:
        config = _ADAPTER.validate_python(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise InvalidRequest(f"The training config {name or content.get('name')!r} is not valid. {faults}.") from error
    if name is not None and config.name != name:
        raise InvalidRequest(f"The training config {name}.yaml calls itself {config.name!r}. Expected {name!r}.")
    return config
