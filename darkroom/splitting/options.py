"""What may be asked of a split."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.contract import TEST, TRAIN, VAL, stable_hash
from darkroom.errors import InvalidRequest

Rebalance = Literal["none", "class_weights", "oversample", "undersample"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Proportions(_Strict):
    """The share of the images that each split gets. They sum to 1."""

    train: float = Field(default=0.7, gt=0, lt=1, allow_inf_nan=False)
    val: float = Field(default=0.15, gt=0, lt=1, allow_inf_nan=False)
    test: float = Field(default=0.15, ge=0, lt=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _whole(self) -> Proportions:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the proportions sum to {total:g}; expected 1")
        return self


class Counts(_Strict):
    """How many images each split gets. ``train`` left out: all the others; ``test`` stays out with a given test."""

    train: int | None = Field(None, gt=0, strict=True)
    val: int = Field(gt=0, strict=True)
    test: int | None = Field(None, gt=0, strict=True)


class SplitOptions(_Strict):
    """How a dataset version is split, and how train is rebalanced. Part of the split's identity."""

    proportions: Proportions | None = Field(
        None,
        title="Proportions",
        description="Shares of train, val and test. Default 0.7, 0.15, 0.15. Not together with counts.",
    )
    counts: Counts | None = Field(
        None,
        title="Counts",
        description="Numbers of images in train, val and test instead of proportions. No train: all the others.",
    )
    keep_given_test: bool = Field(
        False,
        title="Keep the given test split",
        description="The source's own test images stay the test split; what leaks into them leaves train and val.",
    )
    rebalance: Rebalance = Field(
        "class_weights", title="Rebalance train", description="Touches train only; val and test keep their prevalence."
    )
    seed: int = Field(0, ge=0, strict=True, title="Seed", description="Another seed gives another split.")
    minimum_per_class: int = Field(
        3,
        ge=1,
        strict=True,
        title="Minimum per class",
        description="Images of each class that each split holds at least. Fewer: the split is refused.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_measure(cls, value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("proportions") is not None and value.get("counts") is not None:
                raise ValueError("proportions and counts exclude each other; give one of them")
            if value.get("proportions") is None and value.get("counts") is None:
                return {**value, "proportions": Proportions()}
        return value

    @model_validator(mode="after")
    def _test_from_one_place(self) -> SplitOptions:
        if self.counts is not None:
            if self.keep_given_test and self.counts.test is not None:
                raise ValueError("keep_given_test fixes the test split; leave counts.test out")
            if not self.keep_given_test and self.counts.test is None:
                raise ValueError("counts.test is missing; give it, or set keep_given_test")
        elif self.proportions is not None and self.proportions.test == 0 and not self.keep_given_test:
            raise ValueError("proportions.test is 0; give test a share, or set keep_given_test")
        return self

    @property
    def policy(self) -> str:
        """A hash of what decides who goes where. Splits of one policy inherit from each other as a dataset grows."""
        return stable_hash(self.model_dump(mode="json", include={"proportions", "counts", "keep_given_test", "seed"}))

    def share(self, split: str) -> float:
        """The asked share of a split among the images that the options place freely; counts are not shares."""
        assert self.proportions is not None
        shares = {TRAIN: self.proportions.train, VAL: self.proportions.val, TEST: self.proportions.test}
        if not self.keep_given_test:
            return shares[split]
        return 0.0 if split == TEST else shares[split] / (shares[TRAIN] + shares[VAL])


def checked_options(unchecked: Any) -> SplitOptions:
    """SplitOptions from plain data. Raises InvalidRequest that names every wrong field at once."""
    if isinstance(unchecked, SplitOptions):
        return unchecked
    try:
        return SplitOptions.model_validate(unchecked)
    except ValidationError as error:
        raise InvalidRequest(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "options"
        faults.append(f"{where}: {fault['msg'].removeprefix('Value error, ')} (received {fault['input']!r})")
    known = ", ".join(SplitOptions.model_fields)
    return f"The split options cannot be used: {'; '.join(faults)}. Known options: {known}. Correct them and run again."
