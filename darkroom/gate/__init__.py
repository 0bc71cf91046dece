"""The gate: may a challenger become champion? A pure function of predictions, closed when in doubt."""

from darkroom.gate.decision import Verdict, decide
from darkroom.gate.policy import GatePolicy, load_policy
from darkroom.gate.scores import Scores

__all__ = ["GatePolicy", "Scores", "Verdict", "decide", "load_policy"]
