"""Records of one device that say whether its app is in the foreground."""

from __future__ import annotations

import json

from pipeline.domain.policy import Policies, Policy
from pipeline.state.records import SourceRecord

POLICIES = Policies(Policy(idle_timeout_ms=60_000))
AT_MS = 1_800_000_000_000
KEY = b"a/d"


def record(offset: int, *events: tuple[str, str, int]) -> SourceRecord:
    """A record of the device at second `offset`; an event is its id, its Android state and its time in seconds."""
    value = {
        "v": 1,
        "app_id": "a",
        "device_id": "d",
        "events": [
            {
                "id": event_id,
                "name": "device.app.lifecycle",
                "time": AT_MS + at_s * 1_000,
                "attributes": {"android.app.state": state},
            }
            for event_id, state, at_s in events
        ],
    }
    return SourceRecord(offset, AT_MS + offset * 1_000, KEY, json.dumps(value).encode())
