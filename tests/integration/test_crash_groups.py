"""Groups of crashes against plain Python over the events; and all that were recorded, checked by hand."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from random import Random
from typing import Any
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.store import Store
from pipeline.domain.event import RANK
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.query import crash_group, crashes
from pipeline.query.compare import Side
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from pipeline.query.issues import compare_issues
from pipeline.query.statement import Statement
from pipeline.roles.regroup import regroup
from pipeline.storage.rows import event_copy_row, event_line, unpacked
from tests.support.analysts import Traffic, fill, recorded
from tests.support.expected_rows import Row
from tests.support.migrated import migrate
from tests.support.stack import unavailable

ALL = "app_id = {app:String}, from = '2000-01-01', until = '2090-01-01'"
RANGE = "(app_id = {app:String}, from = {from:String}, until = {until:String})"
STEPS = ("app.screen.view", "app.widget.click", "app.screen.click", "http.client.request")


class Filled:
    """A database with traffic in it."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self.store, self.traffic = store, traffic
        starts = defaultdict(list)
        for row in traffic.sessions:
            starts[row["app_id"], row["device_id"]].append(row)
        self.sessions = traffic.sessions
        self.events: list[tuple[Row, native.NativeEvent]] = []
        """Each event in a session, with that."""
        for device, event in traffic.attributes():
            begun = [row for row in starts[device] if row["started_at_ms"] <= event.time_ms]
            if begun:
                self.events.append((max(begun, key=lambda row: int(row["started_at_ms"])), event))

    def ask(self, sql: str, **parameters: Any) -> list[Row]:
        return [orjson.loads(line) for line in self.store.query(sql, parameters).splitlines()]

    def run(self, statement: Statement) -> list[Row]:
        return self.ask(statement.sql, **statement.parameters)


STACKS = (
    ("crash", "E", "\tat {app}.Cart.pay(Cart.kt:{n})\n\tat {app}.Main.on(Main.kt:{n})\n\tat android.os.L.go(L:{n})"),
    ("crash", "E", "\tat {app}.Pay.pay(Pay.kt:{n})\n\tat {app}.Main.on(Main.kt:{n})\n\tat android.os.L.go(L:{n})"),
    ("crash", "F", "\tat {app}.Cart.pay(Cart.kt:{n})\n\tat {app}.Main.on(Main.kt:{n})"),
    ("exception", "E", "#0      Cart.pay (package:shop/cart.dart:{n}:3)\n#1   Main.on (package:shop/main.dart:{n}:9)"),
    ("exception", "NSRangeException", "0   Shop Cart.pay() + {n}\n1   Shop Main.on() + {n}"),
    ("anr", "q{n}.b", '"main" prio=5\n  at {app}.Cart.read(Cart.kt:{n})\n"worker" prio=5\n  at {app}.N{n}.run(N.kt:1)'),
)  # fmt: skip
NAMES = {"crash": "app.crash", "exception": "exception", "anr": "app.anr"}


def made(random: Random) -> Iterator[native.Envelope]:
    """Two apps, of which most sessions have something, of few groups; some of it comes late, and some twice."""
    t0 = 1_767_600_000_000
    for device in range(60):
        app = f"org.example.{'shop' if device % 4 else 'other'}"
        resource = {
            "service.version": random.choice(("1.9.0", "1.10.0", "2.0")), "os.name": "Android",
            "os.version": random.choice("56"), "device.model.name": random.choice(("A", "B", "C")),
        }  # fmt: skip
        user = {"id": f"u{device % 25}"} if device % 5 else {}
        for visit in range(random.randrange(1, 6)):
            at_ms = t0 + visit * 40_000_000 + random.randrange(10_000_000)
            events = [_event("device.app.lifecycle", at_ms, {"android.app.state": "foreground"})]
            for _ in range(random.randrange(14)):
                at_ms += random.randrange(5_000)
                events.append(_event(*random.choice(DOINGS)(random, at_ms)))
            for _ in range(random.choice((0, 1, 1, 2))):
                at_ms += random.randrange(3_000)
                kind, type, stack = random.choice(STACKS)
                n = random.randrange(1, 400)
                said = {"exception.type": type.format(n=n), "exception.message": f"failed at {n}"}
                stack = stack.format(app=app, n=n)
                events.append(_event(NAMES[kind], at_ms, {**said, "exception.stacktrace": stack}))
            for number, each in enumerate(events):
                each["id"] = f"{device}-{visit}-{number}"
            parts = [events[:-1], events[-1:]] if visit % 2 else [events]
            for part in filter(None, parts):
                body = {
                    "v": 1,
                    "app_id": app,
                    "device_id": f"d{device}",
                    "resource": resource,
                    "user": user,
                    "events": part,
                }
                envelope = native.decode(orjson.dumps(body), f"{app}/d{device}".encode(), at_ms + 60_000)
                assert isinstance(envelope, native.Envelope), envelope
                yield envelope


def _event(name: str, time_ms: int, attributes: Row) -> Row:
    return {"name": name, "time": time_ms, "attributes": attributes}


DOINGS = (
    lambda random, ms: ("app.screen.view", ms, {"app.screen.name": random.choice(("Home", "Cart", "Pay"))}),
    lambda random, ms: ("app.widget.click", ms, {"app.widget.name": random.choice(("Buy", "Back"))}),
    lambda random, ms: ("log", ms, {"body": "nothing"}),
    lambda random, ms: ("http.client.request", ms, {
        "http.request.method": "GET", "url.full": f"https://shop.example/cart/{random.randrange(900)}?q=1",
        "http.response.status_code": random.choice((200, 500)),
    }),
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(clickhouse: EmbeddedClickHouse) -> Iterator[Filled]:
    yield from _filled(clickhouse, Traffic(made(Random(4))))


@pytest.fixture(scope="module")
def empty(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    """A database for events without sessions."""
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    yield store
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def _filled(clickhouse: EmbeddedClickHouse, traffic: Traffic) -> Iterator[Filled]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    fill(store, traffic)
    yield Filled(store, traffic)
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def kind_of(event: native.NativeEvent) -> str:
    if event.kind.label in ("crash", "exception"):
        return "crash"
    return {"app.anr": "anr", "exception": "exception"}.get(event.name, "")


def alike(app: str, event: native.NativeEvent) -> tuple[str, ...]:
    """What the crashes above have in common: kind, type, and three own calls without lines and offsets."""
    attributes = orjson.loads(event.attributes)
    stack = attributes["exception.stacktrace"].split("\n")
    if stack[0].startswith('"main"'):
        stack = stack[: next(i for i, line in enumerate(stack) if line.startswith('"worker'))]
    own = [line for line in stack if f" {app}." in line or re.match(r"\d+ |#\d", line)]
    assert own, stack
    calls = [re.sub(r"^#?\d+ +|:\d+|\+ \d+$", "", line).strip() for line in own]
    kind = kind_of(event)
    return kind, "" if kind == "anr" else attributes["exception.type"], *calls[:3]


def number_parts(version: str) -> tuple[list[int], str]:
    return [int(part) for part in re.findall(r"\d+", version)], version


def summed(found: list[tuple[Row, native.NativeEvent]], sessions: int) -> dict[str, Any]:
    """A row of `crash_groups` of some events."""
    times = [event.time_ms for _, event in found]
    versions = sorted({row["app_version"] for row, _ in found} - {""}, key=number_parts)
    ids = {row["session_id"] for row, _ in found}
    return {
        "crashes": len(found),
        "sessions": len(ids),
        "users": len({row["user_id"] for row, _ in found} - {""}),
        "devices": len({row["device_id"] for row, _ in found}),
        "session_share": len(ids) / sessions,
        "first_seen": text_of(min(times)),
        "last_seen": text_of(max(times)),
        "first_version": versions[0],
        "last_version": versions[-1],
    }


def text_of(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%d %H:%M:%S}.{ms % 1_000:03d}"


def with_numbers(row: Row) -> dict[str, Any]:
    counts = {name: int(row[name]) for name in ("crashes", "sessions", "users", "devices")}
    return {**row, **counts}


@pytest.mark.parametrize("part", [(0.0, 1.0), (0.25, 0.6)], ids=["whole", "a part"])
def test_groups_are_those_of_plain_python(filled: Filled, part: tuple[float, float]) -> None:
    starts = sorted(row["started_at_ms"] for row in filled.sessions)
    first, last = (starts[int(share * (len(starts) - 1))] for share in part)
    last += part[1] == 1.0
    several = 0
    for app in sorted({row["app_id"] for row in filled.sessions}):
        in_range = [
            row for row in filled.sessions if row["app_id"] == app and first <= row["started_at_ms"] < last
        ]
        ids = {row["session_id"] for row in in_range}
        wanted = defaultdict(list)
        for row, event in filled.events:
            if row["session_id"] in ids and kind_of(event):
                wanted[alike(app, event)].append((row, event))
        span = {"app": app, "from": text_of(first), "until": text_of(last)}
        found = filled.ask(f"SELECT * FROM crash_groups{RANGE}", **span)
        assert found == filled.run(crashes.groups((app, first, last)))
        summaries = sorted(orjson.dumps(summed(each, len(in_range))) for each in wanted.values())
        columns = summed(filled.events[:1], 1) if filled.events else {}
        shown = sorted(orjson.dumps({name: with_numbers(row)[name] for name in columns}) for row in found)
        assert shown == summaries
        # And the very same events are together.
        of_event = {
            (row["device_id"], row["event_id"]): row["crash_group"]
            for row in filled.ask(f"SELECT device_id, event_id, crash_group FROM crash_events{RANGE}", **span)
        }
        together = [{of_event[row["device_id"], event.id] for row, event in each} for each in wanted.values()]
        assert all(len(each) == 1 for each in together)
        assert len(set().union(*together)) == len(wanted)
        several += sum(len(each) > 1 for each in wanted.values())
    assert several > 5, "nothing was there to be grouped"


def test_a_groups_page_counts_what_plain_python_counts(filled: Filled) -> None:
    app = Counter(row["app_id"] for row, event in filled.events if kind_of(event)).most_common(1)[0][0]
    (whole,) = filled.ask(f"SELECT * FROM crash_groups({ALL}) LIMIT 1", app=app)
    group = whole["crash_group"]
    named = filled.ask(
        f"SELECT device_id, event_id FROM crash_events({ALL}) WHERE crash_group = {{g:String}}",
        app=app,
        g=group,
    )
    ids = {(row["device_id"], row["event_id"]) for row in named}
    found = [(row, event) for row, event in filled.events if (row["device_id"], event.id) in ids]
    span = (app, 0, 4_000_000_000_000)
    filtered = where(parse('os.name != "nothing"'))
    told = crash_group.told(filled.run(crash_group.whole(span, group, where=filtered)))
    assert told is not None
    parts = told.parts
    (of_all,) = (row for row in parts if row["part"] == "all")
    assert {name: of_all[name] for name in whole if name != "crash_group"} == {
        name: value for name, value in whole.items() if name != "crash_group"
    }
    for part, value in (("version", "app_version"), ("os", "os_name"), ("model", "device_model")):
        sessions = defaultdict(set)
        for row, _ in found:
            sessions[row[value]].add(row["session_id"])
        counted: Counter[str] = Counter()
        for row in parts:
            if row["part"] == part:
                counted[row["value"]] += int(row["sessions"])
        assert counted == {name: len(of_it) for name, of_it in sessions.items()}
    days = Counter((row["started_at_ms"] // 86_400_000 * 86_400_000, row["app_version"]) for row, _ in found)
    assert {(row["bucket_ms"], row["group"]): int(row["crashes"]) for row in told.days} == days
    newest = max(found, key=lambda each: (each[1].time_ms, each[1].id))
    (latest,) = filled.run(crash_group.latest(app, told.last_event))
    assert latest["event_id"] == newest[1].id
    listed = told.sessions
    assert listed[0]["session_id"] == newest[0]["session_id"] and len(listed) == min(
        25, int(whole["sessions"])
    )
    # The filter finds the same sessions, and the opposite all others.
    passing = {
        is_in: {
            row["session_id"]
            for row in filled.run(
                Statement(
                    f"SELECT session_id FROM sessions WHERE app_id = {{app:String}} AND {condition.sql}",
                    {"app": app, **condition.parameters},
                )
            )
        }
        for is_in, condition in (
            (True, where(parse(f'crash.group = "{group}"'))),
            (False, where(parse(f'crash.group != "{group}"'))),
        )
    }
    assert passing[True] == {row["session_id"] for row, _ in found}
    assert passing[True] | passing[False] == {
        row["session_id"] for row in filled.sessions if row["app_id"] == app
    }
    assert not passing[True] & passing[False]


def test_paths_are_the_events_before(filled: Filled) -> None:
    """Which events and in which order, by hand; the words are those of the timeline."""
    compared = 0
    for app in sorted({row["app_id"] for row, event in filled.events if kind_of(event)}):
        words = {
            (row["device_id"], row["event_id"]): row["what"]
            for row in filled.ask(
                "SELECT device_id, event_id, what FROM narrated_events WHERE app_id = {app:String}", app=app
            )
        }
        (worst,) = filled.ask(f"SELECT crash_group FROM crash_groups({ALL}) LIMIT 1", app=app)
        group = worst["crash_group"]
        crashed: dict[str, int] = {}
        for row in filled.ask(
            f"SELECT session_id, toUnixTimestamp64Milli(time) AS ms FROM crash_events({ALL})"
            " WHERE crash_group = {g:String}",
            app=app,
            g=group,
        ):
            crashed[row["session_id"]] = max(crashed.get(row["session_id"], 0), int(row["ms"]))
        wanted = {}
        for id, at_ms in crashed.items():
            before = [
                event
                for row, event in filled.events
                if row["session_id"] == id and event.name in STEPS and event.time_ms <= at_ms
            ]
            before.sort(
                key=lambda event: (event.time_ms, RANK[event.kind], event.seq, event.id), reverse=True
            )
            device = next(row["device_id"] for row in filled.sessions if row["session_id"] == id)
            texts = [re.sub(r"https?://|\?\S*", "", words[device, event.id]) for event in before]
            wanted[id] = [re.sub(r"/[^/ ]*[0-9][^/ ]{4,}|/[0-9]+", "/{}", name) for name, _ in groupby(texts)]
        newest = filled.run(crash_group.newest((app, 0, 4_000_000_000_000), group))
        paths = filled.run(crash_group.paths(app, newest))
        view = filled.ask(
            f"SELECT session_id, steps FROM crash_paths({ALL}, crash_group = {{g:String}})", app=app, g=group
        )
        assert paths == view
        found = {row["session_id"]: row["steps"] for row in paths}
        assert found.keys() == wanted.keys()
        for id, steps in wanted.items():
            assert found[id] == [name for name, _ in groupby(steps)][:10]
            compared += len(steps) > 2
    assert compared > 5


BEYOND_BOUNDS = "NSRangeException: *** -[__NSArray0 objectAtIndex:]: index 1 beyond bounds for empty array"
NOT_RESPONDING = "ANR: Application Not Responding for at least 5s"
RECORDED = {
    # Two crashes in the same place, and three; without symbols, told apart by signal and libraries.
    "org.wikimedia.wikipedia": [
        ("crash", BEYOND_BOUNDS, "Wikipedia", 2),
        ("crash", "SIGABRT", "Wikipedia", 3),
    ],
    # One build has the app's code in DemoApp, the others in DemoApp.debug.dylib.
    "sh.measure.DemoApp": [
        ("crash", BEYOND_BOUNDS, "DemoApp", 2),
        ("crash", "SIGABRT", "DemoApp", 4),
        ("crash", "SIGSEGV", "DemoApp", 1),
    ],
    # Dart without symbols has no method and no library: the message tells them apart.
    "sh.measure.android.flutter": [
        ("anr", NOT_RESPONDING, "MessageQueue.nativePollOnce (MessageQueue.java)", 1),
        ("crash", "RuntimeException: Native app crashed", "k1.a.d", 3),
        ("exception", "ArgumentError: Invalid argument(s): This is an error", "", 32),
        ("exception", "ArgumentError: Invalid argument(s): This is an error",
         "_MainScreenState._trackError (package:measure_flutter_example/src/screen_main.dart)", 1),
        ("exception", "FormatException: This is an exception", "", 3),
        ("exception", "FormatException: This is an exception from inside Future.microtask", "", 14),
        ("exception", "FormatException: This is an exception from inside Isolate.run", "", 3),
        ("exception", "FormatException: This is an exception using Chain.capture from an async block", "", 3),
        ("exception", "OutOfMemoryError: Out of Memory", "", 1),
        ("exception", "String: are you serious? 😕", "", 3),
        ("exception", "ZK: MissingPluginException(No implementation found for method non_existent_method on channel"
         " non_existent_channel)", "", 3),
        ("exception", "_TypeError: Null check operator used on a null value", "", 3),
    ],
    # Shrunk code: every exception of the demonstration comes from one obfuscated method, so types tell them apart.
    "sh.measure.sample": [
        ("anr", NOT_RESPONDING, "L3.n.onClick", 1),
        ("crash", "IllegalAccessException: Exception to test a screenshot", "L3.n.onClick", 5),
        ("crash", "IllegalAccessException: Unhandled Exception", "ZygoteInit.main (ZygoteInit.java)", 1),
        ("crash", "L3.m: This is a nested custom exception", "L3.n.onClick", 1),
        ("crash", "OutOfMemoryError: Failed to allocate a 104857616 byte allocation with 55346952 free bytes and 52MB"
         " until OOM, target footprint 268435456, growth limit 268435456", "L3.n.onClick", 2),
        ("crash", "RemoteServiceException$CrashedByAdbException: shell-induced crash",
         "ActivityThread.throwRemoteServiceException (ActivityThread.java)", 3),
        ("crash", "StackOverflowError: stack size 8MB", "ExceptionDemoActivity.p", 2),
    ],
}  # fmt: skip
"""By hand, from the recorded bodies: kind, title of the latest, where, how many."""


def test_all_that_was_recorded(empty: Store) -> None:
    traffic = recorded()
    if traffic is None:
        unavailable("recorded traffic not found beside the repository")
        raise AssertionError
    lines = []
    for offset, envelope in enumerate(traffic.envelopes):
        envelope.events = [event for event in envelope.events if kind_of(event)]
        lines.append(event_line(envelope, topic="sdk-events", partition=0, offset=offset))
    empty.insert("z_envelope_feed", b"\n".join(filter(None, lines)), token="recorded")
    rows = empty.query(
        "SELECT app_id, any(kind) AS kind, argMax(title, time) AS title, any(culprit) AS at, toUInt32(count()) AS n"
        " FROM z_crashes WHERE app_id != 'app' GROUP BY app_id, crash_group ORDER BY ALL"
    )
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for app, *group in map(tuple, map(dict.values, map(orjson.loads, rows.splitlines()))):
        found[app].append(tuple(group))
    assert found == RECORDED
    # Nothing is of no group, and nothing changes when it is grouped from what is stored.
    events = [event for _, event in traffic.attributes()]
    assert sum(each[-1] for groups in found.values() for each in groups) == len(events) == 97
    stored = "SELECT * FROM z_crashes ORDER BY ALL"
    before = empty.query(stored)
    assert regroup(empty, "again", all=True) == len(before.splitlines()) >= len(events)
    assert empty.query(stored) == before


def test_an_event_of_an_envelope_or_alone_and_one_that_is_taken_back(empty: Store) -> None:
    def envelope(device: str) -> native.Envelope:
        body = {
            "v": 1, "app_id": "app", "device_id": device,
            "events": [
                {"id": "a", "name": "log", "time": 1_767_600_000_000},
                {"id": "b", "name": "app.crash", "time": 1_767_600_001_000, "attributes": {"exception.type": "E"}},
                {"id": "c", "name": "exception", "time": 1_767_600_002_000, "attributes": {"exception.type": "F"}},
            ],
        }  # fmt: skip
        made = native.decode(orjson.dumps(body), f"app/{device}".encode(), 1_767_600_003_000)
        assert isinstance(made, native.Envelope)
        return made

    def stored(device: str) -> list[Row]:
        rows = empty.query(
            "SELECT * EXCEPT (device_id) FROM z_crash_rows FINAL WHERE app_id = 'app' AND is_deleted = 0"
            " AND device_id = {device:String} ORDER BY event_id",
            {"device": device},
        )
        return [orjson.loads(row) for row in rows.splitlines()]

    line = event_line(envelope("d"), topic="sdk-events", partition=0, offset=7)
    empty.insert("z_envelope_feed", line, token="together")
    assert [(row["event_id"], row["title"]) for row in stored("d")] == [("b", "E"), ("c", "F")]
    # In two parts, as of a large record, and event by event.
    for start, stop in ((0, 2), (2, 3)):
        part = event_line(envelope("e"), topic="sdk-events", partition=0, offset=7, start=start, stop=stop)
        empty.insert("z_event_feed", unpacked(part), token=f"alone-{start}")
    assert stored("e") == stored("d")
    copy = event_copy_row(
        "app", "d", "b", raw_time_ms=1_767_600_001_000, offset=7, event_index=1,
        stored_on="2026-01-05", retention_days=0,
    )  # fmt: skip
    empty.insert("z_event_copy_feed", copy, token="copy")
    assert [row["event_id"] for row in stored("d")] == ["c"]


def wrong(app: str, event: native.NativeEvent) -> tuple[str, ...]:
    """The issue of an event by hand; nothing where it is none."""
    if kind_of(event):
        return alike(app, event)
    told = orjson.loads(event.attributes)
    status = str(told.get("http.response.status_code", ""))
    if event.name != "http.client.request" or int(status) < 400:
        return ()
    return "request", "GET shop.example/cart/{}", status


def test_two_sides_issue_by_issue_are_those_of_plain_python(filled: Filled) -> None:
    """Two releases, and two times of one; each side has its own range."""
    app = "org.example.shop"
    mine = [row for row in filled.sessions if row["app_id"] == app]
    starts = sorted(row["started_at_ms"] for row in mine)
    first, middle, last = starts[0], starts[len(starts) // 2], starts[-1] + 1
    of_event = {
        (row["device_id"], row["event_id"]): (row["kind"], row["issue"])
        for row in filled.ask(f"SELECT device_id, event_id, kind, issue FROM issue_events({ALL})", app=app)
    }
    verdicts = set()
    for (version_a, *span_a), (version_b, *span_b) in (
        (("1.9.0", first, last), ("1.10.0", first, last)),
        (("1.9.0", first, middle), ("2.0", middle, last)),
        (("2.0", first, middle), ("2.0", middle, last)),
        (("2.0", first, last), ("no such version", first, last)),
    ):
        sides = [
            Side(Statement("app_version = {f0:String}", {"f0": version}), *span)
            for version, span in ((version_a, span_a), (version_b, span_b))
        ]
        wanted: dict[tuple[str, str], dict[str, int]] = {}
        together = defaultdict(set)
        wholes = {}
        for name, version, span in (("a", version_a, span_a), ("b", version_b, span_b)):
            chosen = {
                row["session_id"]: row
                for row in mine
                if row["app_version"] == version and span[0] <= row["started_at_ms"] < span[1]
            }
            wholes[name] = (
                len(chosen),
                len({row["user_id"] for row in chosen.values()} - {""}),
                len({row["device_id"] for row in chosen.values()}),
            )
            met = defaultdict(list)
            for row, event in filled.events:
                if row["session_id"] in chosen and (issue := wrong(app, event)):
                    met[of_event[row["device_id"], event.id]].append(row)
                    together[issue].add(of_event[row["device_id"], event.id])
            for key, rows in met.items():
                wanted.setdefault(key, {})[f"events_{name}"] = len(rows)
                wanted[key][f"sessions_{name}"] = len({row["session_id"] for row in rows})
                wanted[key][f"users_{name}"] = len({row["user_id"] for row in rows} - {""})
                wanted[key][f"devices_{name}"] = len({row["device_id"] for row in rows})
        assert all(len(keys) == 1 for keys in together.values()) and len(together) == len(wanted) > 3
        found = filled.run(compare_issues(app, *sides))
        columns = [f"{count}_{name}" for name in "ab" for count in ("events", "sessions", "users", "devices")]
        assert {(row["kind"], row["issue"]): [int(row[each]) for each in columns] for row in found} == {
            key: [counts.get(each, 0) for each in columns] for key, counts in wanted.items()
        }
        for row in found:
            assert {
                name: tuple(int(row[f"all_{count}_{name}"]) for count in ("sessions", "users", "devices"))
                for name in "ab"
            } == wholes
            verdicts.add((row["sessions_a"] in (0, "0"), row["sessions_b"] in (0, "0")))
            assert int(row["by_users"]) == (wholes["a"][1] > 0 and wholes["b"][1] > 0)
        cut = filled.run(compare_issues(app, *sides, most=2))
        assert [row["issue"] for row in cut] == [row["issue"] for row in found[:2]]
        assert {int(row["cut"]) for row in cut} == {len(found) - 2} and {
            int(row["cut"]) for row in found
        } == {0}
    assert (False, False) in verdicts and (False, True) in verdicts
