"""What must hold between the two readings of a native record: that of the sink, and that of the sessionizer."""

from __future__ import annotations

from pipeline.wire import native
from pipeline.wire.rejected import Rejected


def assert_read_alike(value: bytes | None, key: bytes | None, record_ms: int) -> None:
    """What storage keeps is what the fold gets: the same events, as many refused, the same reason."""
    stored, folded = native.decode(value, key, record_ms), native.decode_events(value, key, record_ms)
    if isinstance(stored, Rejected):
        assert folded == stored
    else:
        assert folded == (native.to_events(stored), len(stored.refused))
