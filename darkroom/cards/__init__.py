"""Dataset cards and model cards, made from what is recorded."""

from __future__ import annotations

from darkroom.cards.dataset import write_dataset_card
from darkroom.cards.model import model_card

__all__ = ["model_card", "write_dataset_card"]
