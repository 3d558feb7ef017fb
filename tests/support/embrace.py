"""Payloads of Embrace's SDKs: the golden files of their own tests as envelopes, and what comes of envelopes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.domain.event import Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import embrace, native
from pipeline.formats.format import Beside
from pipeline.formats.rejected import Rejected
from tests.support.session_dicts import session_dict

FOLDER = Path(__file__).resolve().parents[1] / "data" / "embrace"
APP, DEVICE = "com.fake.package", "DE1CE0000000000000000000000000DE"
HEADERS = (("X-EM-AID", b"abc12"), ("X-EM-DID", DEVICE.encode()))

_GOLDEN_MS = 169_220_160_000
"""The fake clock of Embrace's tests at their start, in 1975."""
START_MS = 1_764_000_000_000
_IGNORED, _PART, _USER_SESSION = (
    f"__EMBRACE_TEST_{name}__" for name in ("IGNORE", "SESSION_PART_ID", "USER_SESSION_ID")
)
_MADE_UP = {
    "emb.crash_id": "", "emb.heartbeat_time_unix_nano": "", "log.record.uid": "", "emb.startup_duration": "0",
    "exception.stacktrace": "at Main.kt:1",
}  # fmt: skip
"""What placeholders without a meaning become; an empty text is filled in by the test, or stays away."""


def shifted(value: Any) -> Any:
    """A time of Embrace's clock, in whatever unit, as one of 2025; anything else as it is."""
    if isinstance(value, str) and value.isdigit() and len(value) in (12, 18):
        return str(shifted(int(value)))
    if isinstance(value, int) and not isinstance(value, bool):
        for unit in (1, 1_000_000):
            if 0 <= value // unit - _GOLDEN_MS < 10 * 365 * 86_400_000:
                return value + (START_MS - _GOLDEN_MS) * unit
    return value


def golden(name: str, part: str, user_session: str = "us1", **attributes: str) -> dict[str, Any]:
    """A golden span, or log record, of Embrace's Android SDK, with ids in place of placeholders.

    `attributes` (`__` for a dot) are those that its test leaves open, such as the id of a crash.
    """
    told = json.loads((FOLDER / "android" / f"{name}.json").read_text("utf-8"))
    told = told["logs"][0] if "logs" in told else told
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    kept = {}
    for pair in told.pop("attributes"):
        value = {_PART: part, _USER_SESSION: user_session}.get(pair["value"], pair["value"])
        if value == _IGNORED:
            value = _MADE_UP.get(pair["key"], "0")
        kept[pair["key"]] = shifted(value)
    kept.update(named)
    told["attributes"] = [{"key": key, "value": value} for key, value in kept.items() if value != ""]
    told = {key: shifted(value) for key, value in told.items() if value != _IGNORED}
    if "name" in told:
        told |= {"trace_id": f"trace-{part}", "span_id": f"span-{part}"}
    return told


def envelope(
    spans: Sequence[Any] = (), logs: Sequence[Any] = (), snapshots: Sequence[Any] = (), **metadata: Any
) -> dict[str, Any]:
    """An envelope as `v2_session_expected.json` has it, with these spans or log records."""
    whole = json.loads(_expected())
    whole["resource"] = {key: value for key, value in whole["resource"].items() if value != _IGNORED}
    whole["metadata"] = {
        key: value for key, value in whole["metadata"].items() if value != _IGNORED
    } | metadata
    whole["type"] = "logs" if logs else "spans"
    given = {"spans": list(spans), "span_snapshots": list(snapshots), "logs": list(logs)}
    whole["data"] = {name: some for name, some in given.items() if some}
    return whole


@cache
def _expected() -> str:
    return (FOLDER / "android" / "v2_session_expected.json").read_text("utf-8")


def span(
    name: str,
    start_ms: int,
    end_ms: int | None = None,
    *,
    id: str = "s",
    events: Sequence[Any] = (),
    status: str = "Unset",
    **attributes: Any,
) -> dict[str, Any]:
    """A span, times in milliseconds after START_MS; `__` in the names of attributes is a dot."""  # fmt: skip
    told: dict[str, Any] = {
        "trace_id": "t", "span_id": id, "parent_span_id": "0" * 16, "name": name, "status": status,
        "start_time_unix_nano": (START_MS + start_ms) * 1_000_000,
        "attributes": pairs(**attributes), "events": list(events),
    }  # fmt: skip
    if end_ms is not None:
        told["end_time_unix_nano"] = (START_MS + end_ms) * 1_000_000
    return told


def part(start_ms: int, end_ms: int | None, id: str, **attributes: Any) -> dict[str, Any]:
    """A session part in the foreground, or what the attributes say."""
    said = {
        "emb__type": "ux.session",
        "emb__state": "foreground",
        "emb__cold_start": "false",
        "emb__terminated": "false",
    }
    said |= {"emb__clean_exit": "true", "emb__session_end_type": "state", "emb__session_part_id": id}
    events = attributes.pop("events", ())
    return span("emb-session", start_ms, end_ms, id=f"span-{id}", events=events, **(said | attributes))


def log(time_ms: int, uid: str, type: str, body: str = "", **attributes: Any) -> dict[str, Any]:
    """A log record, its time in milliseconds after START_MS."""
    number = attributes.pop("severity_number", 9)
    return {
        "time_unix_nano": (START_MS + time_ms) * 1_000_000, "severity_number": number, "severity_text": "INFO",
        "body": body, "attributes": pairs(log__record__uid=uid, emb__type=type, **attributes),
    }  # fmt: skip


def event(name: str, time_ms: int, **attributes: Any) -> dict[str, Any]:
    """An event of a span."""
    return {
        "name": name,
        "time_unix_nano": (START_MS + time_ms) * 1_000_000,
        "attributes": pairs(**attributes),
    }


def pairs(**attributes: Any) -> list[dict[str, Any]]:
    """Attributes as Embrace writes them."""
    return [{"key": key.replace("__", "."), "value": value} for key, value in attributes.items()]


def native_events(
    envelopes: Iterable[dict[str, Any]],
    *,
    record_ms: int = START_MS + 100 * 86_400_000,
    beside: Beside | None = None,
) -> list[native.NativeEvent]:
    """The native events of envelopes, none of which refuses anything."""
    found = []
    for document in envelopes:
        made = embrace.decode(json.dumps(document).encode(), record_ms, beside or Beside(HEADERS))
        assert not isinstance(made, Rejected), made
        assert not made.refused, made.refused
        for record in made.records:
            decoded = native.decode(record.value, record.key, record_ms)
            assert isinstance(decoded, native.Envelope) and not decoded.refused, decoded
            found += decoded.events
    return found


def events_of(envelopes: Iterable[dict[str, Any]]) -> list[Event]:
    """The same as the fold sees them."""
    record_ms = START_MS + 100 * 86_400_000
    found = []
    for document in envelopes:
        made = embrace.decode(json.dumps(document).encode(), record_ms, Beside(HEADERS))
        assert not isinstance(made, Rejected) and not made.refused, made
        for record in made.records:
            decoded = native.decode(record.value, record.key, record_ms)
            assert isinstance(decoded, native.Envelope) and not decoded.refused, decoded
            found += native.to_events(decoded)
    return found


def folded(envelopes: Iterable[dict[str, Any]], policy: Policy | None = None) -> list[dict[str, Any]]:
    """The sessions of envelopes; `stitched` counts the stitched sessions from 0, times are after START_MS."""
    rows = [
        session_dict(APP, DEVICE, each)
        for each in sessions(APP, DEVICE, events_of(envelopes), policy or Policy())
    ]
    stitched = list(dict.fromkeys(row["stitched_session_id"] for row in rows))
    for row in rows:
        row["stitched"] = stitched.index(row["stitched_session_id"])
        row["start"], row["end"] = row["started_at_ms"] - START_MS, row["ended_at_ms"] - START_MS
    return rows


def members(rows: Iterable[dict[str, Any]]) -> list[tuple[int, str, str, str]]:
    """Of each session: its stitched session, SDK session id, state, and why it ended."""
    return [(row["stitched"], row["client_session_id"], row["state"], row["end_reason"]) for row in rows]
