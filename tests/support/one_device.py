"""Envelopes, events and sessions of one device."""

from __future__ import annotations

import json
from typing import Any

from pipeline.domain.session import Session, note_user
from pipeline.formats import native

APP, DEVICE = "org.example.app", "device-1"
T0 = 1_742_296_591_764
MINUTE = 60_000


def envelope(*events: dict[str, Any], device: str = DEVICE, at: int = T0, **rest: Any) -> native.Envelope:
    body = {"v": 1, "app_id": APP, "device_id": device, "events": list(events), **rest}
    decoded = native.decode(json.dumps(body).encode(), f"{APP}/{device}".encode(), at)
    assert isinstance(decoded, native.Envelope), decoded
    return decoded


def event(id: str, time: int = T0, name: str = "tick", **attributes: Any) -> dict[str, Any]:
    return {"id": id, "time": time, "name": name, "attributes": attributes}


def session(first: str = "a", start: int = T0, end: int = T0 + MINUTE, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "first_event_id": first,
        "started_at_ms": start,
        "start_reason": "launch",
        "foreground": True,
        "resource": '{"os.name":"iOS","service.version":"1.0"}',
        "last_ms": end,
        "ended_at_ms": end,
        "end_reason": "background",
        "event_count": 2,
        "stitched_first_event_id": first,
    }
    made = Session(**values | changes)
    if made.user:
        note_user(made, made.user)
    return made
