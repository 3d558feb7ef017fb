"""Native envelopes, sound and otherwise, of which the schema and the decoder have to think alike."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from pipeline.formats import native
from pipeline.formats.rejected import Reason, Rejected

NOW = 1_764_000_000_000

_EDGES: tuple[Any, ...] = (
    *("", "x", "x" * 128, "x" * 129, "é" * 128, "é" * 129, "\U0001f600" * 128, "a/b", "a\0b"),
    *("x" * 1_024, "x" * 1_025, "true", "946684800"),
    *(-(2**63), -1, 0, 1, 1.0, 1.5, 2, 946_684_799, 946_684_800, 4_102_444_800, 4_102_444_801),
    *(946_684_799_999, 946_684_800_000, 5_662_310_399_999, 5_662_310_400_000),
    *(9_999_999_999_999, 10_000_000_000_000, 2**63 - 1, 2**63, 2**70, 1e300, 1e3, NOW, float(NOW)),
    *(True, False, None, [], {}, ["x"], [""], [None], [[]], {"x": None}, {"x": 1}, {"x" * 129: "x"}),
    *({"x" * 129: None}, {"x": "y" * 1_025}, {"x": ["y" * 1_025]}),
)
_HEAD = ("v", "app_id", "device_id", "batch_id", "sent_at", "resource", "user", "events")
_OF_EVENT = ("id", "name", "time", "seq", "session_id", "attributes")


def envelope(rng: Random) -> dict[str, Any]:
    """A sound envelope, in which up to three places may hold something else, or nothing."""
    made = _sound(rng)
    for _ in range(rng.randrange(4)):
        _change(rng, made)
    many = rng.randrange(60)
    if many == 0 and isinstance(made.get("events"), list) and made["events"]:
        made["events"] = [made["events"][0]] * rng.choice([500, 501])
    elif many == 1:
        made["user"] = {"properties": {str(n): "x" for n in range(rng.choice([100, 101]))}}
    elif many == 2:
        made["user"] = {"personas": ["x"] * rng.choice([100, 101])}
    elif many == 3:
        made["user"] = {"properties": {str(n): None for n in range(101)}}
    elif many == 4:
        made["events"] = []
    elif many == 5:
        made["user"] = {"properties": {"x" * rng.choice([128, 129]): rng.choice(_EDGES)}}
    return made


def _sound(rng: Random) -> dict[str, Any]:
    made: dict[str, Any] = {"v": 1, "app_id": "app", "device_id": "gerät", "events": []}
    for number in range(rng.randint(1, 3)):
        event: dict[str, Any] = {"id": f"e{number}", "name": "log", "time": NOW - rng.randrange(10**9)}
        event |= _some(rng, {"seq": number, "session_id": "s", "attributes": {"x": [1]}, "other": 1})
        made["events"].append(event)
    user = _some(rng, {"id": "u", "personas": ["p", "q"], "properties": {"k": "v", "n": 1, "no": None}})
    extra = {
        "batch_id": "b",
        "sent_at": NOW,
        "resource": {"os.name": "iOS", "n": 2},
        "user": user,
        "other": {},
    }
    return made | _some(rng, extra)


def _some(rng: Random, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if rng.random() < 0.5}


def _change(rng: Random, made: dict[str, Any]) -> None:
    """One place, at any depth, or a field that was not there."""
    holder: Any = made
    while True:
        names = _HEAD if holder is made else _OF_EVENT
        if isinstance(holder, dict) and (not holder or rng.random() < 0.2):
            holder[rng.choice(names)] = copy.deepcopy(rng.choice(_EDGES))
            return
        key = rng.choice(sorted(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        if not (isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.75):
            break
        holder = holder[key]
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(rng.choice(_EDGES))


def refused(envelope: object) -> list[Rejected]:
    """What the decoder refuses of it, sent and received now under its own key; [] if it takes all."""
    value = json.dumps(envelope).encode()
    read = native.decode(value, native.key_of(value), NOW)
    return read.refused if isinstance(read, native.Envelope) else [read]


def no_schema_can_say(faults: list[Rejected]) -> bool:
    """Whether it is refused for nothing but what hangs on more than the document, or on its bytes: times against the
    record's and once corrected, the length of what becomes text, sizes."""
    return all(
        (fault.reason is Reason.TIME_OUT_OF_RANGE and fault.detail.find(" ms is ") > 0)
        or (fault.reason is Reason.PROPERTY_TOO_LONG and fault.detail.startswith("value of"))
        or fault.reason in (Reason.RESOURCE_TOO_LARGE, Reason.TOO_DEEP, Reason.TOO_MANY_VALUES)
        for fault in faults
    )


def no_decoder_counts(envelope: dict[str, Any]) -> bool:
    """Whether a schema may refuse what is taken: too many user properties, or one of too long a name, that are null."""
    user = envelope.get("user")
    properties = user.get("properties") if isinstance(user, dict) else None
    return isinstance(properties, dict) and None in properties.values()
