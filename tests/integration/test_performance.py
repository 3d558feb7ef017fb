"""Starts, loads, web vitals, frames, processor and memory against plain Python over the same events."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.query import performance
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from pipeline.query.performance import START_BOUNDS_MS, VITAL_BOUNDS
from pipeline.query.statement import Statement
from tests.support.analysts import Traffic, fill
from tests.support.expected_rows import Row
from tests.support.migrated import migrate

T0 = 1_767_600_000_000
APP, SPAN = "org.example.shop", ("org.example.shop", T0 - 1, T0 + 86_400_000 * 30)
VIEW = "app_id = 'org.example.shop', from = '2000-01-01', until = '2090-01-01'"
Z = 1.959964
Key = tuple[str, str, str]
"""Subject, label, version."""


def made(random: Random) -> Iterator[native.Envelope]:
    for device in range(40):
        version = random.choice(("1.9", "1.10", "2.0"))
        for visit in range(random.randrange(1, 5)):
            at_ms = T0 + visit * 40_000_000 + random.randrange(10_000_000)
            events = [("device.app.lifecycle", {"android.app.state": "foreground"})]
            for _ in range(random.randrange(12)):
                events.append(random.choice(DOINGS)(random))
            if random.random() < 0.3:
                events.append(("app.crash", {"exception.type": "E"}))
            body = {
                "v": 1, "app_id": APP if device % 4 else "org.example.other", "device_id": f"d{device}",
                "resource": {"service.version": version, "os.name": "Android"},
                "events": [
                    {"id": f"{device}-{visit}-{n}", "name": name, "time": at_ms + n * 1_000, "attributes": told}
                    for n, (name, told) in enumerate(events)
                ],
            }  # fmt: skip
            key = f"{body['app_id']}/d{device}".encode()
            envelope = native.decode(orjson.dumps(body), key, at_ms + 60_000)
            assert isinstance(envelope, native.Envelope), envelope
            yield envelope


DOINGS = (
    lambda r: ("app.launch", {"app.launch.type": "warm", "app.launch.duration_ms": r.randrange(1, 4_000)}),
    # As any SDK may write it, and what is no measurement.
    lambda r: ("hot_launch", {"app.launch.type": "HOT", "app.launch.duration_ms": f"{r.random() * 3_000}"}),
    lambda r: ("span", {"app.launch.type": "cold", "app.launch.duration_ms": r.choice((-1, "x", 6e5 + 1, 4999, 5000))}),
    lambda r: ("span", {"app.screen.name": r.choice(("Home", "Cart")),
                        "app.screen.load_ms": r.choice((999, 1000, 20))}),
    lambda r: ("browser.web_vital", {"browser.web_vital.name": r.choice(("lcp", "CLS")),
                                     "browser.web_vital.value": r.choice((0.1, 0.2, 2_500, 2_501, 4_000, 4_000.5))}),
    lambda r: ("app.screen.view", {"browser.web_vital.inp": r.randrange(900), "browser.web_vital.fcp": 1_000}),
    lambda r: ("app.jank", {"app.jank.frame_count": r.randrange(4), "app.jank.threshold": r.choice((0.016, 0.7))}),
    lambda r: ("span", {"app.frames.total": 500, "app.frames.slow": r.randrange(9), "app.frames.frozen": 0}),
    lambda r: ("cpu_usage", {"process.cpu.utilization": r.random()}),
    lambda r: ("memory_usage", {"process.memory.usage": r.randrange(2**30), "jvm.memory.used": 2**20}),
    lambda r: ("log", {"body": "app.launch.duration_ms"}),
)  # fmt: skip


class World:
    """A database with the events, and what Python says of them."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self.store = store
        self.sessions = [row for row in traffic.sessions if row["app_id"] == APP]
        self.measured: list[tuple[Row, Key, float]] = []
        versions = {envelope.device_id: orjson.loads(envelope.resource) for envelope in traffic.envelopes}
        for (app, device), event in traffic.attributes():
            begun = [s for s in self.sessions if (s["app_id"], s["device_id"]) == (app, device)]
            begun = [s for s in begun if s["started_at_ms"] <= event.time_ms]
            if begun:
                session = max(begun, key=lambda row: int(row["started_at_ms"]))
                version = versions[device]["service.version"]
                for subject, label, value in told(orjson.loads(event.attributes)):
                    self.measured.append((session, (subject, label, version), value))

    def rows(self, sql: str | Statement) -> list[Row]:
        asked = sql if isinstance(sql, Statement) else Statement(sql, {})
        return [orjson.loads(line) for line in self.store.query(asked.sql, asked.parameters).splitlines()]

    def groups(self, subject: str, by: str) -> dict[tuple[str, str], list[tuple[Row, float]]]:
        found = defaultdict(list)
        for session, (of, label, version), value in self.measured:
            if of == subject:
                found[label, version if by else ""].append((session, value))
        return found


def told(attributes: Row) -> Iterator[tuple[str, str, float]]:
    def number(name: str) -> float | None:
        try:
            value = float(attributes[name])
        except (KeyError, ValueError):
            return None
        return value if value >= 0 else None

    pairs = [
        ("start", str(attributes.get("app.launch.type", "")).lower(), "app.launch.duration_ms"),
        ("screen", attributes.get("app.screen.name", ""), "app.screen.load_ms"),
        ("vital", str(attributes.get("browser.web_vital.name", "")).lower(), "browser.web_vital.value"),
        *[("vital", name, f"browser.web_vital.{name}") for name in VITAL_BOUNDS],
        (
            "frames",
            "frozen" if attributes.get("app.jank.threshold", 0) >= 0.7 else "slow",
            "app.jank.frame_count",
        ),
        *[("frames", name, f"app.frames.{name}") for name in ("total", "slow", "frozen")],
        ("cpu", "process", "process.cpu.utilization"),
        ("memory", "process", "process.memory.usage"),
        ("memory", "jvm_heap", "jvm.memory.used"),
    ]
    for subject, label, name in pairs:
        value = number(name)
        if value is not None and label and not (subject in ("start", "screen") and value > 600_000):
            yield subject, label, value


def quantile(values: list[float], p: float) -> tuple[float, float | None, float | None]:
    n, ordered = len(values), sorted(values)
    spread = Z * math.sqrt(n * p * (1 - p))
    low, high = math.ceil(n * p - spread), math.ceil(n * p + spread)
    return (
        ordered[math.ceil(n * p) - 1],
        ordered[low - 1] if low >= 1 else None,
        ordered[high - 1] if high <= n else None,
    )


def wilson(part: int, whole: int) -> tuple[float, float]:
    share, z2 = part / whole, Z * Z
    half = Z * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return tuple((share + z2 / (2 * whole) + side * half) / (1 + z2 / whole) for side in (-1, 1))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def world(clickhouse: EmbeddedClickHouse) -> Iterator[World]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    traffic = Traffic(made(Random(35)))
    fill(store, traffic)
    yield World(store, traffic)
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def is_bad(subject: str, label: str, value: float) -> bool:
    if subject == "vital":
        return value > VITAL_BOUNDS[label][1]
    return value >= (START_BOUNDS_MS[label] if subject == "start" else 1_000)


@pytest.mark.parametrize("subject", performance.SUBJECTS)
@pytest.mark.parametrize("by", ["", "app_version"])
def test_quantiles_shares_and_intervals(
    world: World, subject: performance.Subject, by: performance.By
) -> None:
    expected = world.groups(subject, by)
    found = {
        (row["label"], row["group"]): row for row in world.rows(performance.measured(SPAN, [subject], by))
    }
    view = world.rows(f"SELECT * FROM performance({VIEW}, subject = '{subject}', by = '{by}')")
    assert len(expected) >= 2
    assert found.keys() == expected.keys() == {(row["label"], row["group"]) for row in view}
    for row in view:
        assert {
            name: found[row["label"], row["group"]][name] for name in row if name != "good_share"
        } == pytest.approx({name: value for name, value in row.items() if name != "good_share"})
    for key, members in expected.items():
        row, values = found[key], [value for _, value in members]
        bad = sum(is_bad(subject, key[0], value) for value in values)
        assert (int(row["measurements"]), int(row["bad_count"])) == (len(values), bad)
        assert int(row["sessions"]) == len({session["session_id"] for session, _ in members})
        for name, p in performance.QUANTILES.items():
            assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(quantile(values, p))
        assert (row["bad_low"], row["bad_high"]) == pytest.approx(wilson(bad, len(values)), abs=1e-9)


def test_frames_are_of_all_sessions_in_the_foreground(world: World) -> None:
    at_once = world.rows(performance.measured(SPAN, (*performance.SUBJECTS, "frames"), "app_version"))
    told = [performance.frames_of(row) for row in at_once if row["subject"] == "frames"]
    rows = {(row["kind"], row["group"]): row for row in told}
    for subject in performance.SUBJECTS:
        alone = world.rows(performance.measured(SPAN, [subject], "app_version"))
        assert [
            {name: row[name] for name in alone[0]} for row in at_once if row["subject"] == subject
        ] == alone
    expected = {
        key: value for key, value in world.groups("frames", "app_version").items() if key[0] != "total"
    }
    assert rows.keys() == expected.keys()
    for (kind, version), members in expected.items():
        row = rows[kind, version]
        whole = sum(s["state"] == "foreground" and s["app_version"] == version for s in world.sessions)
        jerky = len({session["session_id"] for session, value in members if value})
        assert (float(row["frames"]), int(row["sessions"])) == (sum(value for _, value in members), jerky)
        assert (row["share_low"], row["share_high"]) == pytest.approx(wilson(jerky, whole), abs=1e-9)
    view = world.rows(f"SELECT * FROM slow_frames({VIEW}, by = 'app_version')")
    assert [{**rows[row["kind"], row["group"]]} for row in view] == [pytest.approx(row) for row in view]


def test_a_filter_narrows_both(world: World) -> None:
    condition = where(parse('app.version = "2.0"'))
    everything = world.groups("start", "app_version")
    rows = world.rows(performance.measured(SPAN, ["start"], "", condition))
    assert {row["label"]: int(row["measurements"]) for row in rows} == {
        label: len(members) for (label, version), members in everything.items() if version == "2.0"
    }
    assert {row["group"] for row in world.rows(performance.measured(SPAN, ["frames"], "", condition))} == {""}


def test_what_a_session_took_of_the_device(world: World) -> None:
    rows = {row["session_id"]: row for row in world.rows(f"SELECT * FROM session_resources({VIEW})")}
    expected: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for session, (subject, label, _), value in world.measured:
        expected[session["session_id"]].append((subject, label, value))
    used = {id: of for id, of in expected.items() if any(each[0] in ("cpu", "memory") for each in of)}
    assert rows.keys() == used.keys()
    for id, of in used.items():
        cpu = [value for subject, _, value in of if subject == "cpu"]
        assert rows[id]["cpu_max"] == (pytest.approx(max(cpu)) if cpu else None)
        memory = [value for subject, label, value in of if (subject, label) == ("memory", "process")]
        assert rows[id]["memory_mean"] == (pytest.approx(sum(memory) / len(memory)) if memory else None)
    session = next(s for s in world.sessions if s["session_id"] in used)
    own = world.rows(
        performance.of_session(APP, session["device_id"], session["session_id"], session["started_at_ms"])
    )
    told_of_it = sorted((row["subject"], row["label"], row["value"]) for row in own)
    assert [each[:2] for each in told_of_it] == [each[:2] for each in sorted(expected[session["session_id"]])]
    assert [each[2] for each in told_of_it] == pytest.approx(
        [e[2] for e in sorted(expected[session["session_id"]])]
    )
