"""The largest and most costly input that is legal: what one device can do to a worker without breaking a rule."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.wire.limits import (
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
    names = "app.foreground", "app.background"
    return [{"id": f"{mark}-{n}", "name": names[n % 2], "time": first_ms + n * step_ms} for n in range(count)]


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
