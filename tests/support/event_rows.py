"""Events as rows of their own, as the sink inserts them where an envelope is refused as one."""

from __future__ import annotations

from pipeline.formats.envelope import Envelope
from pipeline.storage.kept import EVER, Kept
from pipeline.storage.rows import event_line, unpacked


def event_rows(
    envelope: Envelope,
    *,
    topic: str,
    partition: int,
    offset: int,
    start: int = 0,
    stop: int | None = None,
    kept: Kept = EVER,
) -> bytes:
    """The rows of `z_event_feed` of the events of an envelope, one for each; arguments as of `event_line`."""
    line = event_line(
        envelope, topic=topic, partition=partition, offset=offset, start=start, stop=stop, kept=kept
    )
    return unpacked(line) if line else b""
