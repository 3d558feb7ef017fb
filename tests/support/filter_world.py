"""Sessions and events for filters: a simulated fleet, devices full of odd values, and rows that no longer count."""

from __future__ import annotations

from itertools import permutations, product
from random import Random
from typing import Any

import orjson

from pipeline.clickhouse.store import Store
from pipeline.domain.event import Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import session_id
from pipeline.formats import native
from pipeline.roles.regroup import regroup
from pipeline.simulate.fleet import fleet
from pipeline.storage.rows import session_row
from tests.support.event_rows import event_rows
from tests.support.filter_oracle import Row, World

ODD_TEXTS = (
    *(
        "",
        "a",
        "A",
        "ab",
        "é",
        "É",
        "日本",
        "x'y",
        'x"y',
        "x\\y",
        "x\ny",
        "x\ty",
        " x ",
        "{f0:String}",
        "%s %(x)s",
    ),
    *(
        "'; DROP TABLE session_rows; --",
        "' OR 1=1 --",
        "/* */",
        "`",
        "💥",
        "null",
        "true",
        "[a](b)*c",
        "\u2028",
        "$1",
    ),
)
ODD_NUMBERS = (
    "0",
    "-1",
    "1",
    "1.0",
    "1.50",
    "500",
    "500.0",
    "+7",
    ".5",
    "1e3",
    "1e400",
    "inf",
    "nan",
    "12abc",
    "1_0",
    " 1",
    "--1",
)
_PLACE = {"geo.country.iso_code": "DE", "geo.region.iso_code": "DE-BE"}
_TOLD = (
    *("app.screen.name", "network.connection.type", "duration", "duration_ms"),
    *("http.start_time", "http.end_time"),
    *("app.launch.type", "app.launch.duration_ms", "app.screen.load_ms"),
)
"""Attributes that say something of the session."""
ODD_VERSIONS = (
    *("2.0", "2.10", "2.9", "2.0-beta", "2.0.0", "2.0.0-beta", "1.0-rc2", "1.0-rc10", "1.0-1", "1..0", "v2"),
    *("2.0+5", "1.01", "1a0", "8.2.1 (1234)", "2.0beta", "00012", "0", "0.0", "10", "9"),
)
ODD_SYSTEMS = ("Android", "android", "ANDROID", "iOS", "ios", "É", "é")
ODD_APPS = ("odd.app", "odd'app")
_DAY_MS, _T0 = 86_400_000, 1_767_600_000_000


_VERSIONED = ("app_version", "app_build", "os_version", "sdk_version")


def fill(store: Store, table: str = "z_event_feed") -> None:
    """Put all of it into a migrated database, the events by way of a table."""
    _simulated(store, table)
    _odd(store, table, Random(5))
    _ties(store, table)
    _by_heart(store, table)
    _outdated(store, table)
    if table == "z_event_feed":
        regroup(store, "odd")  # these rows did not come from the sink


def read_world(store: Store) -> World:
    """What is in it now, as the views show it."""
    return World(
        _rows(
            store,
            "SELECT *, toUnixTimestamp64Milli(started_at) AS started_at_ms,"
            " toUnixTimestamp64Milli(ended_at) AS ended_at_ms,"
            " toUnixTimestamp64Milli(last_event_at) AS last_event_at_ms FROM sessions",
        ),
        _rows(
            store,
            "SELECT app_id, device_id, event_id, toUnixTimestamp64Milli(time) AS time_ms, name, kind, seq, counters,"
            " attributes"
            " FROM events",
        ),
    )


def _rows(store: Store, sql: str) -> list[Row]:
    return [orjson.loads(line) for line in store.query(sql).splitlines()]


def _simulated(store: Store, table: str) -> None:
    arrived: dict[tuple[str, str], list[Event]] = {}
    rows = []
    for offset, sent in enumerate(fleet(devices=25, seed=11, events=4_000)):
        envelope = native.decode(sent.value, sent.key, sent.at_ms)
        if isinstance(envelope, native.Envelope):
            rows.append(event_rows(envelope, topic="sdk-events", partition=0, offset=offset))
            arrived.setdefault((envelope.app_id, envelope.device_id), []).extend(native.to_events(envelope))
    store.insert(table, b"\n".join(row for row in rows if row), token="events")
    found = [
        session_row(
            *device,
            session,
            status="open" if session.is_open else "closed",
            revision=4,
            is_final=index == 0,
            arrived_at_ms=_T0,
            partition=0,
            offset=2,
        )
        for device, events in arrived.items()
        for index, session in enumerate(sessions(*device, events, Policy(), quiet=False))
    ]
    store.insert("session_rows", b"\n".join(found), token="sessions")


def _odd(store: Store, table: str, rng: Random) -> None:
    """Devices whose every value is odd, with events at the very starts, in one millisecond, and before any session."""
    found, facts = [], []
    for app_id in ODD_APPS:
        for device_id in ("device", "x'y", "日本"):
            starts = sorted(rng.sample(range(_T0, _T0 + 3 * _DAY_MS), 12))
            found += [
                _odd_session(rng, app_id, device_id, index, start) for index, start in enumerate(starts)
            ]
            times = [
                starts[0] - 1,
                *starts,
                *(start - 1 for start in starts),
                *(start + 5 for start in starts * 6),
            ]
            facts += [
                _odd_event(rng, app_id, device_id, f"o{index}", time) for index, time in enumerate(times)
            ]
    store.insert("session_rows", b"\n".join(map(orjson.dumps, found)), token="odd")
    store.insert(table, b"\n".join(map(orjson.dumps, facts)), token="odd")


def _odd_session(rng: Random, app_id: str, device_id: str, index: int, start_ms: int) -> Row:
    first = f"o{index}"
    columns = ("app_version", "app_build", "environment", "os_name", "os_version", "device_manufacturer")
    more = ("device_model", "sdk_name", "sdk_version", "client_session_id")
    user_ids = rng.sample(ODD_TEXTS[1:], rng.randrange(3))
    return {
        "app_id": app_id,
        "device_id": device_id,
        "session_id": str(session_id(app_id, device_id, first)),
        "first_event_id": first,
        "stitched_session_id": str(session_id(app_id, device_id, f"o{index - index % 3}")),
        "stitched_index": index % 3 + 1,
        "status": rng.choice(("open", "closed")),
        "state": rng.choice(("foreground", "background")),
        "start_reason": rng.choice(("launch", "implicit")),
        "end_reason": rng.choice(ODD_TEXTS),
        "exit_reason": rng.choice(("", "crash", "odd word")),
        "cold_start": rng.random() < 0.5,
        "started_at": _seconds(start_ms),
        "ended_at": _seconds(start_ms + 4),
        "last_event_at": _seconds(start_ms + 4),
        "duration_ms": rng.choice((0, 4, 2**40)),
        "is_final": rng.random() < 0.5,
        **{column: rng.choice(ODD_TEXTS) for column in (*columns, *more)},
        **{column: rng.choice((*ODD_VERSIONS, *ODD_TEXTS[:6])) for column in _VERSIONED},
        "os_name": rng.choice((*ODD_SYSTEMS, *ODD_TEXTS)),
        "user_id": user_ids[-1] if user_ids else "",
        "user_ids": user_ids,
        "personas": rng.sample(ODD_TEXTS, rng.randrange(3)),
        "properties": _odd_map(rng),
        "resource": {
            **_odd_map(rng),
            **(_PLACE if rng.random() < 0.5 else {}),
        },
        "event_count": index,
        "crash_count": rng.randrange(3),
        "revision": 4,
        "is_deleted": 0,
    }


def _odd_event(rng: Random, app_id: str, device_id: str, event_id: str, time_ms: int) -> Row:
    return {
        "app_id": app_id,
        "device_id": device_id,
        "event_id": event_id,
        "time": _seconds(time_ms),
        "name": rng.choice(
            ("app.crash", "odd name", "x'y", "app.screen.view", "tick", "http.client.request")
        ),
        "kind": rng.choice(("activity", "activity", "foreground", "active", "crash", "exit", "passive")),
        "seq": rng.randrange(3),
        "counters": rng.choice((0, 0, 64, 256, 320)),
        "attributes": _odd_map(rng),
        "offset": 3,
    }


def _odd_map(rng: Random) -> dict[str, str]:
    keys = rng.sample((*ODD_TEXTS[1:], "plan", "n"), rng.randrange(5))
    # It stands in a column by itself, too.
    keys += ["http.response.status_code"] if rng.random() < 0.5 else []
    keys += rng.sample(_TOLD, rng.randrange(len(_TOLD)))
    return {key: rng.choice(ODD_NUMBERS if rng.random() < 0.5 else ODD_TEXTS) for key in keys}


def _ties(store: Store, table: str) -> None:
    """Sessions of two events in one millisecond, `tie.a` and `tie.b`: kind, then seq, then id says which is later."""
    places = list(product(("foreground", "activity", "exit", "passive"), (0, 1), ("x", "y")))
    found, facts = [], []
    for index, (a, b) in enumerate(permutations(places, 2)):
        if a[2] == b[2]:
            continue
        start_ms = _T0 + index * 60_000
        found.append(_odd_session(Random(index), "tied", "device", index, start_ms) | {"user_ids": ["tied"]})
        for name, (kind, seq, id) in (("tie.a", a), ("tie.b", b)):
            facts.append(
                {
                    **_odd_event(Random(index), "tied", "device", f"{index}{id}", start_ms),
                    "name": name,
                    "kind": kind,
                    "seq": seq,
                }
            )
    store.insert("session_rows", b"\n".join(map(orjson.dumps, found)), token="ties")
    store.insert(table, b"\n".join(map(orjson.dumps, facts)), token="ties")


def _by_heart(store: Store, table: str) -> None:
    """One session: a, and 100 s later another, with b and c soon after it; a again, and one event more."""
    start_ms = _T0 + 7 * _DAY_MS
    told = (("a", 0), ("a", 100), ("b", 105), ("c", 106), ("a", 200), ("end", 201))
    found = _odd_session(Random(1), "by.heart", "device", 0, start_ms) | {"first_event_id": "h0"}
    facts = [
        {
            **_odd_event(Random(1), "by.heart", "device", f"h{index}", start_ms + after_s * 1_000),
            "name": name,
            "kind": "activity",
        }
        for index, (name, after_s) in enumerate(told)
    ]
    store.insert("session_rows", orjson.dumps(found), token="heart")
    store.insert(table, b"\n".join(map(orjson.dumps, facts)), token="heart")


def _outdated(store: Store, table: str) -> None:
    """Earlier revisions, sessions taken back, and later copies of events: nothing of it may be seen."""
    store.command(
        "INSERT INTO session_rows (* EXCEPT (version)) SELECT * REPLACE (1 AS revision, 'closed' AS status,"
        " 'outdated' AS user_id, ['outdated'] AS user_ids, 99 AS crash_count)"
        " FROM session_rows WHERE cityHash64(session_id) % 3 = 0"
    )
    store.command(
        "INSERT INTO session_rows (app_id, device_id, session_id, started_at, revision, is_deleted, status)"
        " SELECT app_id, device_id, reinterpretAsUUID(MD5(toString(session_id))),"
        " started_at + toIntervalMillisecond(2), 9, 1, 'open' FROM session_rows WHERE cityHash64(session_id) % 4 = 0"
    )
    store.command(
        f"INSERT INTO {table} (app_id, device_id, event_id, time, raw_time, name, kind, attributes, offset)"
        " SELECT app_id, device_id, event_id, time + toIntervalMinute(30), raw_time, 'app.crash', 'crash',"
        f" map('plan', '1'), offset + 1000000 FROM {table.replace('feed', 'rows')} WHERE cityHash64(event_id) % 3 = 0"
    )


def _seconds(time_ms: int) -> Any:
    return f"{time_ms // 1_000}.{time_ms % 1_000:03d}"
