"""The events of one record as storage sees them, whatever their format."""

from __future__ import annotations

import msgspec

from pipeline.domain.event import AppState, Kind
from pipeline.formats.rejected import Rejected

VERSION = 1
"""Of the native envelope."""


class NativeEvent(msgspec.Struct, gc=False):
    """One event as it came, with what it means to a session. Times are Unix milliseconds."""

    id: str
    name: str
    time_ms: int
    """Corrected by the sender's clock."""
    raw_time_ms: int
    """As the device stamped it."""
    seq: int
    client_session_id: str
    kind: Kind
    exit_reason: str
    counters: int
    """Bit set over domain COUNTERS."""
    attributes: bytes
    """The JSON object exactly as it came, but for what was repaired; `{}` if there was none."""
    stated: AppState = AppState.UNKNOWN
    """The app's state as the event states it."""
    repaired: tuple[str, ...] = ()
    """Where values were repaired, as dead letters name places: at most 16, each of at most 128 characters."""


class Envelope(msgspec.Struct):
    """What one record holds: the good events of one device, and what was refused of it."""

    app_id: str
    device_id: str
    batch_id: str
    sent_at: int | None
    received_at_ms: int
    resource: str
    """Canonical JSON."""
    user: str
    """Canonical JSON, empty if the envelope names no user."""
    events: list[NativeEvent]
    refused: list[Rejected]
    """One for each event that is not in `events`, in order, each with its index."""
    repaired: int = 0
    """Of how many events something was repaired."""
