"""The largest and most costly input that is legal: what one device can do to a worker without breaking a rule."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from pipeline.formats.limits import (
    MAX_BODY_BYTES,
    MAX_BODY_EVENTS,
    MAX_EVENTS,
    MAX_ID_CHARS,
    MAX_PROPERTIES,
    MAX_PROPERTY_VALUE_CHARS,
    MAX_RESOURCE_BYTES,
)

WIDE = "\U0001f600"
"""Four bytes in UTF-8, and four in every character of a text that holds it."""
CONTROL = "\x01"
"""One character and one byte, but six as JSON."""

Json = dict[str, Any]


class Record(NamedTuple):
    """Key and value, and how many events are in it."""

    key: bytes
    value: bytes
    events: int


def user(mark: str, *, character: str = WIDE, properties: int = MAX_PROPERTIES) -> Json:
    """A user with as many properties as may be, as long as may be; `mark` tells it from others."""
    text = character * (MAX_PROPERTY_VALUE_CHARS - len(mark)) + mark
    return {
        "id": (mark + WIDE * MAX_ID_CHARS)[:MAX_ID_CHARS],
        "properties": {f"p{n}": text for n in range(properties)},
    }


def resource(mark: str, *, under: int = 0, key: str = "service.version") -> Json:
    """A resource of as many bytes as may be, less `under`, all but some in one fact."""
    frame = len(json.dumps({key: mark}, separators=(",", ":")).encode())
    return {key: mark + "r" * (MAX_RESOURCE_BYTES - under - frame)}


def envelope(app_id: str, device_id: str, events: list[Json], **head: Any) -> Record:
    """A native record of these events."""
    body = {"v": 1, "app_id": app_id, "device_id": device_id, **head, "events": events}
    value = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return Record(f"{app_id}/{device_id}".encode(), value, len(events))


def turns(mark: str, first_ms: int, count: int = MAX_EVENTS, *, step_ms: int = 1_000) -> list[Json]:
    """Events that send an app to the background and back, in turn."""
    states = "foreground", "background"
    return [
        {
            "id": f"{mark}-{n}",
            "name": "device.app.lifecycle",
            "time": first_ms + n * step_ms,
            "attributes": {"android.app.state": states[n % 2]},
        }
        for n in range(count)
    ]


def fat_record(number: int, first_ms: int, *, device: str = "fat", character: str = WIDE) -> Record:
    """Some 510 kB of which 270 MB of event rows are made: the largest user and resource, on each of 500 events."""
    mark = f"{number:06d}"
    return envelope(
        "app",
        device,
        turns(mark, first_ms + number * MAX_EVENTS * 1_000),
        user=user(mark, character=character),
        resource=resource(mark),
    )


def measure_body(mark: str, first_ms: int, *, senders: int = 1, size: int = MAX_BODY_BYTES) -> Record:
    """A body of the Measure SDK with as many events and bytes as may be, most of them in attributes.

    Events of one sender share their attributes, and each has them again. Every sender is a device of its own.
    """
    share = size // MAX_BODY_EVENTS - 700
    events = []
    for n in range(MAX_BODY_EVENTS):
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first_ms // 1_000 + n))
        state = "foreground" if n % 2 == 0 else "background"
        events.append(
            {
                "id": f"{mark}-{n}",
                "session_id": f"{mark}-s",
                "timestamp": f"{moment}.000Z",
                "type": "lifecycle_app",
                "lifecycle_app": {"type": state},
                "attribute": {
                    "app_unique_id": "app",
                    "installation_id": f"{mark}-{n % senders}",
                    "app_version": mark + "r" * (share // 2),
                    "note": "n" * (share // 2),
                    "user_id": mark,
                },
            }
        )
    return Record(mark.encode(), json.dumps({"events": events}, separators=(",", ":")).encode(), len(events))


def flat_body(mark: str, first_ms: int, *, size: int = MAX_BODY_BYTES) -> Record:
    """A body whose events have as many attributes as they have room for."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first_ms // 1_000))
    events, used = [], 0
    while used < size - 920_000:
        facts = {f"{n:x}": 1 for n in range(90_000)}
        event = {
            "id": f"{mark}-{len(events)}",
            "timestamp": f"{moment}.000Z",
            "type": "note",
            "attribute": {"app_unique_id": "app", "installation_id": mark, **facts},
        }
        events.append(event)
        used += len(json.dumps(event, separators=(",", ":")))
    return Record(mark.encode(), json.dumps({"events": events}, separators=(",", ":")).encode(), len(events))
