"""Envelopes as sinks insert them."""

from __future__ import annotations

import json

from pipeline.formats import native
from pipeline.storage.rows import event_line
from tests.bench.corpus import Fetched
from tests.support.attribute_texts import EVENTS, T0


def record_of(device: str, offset: int) -> Fetched:
    body = {"v": 1, "app_id": "app", "device_id": device, "events": EVENTS, "user": {"id": "u\u00e9"}}
    return Fetched(offset, T0 + 10_000, f"app/{device}".encode(), json.dumps(body).encode())


def line_of(device: str, offset: int) -> bytes:
    record = record_of(device, offset)
    decoded = native.decode(record.value, record.key, record.timestamp)
    assert isinstance(decoded, native.Envelope) and not decoded.refused, decoded
    return event_line(decoded, topic="sdk-events", partition=3, offset=offset)
