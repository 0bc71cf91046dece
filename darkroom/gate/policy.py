"""The limits of the gate, all in one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom.errors import InvalidRequest
from darkroom.requests import told_faults

Slice = Literal["mode", "size", "source", "group"]


class GatePolicy(BaseModel):
    """The limits of the gate. A limit that may be null is off where it is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["balanced_accuracy", "accuracy"] = Field(
        default="balanced_accuracy", description="The primary metric, by which models are compared."
    )
    level: float = Field(default=0.95, gt=0.5, lt=1, description="Level of the bootstrap intervals.")
    rounds: int = Field(default=4000, ge=200, description="Bootstrap resamples.")
    seed: int = Field(default=0, ge=0, description="Seed of the bootstrap.")
    comparison: Literal["non_inferiority", "superiority"] = Field(
        default="non_inferiority",
        description="Against the champion: a loss above the margin is excluded, or a gain above it is shown.",
    )
    margin: float = Field(default=0.01, ge=0, le=1, description="Margin of the comparison, in the primary metric.")
    min_images: int = Field(default=40, ge=1, description="Fewest images that a decision may rest on.")
    min_per_class: int = Field(default=10, ge=1, description="Fewest images of each class that a decision may rest on.")
    recall_floor: float = Field(default=0.5, ge=0, le=1, description="Smallest recall that every class must reach.")
    recall_floors: dict[str, float] = Field(default_factory=dict, description="Other floors, by class.")
    max_calibration_error: float | None = Field(
        default=0.25, gt=0, le=1, description="Largest expected calibration error of the predicted label's score."
    )
    slices: tuple[Slice, ...] = Field(
        default=("mode", "size", "source", "group"), description="What the test images are told apart by."
    )
    slice_min_images: int = Field(default=30, ge=1, description="Slices of fewer images are not judged, and counted.")
    slice_margin: float = Field(default=0.1, ge=0, le=1, description="Largest tolerated loss of accuracy in a slice.")
    max_milliseconds: float | None = Field(default=500, gt=0, description="Largest time for one image, milliseconds.")
    max_megabytes: float | None = Field(default=500, gt=0, description="Largest model package, MB.")
    approval: Literal["auto", "required"] = Field(
        default="auto", description="Whether a person has to approve what passed the gate."
    )
    approval_hours: float = Field(default=72, gt=0, description="No answer for so long is a no. Hours.")

    def floor_of(self, label: str) -> float:
        return self.recall_floors.get(label, self.recall_floor)


def load_policy(path: Path) -> GatePolicy:
    """The policy in a YAML file. Raises InvalidRequest for one that cannot be read or names an unknown limit."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidRequest(
            f"The gate's limits in {path} cannot be read: {reason}. Expected a YAML file of limits; see docs/gate.md."
        ) from None
    try:
        return GatePolicy.model_validate({} if content is None else content)
    except ValidationError as error:
        raise InvalidRequest(
            f"The gate's limits in {path} cannot be used. {told_faults(error, 'the file')}. See docs/gate.md."
        ) from None
