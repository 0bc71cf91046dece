"""The gate's limits that are in force."""

from __future__ import annotations

from pathlib import Path

from darkroom.gate import GatePolicy, load_policy
from darkroom.settings import get_settings

DEFAULT = Path(__file__).parent / "gate.yaml"


def gate_policy() -> GatePolicy:
    """Those of the file that DARKROOM_GATE_POLICY names, or of training/gate.yaml. Raises InvalidRequest."""
    named = get_settings().gate_policy
    return load_policy(Path(named) if named else DEFAULT)
