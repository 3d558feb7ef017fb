"""What must hold between the two readings of a native record: that of the sink, and that of the sessionizer."""

from __future__ import annotations

import msgspec
import orjson

from pipeline.formats import native
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.mending import read_json
from pipeline.formats.native import reading
from pipeline.formats.native.events import arrivals_of, understood
from pipeline.formats.rejected import Rejected


def assert_read_alike(value: bytes | None, key: bytes | None, record_ms: int) -> None:
    """What storage keeps is what the fold gets: the same events, as many refused, the same reason. Where the fold is
    told of no correction, time and stamp are one."""
    assert_read_alike_by_both_ways(value, key)
    stored = native.decode(value, key, record_ms)
    arrivals, refused, corrected_ms = arrivals_of(key, (7, record_ms, value, None))
    if isinstance(stored, Rejected):
        assert (arrivals, refused) == ([], 1)
    else:
        assert arrivals == [(7, record_ms, native.to_events(stored))]
        assert refused == len(stored.refused)
        assert all(
            event.time_ms <= corrected_ms or event.time_ms == event.raw_time_ms for event in stored.events
        )


def assert_read_alike_by_both_ways(value: bytes | None, key: bytes | None) -> None:
    """The quick way of reading takes nothing that the thorough one refuses, and reads it alike."""
    closely = reading.read_closely(value, key)
    try:
        plain = reading.read_plain(value, reading.names_of(key))
        if plain is not None:
            for event in plain[0].events:
                understood(event, 0, 0)
    except orjson.JSONDecodeError:
        assert isinstance(closely, Rejected) or value not in (None, read_json(value, MAX_RECORD_BYTES)[0])
        return
    if plain is not None:
        assert not isinstance(closely, Rejected), closely
        assert msgspec.json.encode(plain) == msgspec.json.encode(closely)
