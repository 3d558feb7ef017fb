"""How much of it there is: for metrics."""

from __future__ import annotations

from typing import NamedTuple


class Holding(NamedTuple):
    """What a partition holds."""

    devices: int
    open_sessions: int
    """Devices whose open session is not reported as ended."""
    set_aside: int
    """Devices whose input cannot be folded."""
    state_bytes: int
    """Of all states, encoded."""
