"""States that older programs left in their changelog (`old_states` makes them), and what there was to read after."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import session_id_text
from pipeline.formats.native.events import arrivals_of
from pipeline.state.rebuild import rebuild_device
from pipeline.state.records import SourceRecord
from pipeline.storage.stored_event import StoredDevice, StoredRecord
from pipeline.storage.stored_session import Facts

_ALIKE = ("start_reason", "end_reason", "exit_reason", "cold_start", "event_count", "client_session_id")
_FOLDER = Path(__file__).parents[1] / "golden"


class Left:
    """What a program of a version left, and what there is to read after it."""

    def __init__(self, version: int) -> None:
        path = _FOLDER / f"states_v{version}.json.gz"
        found = json.loads(gzip.decompress(path.read_bytes()))
        self.records = [
            SourceRecord(offset, ms, key.encode(), value.encode())
            for offset, ms, key, value in found["records"]
        ]
        self.read_below: int = found["read_below"]
        self.entries = {bytes.fromhex(key): bytes.fromhex(value) for key, value in found["entries"].items()}
        self.rows = [json.loads(row) for row in found["rows"]]

    def events(self, key: bytes, below: int) -> list[StoredRecord]:
        """The events that each record of a device brought first, as they are stored."""
        seen: set[str] = set()
        found = []
        for record in self.records[:below]:
            if record.key == key:
                arrivals, *_ = arrivals_of(key, [record.offset, record.timestamp, record.value, None])
                for offset, ms, events in arrivals:
                    new = []
                    for event in events:
                        if event.id not in seen:
                            seen.add(event.id)
                            new.append(event)
                    if new:
                        found.append(StoredRecord(offset, ms, new))
        return found

    def fold(self, key: bytes, below: int) -> list[dict[str, Any]]:
        """The sessions of a device by the fold over all of its events."""
        events = [event for record in self.events(key, below) for event in record.events]
        app_id, device_id = key.decode().split("/")
        found = []
        for each in sessions(app_id, device_id, events, Policy()):
            found.append(
                {
                    "session_id": session_id_text(app_id, device_id, each.first_event_id),
                    "started_at": each.started_at_ms / 1_000,
                    "ended_at": each.ended_at_ms / 1_000,
                    "state": "foreground" if each.foreground else "background",
                    "stitched_index": each.stitched_index,
                    "user_ids": each.user_ids,
                    **{name: getattr(each, name) for name in _ALIKE},
                }
            )
        return found

    def rebuilt(self, key: bytes, below: int) -> Mapping[str, Facts]:
        """What a rebuild from the stored events says of the device's sessions."""
        app_id, device_id = key.decode().split("/")
        stored = StoredDevice(app_id, device_id, {0: below - 1}, self.events(key, below))
        return rebuild_device(stored, Policy(), 2**52, 0).facts
