"""Feedback: labels that people give to images afterwards. Quarantined, checked, and joined when accepted."""

from darkroom.feedback.overlay import Applied, Overlay, accepted_feedback, apply
from darkroom.feedback.quarantine import Choice, accept, add, check, check_if_prepared, reject, sentence, stored
from darkroom.feedback.rows import REASONS, Feedback

__all__ = [
    "REASONS",
    "Applied",
    "Choice",
    "Feedback",
    "Overlay",
    "accept",
    "accepted_feedback",
    "add",
    "apply",
    "check",
    "check_if_prepared",
    "reject",
    "sentence",
    "stored",
]
