"""Records of `sdk-events` with one event each."""

from __future__ import annotations

import json
from typing import Any

from pipeline.domain.policy import Policies, Policy
from pipeline.state.records import SourceRecord

AT_MS = 1_800_000_000_000
IDLE_MS = 60_000
HORIZON_MS = 600_000
POLICIES = Policies(
    Policy(idle_timeout_ms=IDLE_MS, restate_horizon_ms=HORIZON_MS),
    {"slow": Policy(idle_timeout_ms=5 * IDLE_MS, restate_horizon_ms=HORIZON_MS)},
)


def record(
    offset: int, at_ms: int = 0, *, device: str = "d", app: str = "a", name: str = "n", state: str = ""
) -> SourceRecord:
    """One event; its record comes when it happens."""
    event: dict[str, Any] = {"id": f"{device}{offset}", "name": name, "time": AT_MS + at_ms}
    if state:
        event |= {"name": "device.app.lifecycle", "attributes": {"android.app.state": state}}
    value = {"v": 1, "app_id": app, "device_id": device, "events": [event]}
    return SourceRecord(offset, AT_MS + at_ms, f"{app}/{device}".encode(), json.dumps(value).encode())
