"""What records of any format come to: they are read as the router reads them, and folded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.domain.event import Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import Session
from pipeline.formats import native, registry
from pipeline.formats.format import Beside
from pipeline.formats.rejected import Rejected
from tests.support.session_dicts import session_dict
from tests.support.writers.written import Record

IDS = ("session_id", "stitched_session_id")
"""They follow from the id of an event, which each format makes in its own way."""


def events_of(records: Iterable[Record], record_ms: int) -> dict[bytes, list[Event]]:
    """The events of each device (`app/device`) in order of arrival. Fails if anything is refused."""
    found: dict[bytes, list[Event]] = {}
    for record in records:
        for key, value in _native_records(record, record_ms):
            envelope = native.decode(value, key, record_ms)
            assert isinstance(envelope, native.Envelope) and not envelope.refused, (record, envelope)
            found.setdefault(key, []).extend(native.to_events(envelope))
    return found


def _native_records(record: Record, record_ms: int) -> list[tuple[bytes, bytes]]:
    format_ = registry.of_topic(record.topic)
    if format_.translate is None:
        key = native.key_of(record.value)
        assert key is not None
        return [(key, record.value)]
    translated = format_.translate(record.value, record_ms, Beside(record.headers))
    assert not isinstance(translated, Rejected), (record, translated)
    assert not translated.refused, (record, translated.refused)
    return [(made.key, made.value) for made in translated.records]


def sessions_of(key: bytes, events: Sequence[Event], policy: Policy) -> list[dict[str, Any]]:
    """The sessions of a device as the table has them, without ids: a stitched session is named by its first member's
    place. Of the resource the version of the app, of the user the ids."""
    app_id, _, device_id = key.decode().partition("/")
    found = sessions(app_id, device_id, events, policy)
    places = {session.first_event_id: place for place, session in enumerate(found)}
    return [_told(session_dict(app_id, device_id, session), session, places) for session in found]


def _told(row: dict[str, Any], session: Session, places: dict[str, int]) -> dict[str, Any]:
    resource = json.loads(session.resource)
    told = {name: value for name, value in row.items() if name not in (*IDS, "resource", "user")}
    return {
        **told,
        "stitched_with": places[session.stitched_first_event_id],
        "app_version": resource.get("service.version", ""),
        "app_build": resource.get("app.build_id", ""),
        "view_count": session.view_count,
    }
