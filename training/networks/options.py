"""The options that every network trained by Keras has, whatever its layers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config import Options, TrainingConfig

EPOCHS = (10, 150)  # fewest and most, where a config leaves them open


class AugmentationOptions(Options):
    """Random changes of training images; none at prediction."""

    flip: bool = Field(default=False, description="Mirror left and right. Not where the side means something.")
    rotation: float = Field(default=8.0, ge=0, le=180, description="Largest rotation. Degrees.")
    shift: float = Field(default=0.06, ge=0, lt=0.5, description="Largest shift, as a share of the side.")
    zoom: float = Field(default=0.08, ge=0, lt=0.5, description="Largest zoom in or out, as a share.")
    brightness: float = Field(default=0.08, ge=0, lt=1, description="Largest change, as a share of the range.")
    contrast: float = Field(default=0.15, ge=0, lt=1, description="Largest change of contrast, as a share.")
    stretch: float = Field(default=0.0, ge=0, lt=0.5, description="Largest change of the aspect ratio, as a share.")
    gamma: float = Field(default=0.0, ge=0, lt=1, description="Tones t become t^g, with g down to 1 - gamma.")
    blur: float = Field(default=0.0, ge=0, le=16, description="Largest sigma of a blur; half are not. Pixels.")
    noise: float = Field(default=0.0, ge=0, lt=1, description="Largest sigma of noise, as a share of the range.")
    erase: float = Field(default=0.0, ge=0, le=1, description="Share of images of which a square is set to their mean.")
    mixup: float = Field(
        default=0.0, ge=0, le=4, description="Each image is mixed with another, by a share from Beta(mixup, mixup)."
    )


class OptimizerOptions(Options):
    """AdamW with a linear warm-up and a cosine decay to zero."""

    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(default=1e-3, ge=0, le=1, description="Decoupled weight decay.")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="Share of all steps that the rate climbs.")
    averaging: float = Field(
        default=0.98, ge=0, lt=1, description="Momentum of the running average of weights; 0: none."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the target spread over all classes.")


class EarlyStoppingOptions(Options):
    """Training ends when the loss on val has not fallen for some epochs; the best weights are kept."""

    patience: int = Field(default=12, ge=1, description="Epochs without a better val loss.")
    min_delta: float = Field(default=1e-3, ge=0, description="A smaller fall of the loss does not count.")
    start_epoch: int = Field(default=0, ge=0, description="Epochs before patience is counted.")


class NetworkConfig(TrainingConfig):
    """A network trained by Keras."""

    augmentation: AugmentationOptions | None = Field(default=AugmentationOptions(), description="null: none at all.")
    optimizer: OptimizerOptions = OptimizerOptions()
    early_stopping: EarlyStoppingOptions = EarlyStoppingOptions()
    epochs: int | None = Field(default=None, ge=1, le=10_000, description="Left out: as many as images_shown allows.")
    images_shown: int = Field(
        default=250_000, ge=1, description="In all epochs together, where epochs are left out: from 10 to 150 of them."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="In training. auto: bfloat16 where the CPU multiplies it natively.",
    )
    members: int = Field(default=1, ge=1, le=20, description="Networks that are trained and averaged.")
    batch_size: int = Field(default=32, ge=1, le=4096, description="Images of one step.")
    quantize: Literal["none", "int8"] = Field(
        default="none",
        description="int8: the package's weights and activations in 8 bits; faster, a little less exact.",
    )
    max_seconds: float | None = Field(default=None, gt=0, description="Training ends after the epoch that passes this.")
    workers: int = Field(
        default=1, ge=1, le=64, description="Tasks of Spark that train one network together; needs where: spark."
    )

    @model_validator(mode="after")
    def _workers_have_work(self) -> Self:
        if self.workers > 1 and self.where != "spark":
            raise ValueError(f"workers: {self.workers} needs where: spark; in one process there is one worker")
        if self.batch_size < 4 * self.workers:
            raise ValueError(
                f"a batch of {self.batch_size} images is too small for {self.workers} workers; expected at least 4 each"
            )
        return self

    def epochs_for(self, shown: int) -> int:
        """How many epochs of that many images each are trained at most."""
        if self.epochs is not None:
            return self.epochs
        low, high = EPOCHS
        return max(low, min(high, round(self.images_shown / max(shown, 1))))
