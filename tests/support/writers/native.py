"""Native envelopes: what every other way of telling the same is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import orjson

from tests.support.lives import NS_PER_MS, Deed, Json, Life
from tests.support.writers.written import Record


def event_of(deed: Deed) -> Json:
    """One deed as a native event; what is beyond the millisecond is its `seq`."""
    event: Json = {
        "id": deed.id,
        "name": deed.name,
        "time": deed.ns // NS_PER_MS,
        "seq": deed.ns % NS_PER_MS,
        "attributes": deed.attributes,
    }
    return {**event, "session_id": deed.session} if deed.session else event


def write(life: Life, batch: Sequence[Deed]) -> list[Record]:
    """An envelope for each run of deeds with one resource and user."""
    records = []
    for (resource, user), run in groupby(
        batch, lambda deed: (orjson.dumps(deed.resource), orjson.dumps(deed.user))
    ):
        envelope = {
            "v": 1,
            "app_id": life.app_id,
            "device_id": life.device_id,
            "resource": orjson.Fragment(resource),
            "user": orjson.Fragment(user),
            "events": [event_of(deed) for deed in run],
        }
        records.append(Record("sdk-events", orjson.dumps(envelope)))
    return records
