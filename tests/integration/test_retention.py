"""What is stored is kept for as long as the settings say, and everything is right while some of it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from pipeline.clickhouse.retention import DEAD_LETTERS, EVENTS, SESSIONS, Days, StoredRetention
from pipeline.clickhouse.store import Store
from pipeline.commands.dead_letters import DeadLettersAsked, list_refused
from pipeline.domain.policy import Policies, Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.dead_letters import DeadLetterChoice, by_reason, records
from pipeline.roles.rebuild import Rebuild, RebuildScope
from pipeline.roles.sink.flood import Flood
from pipeline.settings import load
from pipeline.storage.dead_letter import row_of_dead_letter
from tests.support.aged_rows import AGES, DAY_MS, Stage, Watched, age_in_days, kept_for
from tests.support.migrated import empty, migrate
from tests.support.one_device import T0

MONTH = Days(30, {"b": 90})


@pytest.fixture(scope="module")
def database_url(clickhouse: EmbeddedClickHouse) -> Iterator[str]:
    """One database for all tests here."""
    url = f"{clickhouse.url}/test_retention"
    store = Store(url)
    migrate(store)
    store.close()
    yield url
    clickhouse.command("DROP DATABASE test_retention SYNC")


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    """Nothing is stored yet."""
    store = Store(database_url)
    empty(store)
    yield Stage(store)
    store.close()


def test_what_is_expired_is_not_shown_and_is_no_duplicate(stage: Stage) -> None:
    stage.fill()
    kept = kept_for(90)
    assert stage.ages("events", "a") == stage.ages("notable_events", "a") == kept
    assert stage.ages("sessions", "a") == set(AGES)
    found = stage.ledger()
    assert found.received == 6 * len(AGES)
    assert found.expired == 6 * (len(AGES) - len(kept))
    # Of `again` the first copy of each day is one event, since the SDK stamped it anew each day.
    assert (found.events, found.duplicates) == (6 * len(kept), 0)
    assert found.conflicts > 0


def test_ninety_days_set_to_thirty(stage: Stage) -> None:
    """Cut off after some commands and begun again, it ends as it should; everything is right after each of them."""
    stage.fill()
    # Told again with other users: the row of before must not come forth when the newer one goes.
    for age in AGES:
        stage.session("a", age, f"e{age}", revision=4, event_count=3)
    stage.flush()
    before = stage.ledger()
    parts = stage.value("SELECT count() FROM system.parts WHERE database = currentDatabase() AND active")

    def check() -> None:
        found = stage.ledger()
        assert (found.received, found.duplicates) == (before.received, 0)
        # In a few questions: this is asked after every command.
        [events] = stage.rows(
            f"SELECT groupUniqArrayIf({age_in_days('time')}, app_id = 'a') AS of_a,"
            f" groupUniqArrayIf({age_in_days('time')}, app_id = 'b') AS of_b,"
            " count() - uniqExact(app_id, device_id, event_id, raw_time) AS twice FROM events"
        )
        assert set(events["of_b"]) == kept_for(90), "another app keeps its own"
        assert kept_for(30) <= set(events["of_a"]) <= kept_for(90)
        assert events["twice"] == 0
        [sessions] = stage.rows(
            f"SELECT groupUniqArray({age_in_days('started_at')}) AS ages, min(event_count) AS fewest FROM sessions"
            " WHERE app_id = 'a'"
        )
        assert kept_for(60) <= set(sessions["ages"])
        assert sessions["fewest"] == 3

    dropped = 0
    for cut_off_at in (1, 4, 1_000):
        work = StoredRetention(Watched(stage.store, check, cut_off_at))  # type: ignore[arg-type]
        with suppress(KeyboardInterrupt):
            dropped += work.apply(EVENTS, MONTH) + work.apply(SESSIONS, Days(60, {"b": 400}))
    assert stage.ages("events", "a") == stage.ages("notable_events", "a") == kept_for(30)
    assert stage.ages("sessions", "a") == kept_for(60)
    assert stage.ages("sessions", "b") == set(AGES)
    assert stage.ledger().expired == 3 * (2 * len(AGES) - len(kept_for(30)) - len(kept_for(90)))
    for table, days in (
        ("z_event_rows", 30),
        ("z_notable_event_rows", 30),
        ("z_crash_rows", 30),
        ("session_rows", 60),
        ("told_session_rows", 60),
        ("z_session_revision_rows", 60),
    ):
        gone = f"SELECT countIf(app_id = 'a' AND stored_on + {days} < toDate(now('UTC')) - 2) FROM {table}"
        assert stage.value(gone) == 0, f"{table} has what is hidden"
        assert "TTL if(" in stage.store.query(f"SHOW CREATE TABLE {table}").decode()
    assert dropped > 0 and parts > 0
    assert all(
        not each.otherwise and not each.going for each in StoredRetention(stage.store).stored(EVENTS, MONTH)
    )
    assert StoredRetention(stage.store).apply(EVENTS, MONTH) == 0
    # And what is gone does not come back, however long it is to be kept from now on.
    work = StoredRetention(stage.store)
    work.apply(EVENTS, Days(0, {}))
    assert (stage.ages("events", "a"), stage.ages("events", "b")) == (kept_for(30), kept_for(90))
    assert stage.ledger().expired == 3 * (2 * len(AGES) - len(kept_for(30)) - len(kept_for(90)))
    assert [(each.app_id, each.wanted_days, each.otherwise) for each in work.stored(EVENTS, Days(0, {}))] == [
        ("a", 0, 0),
        ("b", 0, 0),
    ]


def test_rows_of_before_are_kept_for_ever_until_they_are_changed(stage: Stage) -> None:
    """Their ledger knows no app; it learns it from the events."""
    for age in AGES:
        stage.record("a", age, f"e{age}", days=0)
    stage.flush()
    stage.store.command(
        "INSERT INTO ledger_records (topic, partition, offset, received, refused)"
        " SELECT topic, partition, offset, received, refused FROM ledger_records FINAL"
    )
    assert (stage.ledger().events, stage.ledger().expired) == (len(AGES), 0)
    StoredRetention(stage.store).apply(EVENTS, MONTH)
    assert (stage.ledger().events, stage.ledger().duplicates) == (len(kept_for(30)), 0)

    # Refusals go, and devices that were set aside stay so.
    for age in (0, 20, 40):
        stage.letter(age, "malformed_json")
        stage.letter(age, "device_set_aside")
    stage.flush()
    assert stage.value("SELECT count() FROM dead_letters") == 5
    StoredRetention(stage.store).apply(DEAD_LETTERS, Days(7, {}))
    assert stage.value("SELECT count() FROM dead_letters") == 4
    assert stage.value("SELECT count() FROM devices_set_aside") == 1
    assert stage.value("SELECT count() FROM dead_letters WHERE reason = 'device_set_aside'") == 3


def test_of_a_flood_it_is_said_what_cannot_be_sent_again(
    stage: Stage, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    flood = Flood(3)
    for offset in range(10_000, 10_010):
        headers = [("reason", b"malformed_json"), ("topic", b"native-events"), ("partition", b"2")]
        headers.append(("offset", b"%d" % offset))
        row = row_of_dead_letter(
            headers, key=b"a/d", value=b"bytes", record_ms=T0, place=("dead-letters", 0, offset),
            leaves_out=flood.leaves_out,
        )  # fmt: skip
        stage.insert("dead_letter_rows", row)
    stage.flush()
    settings = load({"PIPELINE_CLICKHOUSE_URL": database_url, "PIPELINE_OFFSET_BASE": "10000"})
    list_refused(settings, DeadLettersAsked(), limit=100, format="JSONEachRow")
    told = capfd.readouterr()
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert sorted((int(row["offset"]), row["is_left_out"], row["bytes"]) for row in rows) == [
        (offset, offset >= 10_003, 5) for offset in range(10_000, 10_010)
    ]
    assert told.err.startswith("7 refused records of native-events[2] cannot be sent again from here: ")
    assert "between the offsets 3 and 9 of native-events[2]" in told.err
    sent = records(DeadLetterChoice(), ["native-events"], again=False)
    found = [json.loads(line)[2] for line in stage.store.lines(sent.sql, sent.parameters)]
    assert [int(offset) for offset in found] == [10_000, 10_001, 10_002]
    [reason] = [json.loads(line) for line in stage.store.query(by_reason().sql).splitlines()]
    assert (int(reason["letters"]), int(reason["waiting"]), int(reason["left_out"])) == (10, 10, 7)
    assert reason["example"][6] == "bytes"


def test_a_rebuild_leaves_sessions_alone_whose_events_are_gone(stage: Stage) -> None:
    """With events of many weeks, then with those of the last one: nothing is gone, new or other, swapped or not."""
    store, midnight_ms = (
        stage.store,
        round(datetime.fromisoformat(f"{stage.today}T00:00Z").timestamp() * 1_000),
    )
    # One session goes over the midnight at which the kept events begin, and others are stitched to it.
    minutes = {
        "old": range(-40 * 1_440, -30 * 1_440, 300),
        "over": [
            *range(-12 * 1_440, -7 * 1_440 - 40, 400),
            *range(-7 * 1_440 - 40, -7 * 1_440 + 900, 20),
            -5 * 1_440,
        ],
        "new": [*range(-6 * 1_440, -6 * 1_440 + 400, 20), *range(-5 * 1_440, -1_440, 300)],
    }
    for device, times in minutes.items():
        for minute in times:
            stage.came(device, midnight_ms + minute * 60_000)
    stage.flush()

    def rebuilt(policy: Policy, **scope: Any) -> tuple[dict[str, Any], int, int]:
        """What is there after a rebuild, how many sessions differed before it, how many were left."""
        work = Rebuild(store, Policies(policy), RebuildScope(**scope), partitions=1, now_ms=midnight_ms)
        differing = sum(len(device.differences) for device in work.differences())
        work.swap()
        lines = store.query(
            "SELECT *, (SELECT max(stored_on) FROM session_rows) AS until FROM sessions"
        ).splitlines()
        return {row["session_id"]: row for row in map(json.loads, lines)}, differing, work.left

    all_sessions, made, left = rebuilt(Policy())
    assert made == len(all_sessions) > 60 and left == 0
    StoredRetention(store).apply(EVENTS, Days(7, {}))
    assert 0 < stage.value("SELECT count() FROM events") < sum(map(len, minutes.values()))
    again, differing, left = rebuilt(Policy())
    assert (again, differing) == (all_sessions, 0) and left > 40
    again, differing, _ = rebuilt(Policy(), from_ms=midnight_ms - 8 * DAY_MS)
    assert (again, differing) == (all_sessions, 0)
    # Under another policy what can be computed is, and only that.
    shorter, differing, same_left = rebuilt(Policy(inactivity_timeout_ms=60_000, stitch_gap_ms=60_000))
    assert differing >= 20
    for device, is_same in (("old", True), ("over", True), ("new", False)):
        mine = {id: row for id, row in all_sessions.items() if row["device_id"] == device}
        assert ({id: row for id, row in shorter.items() if row["device_id"] == device} == mine) is is_same, (
            device
        )
    assert same_left <= left
