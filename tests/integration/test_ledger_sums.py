"""The ledger of sums is the ledger of all rows, whatever happens to a range that was summed, and reads what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import clickhouse_connect
import orjson
import pytest

from pipeline.clickhouse.erasure import Erased, ErasedRows
from pipeline.clickhouse.retention import EVENTS, Days, StoredRetention
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.operations import Ask, ledger_totals, next_offset
from pipeline.roles.ledger_sums import sum_some
from tests.support.ledger_whole import NAME, ledger_read_whole
from tests.support.migrated import migrate

RANGE = 10_000
A_DAY = 5_000
"""Records that came on a day, each with an event."""
FEW, MANY = 20_000, 100_000
SOME = 40_000
ROWS_OF_A_RANGE = 50
"""What the sums of ten thousand records may cost a question."""
TIMES = {"z_ledger_ranges": "touched_at", "z_ledger_days": "touched_at", "z_ledger_sums": "summed_at"}
_EVENTS = """
INSERT INTO z_event_feed (app_id, device_id, event_id, time, raw_time, received_at, name, kind, user_id, topic,
    partition, offset, stored_on, retention_days)
SELECT 'app', concat('d', toString(number % 7)) AS device,
    -- Now and then one that came before, under another name.
    toString(if(number % 50 = 49, number - 7, number)), toDateTime64('2026-01-01 01:00:00', 3, 'UTC')
        + toIntervalDay(intDiv(if(number % 50 = 49, number - 7, number), {a_day:UInt64})) AS t,
    t, t, if(number % 100 = 99, 'other', 'one'), 'activity', if(number % 50 = 49, 'other', device), 'sdk-events', 0,
    number, toDate(t), 0
FROM numbers({from:UInt64}, {count:UInt64})
"""
_RECORDS = """
INSERT INTO ledger_records (topic, partition, offset, received, refused, app_id, stored_on)
SELECT 'sdk-events', 0, number, 1, 0, 'app', toDate('2026-01-01') + intDiv(number, {a_day:UInt64})
FROM numbers({from:UInt64}, {count:UInt64})
"""


class Ledger:
    """A database with so many records."""

    def __init__(self, url: str, records: int) -> None:
        self.store = Store(url)
        migrate(self.store)
        self.client = clickhouse_connect.get_client(dsn=url)
        self.came(0, records)

    def close(self) -> None:
        self.client.close()
        self.store.close()

    def came(self, first: int, count: int) -> None:
        for sql in (_EVENTS, _RECORDS):
            self.store.command(sql, {"from": first, "count": count, "a_day": A_DAY})

    def two_days_later(self) -> None:
        """What was touched or summed up to now was so two days ago; what is due is summed."""
        for table, name in TIMES.items():
            for sql in (
                f"CREATE TABLE z_earlier AS {table}",
                f"INSERT INTO z_earlier SELECT * REPLACE ({name} - toIntervalDay(2) AS {name}) FROM {table}",
                f"EXCHANGE TABLES z_earlier AND {table}",
                "DROP TABLE z_earlier SYNC",
            ):
                self.store.command(sql)
        while sum_some(self.store):
            pass

    def unsummed(self) -> list[int]:
        """Ranges that are read as before."""
        lines = self.store.query("SELECT range FROM z_ledger_range_states WHERE NOT is_summed ORDER BY range")
        return [int(orjson.loads(line)["range"]) for line in lines.splitlines()]

    def rows_read(self, question: Callable[[Ask], object] = ledger_totals) -> int:
        """Of the question that `status` asks, or of another one."""
        counts = []

        def ask(sql: str, parameters: object) -> bytes:
            # Answers that are whole say what was read.
            answer = self.client.query(sql, settings={"totals_mode": "after_having_exclusive"})
            counts.append(int(answer.summary["read_rows"]))
            return self.store.query(sql)

        assert question(ask)
        return sum(counts)

    def assert_right(self) -> None:
        """As it is when everything is read, column by column."""
        asked = "SELECT * FROM {} ORDER BY topic, partition, first_offset"
        ledger, whole = (self.store.query(asked.format(name)).splitlines() for name in ("ledger", NAME))
        assert ledger and ledger == whole


@contextmanager
def ledger_of(clickhouse: EmbeddedClickHouse, records: int) -> Iterator[Ledger]:
    name = f"test_{uuid4().hex[:8]}"
    made = Ledger(f"{clickhouse.url}/{name}", records)
    yield made
    made.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="module")
def some(clickhouse: EmbeddedClickHouse) -> Iterator[Ledger]:
    """One for all tests that change what is summed, in any order."""
    with ledger_of(clickhouse, SOME) as made:
        made.store.command(ledger_read_whole())
        yield made


def test_many_times_the_history_is_read_in_some_rows_a_range(clickhouse: EmbeddedClickHouse) -> None:
    with ledger_of(clickhouse, FEW) as few, ledger_of(clickhouse, MANY) as many:
        ledgers = {FEW: few, MANY: many}
        for records, each in ledgers.items():
            assert not sum_some(each.store), "all of it came today"
            assert each.rows_read() > 1.5 * records
            each.two_days_later()
            assert not each.unsummed()
        of_few, of_many = (each.rows_read() for each in ledgers.values())
        assert of_few < 4 * ROWS_OF_A_RANGE + FEW // RANGE * ROWS_OF_A_RANGE
        assert of_many < of_few + (MANY - FEW) // RANGE * ROWS_OF_A_RANGE
        # And what is new is read, with the days that it lies on.
        for records, each in ledgers.items():
            each.came(records, A_DAY)
            assert len(each.unsummed()) == 1
        new = [
            each.rows_read() - rows for each, rows in zip(ledgers.values(), (of_few, of_many), strict=True)
        ]
        assert all(A_DAY < rows < 6 * A_DAY for rows in new), new
        # How far offsets are stored, too, is told by what the ledger's last range has.
        assert [next_offset(each.store.query) for each in ledgers.values()] == [
            records + RANGE for records in ledgers
        ]
        of_few, of_many = (each.rows_read(next_offset) for each in ledgers.values())
        assert of_many < of_few + A_DAY < 6 * A_DAY


def test_sums_are_the_ledger(some: Ledger) -> None:
    some.two_days_later()
    assert not some.unsummed()
    some.assert_right()
    counted = orjson.loads(some.store.query("SELECT sum(duplicates) AS d, sum(conflicts) AS c FROM ledger"))
    assert int(counted["d"]) > int(counted["c"]) > 0


def _it_comes_again(ledger: Ledger) -> None:
    """A copy, beyond all that is summed."""
    _copy(ledger, of=17, offset=60_000)


def _copy(ledger: Ledger, of: int, offset: int, day: str = "2026-01-01") -> None:
    ledger.store.command(
        "INSERT INTO z_event_feed (app_id, device_id, event_id, time, raw_time, received_at, name, topic, partition,"
        " offset, stored_on) SELECT 'app', {device:String}, {id:String}, toDateTime64({day:String}, 3, 'UTC') AS t, t,"
        " t, 'one', 'sdk-events', 0, {offset:UInt64}, toDate({day:String})",
        {"device": f"d{of % 7}", "id": str(of), "day": day, "offset": offset},
    )
    ledger.store.command(
        "INSERT INTO ledger_records (topic, partition, offset, received, refused, app_id, stored_on)"
        " SELECT 'sdk-events', 0, {offset:UInt64}, 1, 0, 'app', toDate({day:String})",
        {"day": day, "offset": offset},
    )


def _a_copy_is_taken_back(ledger: Ledger) -> None:
    """Stamped on another day, and summed as an event."""
    _copy(ledger, of=18, offset=60_001, day="2026-02-01")
    ledger.two_days_later()
    assert not ledger.unsummed()
    ledger.store.command(
        "INSERT INTO z_event_copy_feed (app_id, device_id, event_id, raw_time, offset, event_index, stored_on)"
        " SELECT 'app', 'd4', '18', toDateTime64('2026-02-01', 3, 'UTC'), 60001, 0, toDate('2026-02-01')"
    )
    assert ledger.unsummed() == [6]


def _one_below_comes_later(ledger: Ledger) -> None:
    """What counted so far is its copy, in a range above that was summed."""
    _copy(ledger, of=1_000_000, offset=70_000)
    _copy(ledger, of=1_000_001, offset=80_000)
    ledger.two_days_later()
    _copy(ledger, of=1_000_000, offset=60_002)


def _a_device_is_erased(ledger: Ledger) -> None:
    ErasedRows(ledger.store).remove(Erased("app", "d3", "digest", 50_000), Counter())


def _a_person_is_erased(ledger: Ledger) -> None:
    """Of whose events others have copies, where merges have left them."""
    erased = Erased("app", "d2", "another", 100_000, user_id="d2")
    ErasedRows(ledger.store).remove(erased, Counter())


def _retention_changes(ledger: Ledger) -> None:
    """What of the past is not kept any more is hidden at once, by the sums as they are."""
    ledger.store.command("INSERT INTO z_retention_cuts SELECT 'app', toDate('2026-01-04')")
    assert not ledger.unsummed()
    ledger.assert_right()
    today = StoredRetention(ledger.store).today
    kept = orjson.loads(ledger.store.query(f"SELECT toDate('{today}') - toDate('2026-01-06') AS n"))["n"]
    StoredRetention(ledger.store).apply(EVENTS, Days(int(kept), {}))
    assert len(ledger.unsummed()) >= 5


@pytest.mark.parametrize(
    "happens",
    [
        _it_comes_again,
        _a_copy_is_taken_back,
        _one_below_comes_later,
        _a_device_is_erased,
        _a_person_is_erased,
        _retention_changes,
    ],
)
def test_it_is_right_whatever_happens_to_what_was_summed(
    some: Ledger, happens: Callable[[Ledger], None]
) -> None:
    some.two_days_later()
    before = some.store.query("SELECT * FROM ledger ORDER BY first_offset")
    happens(some)
    some.assert_right()
    assert some.store.query("SELECT * FROM ledger ORDER BY first_offset") != before
    some.two_days_later()
    assert not some.unsummed()
    some.assert_right()


def test_a_sum_that_was_made_while_an_insert_was_under_way_does_not_count(some: Ledger) -> None:
    """One says when it begins, and its rows are seen when it ends."""
    some.two_days_later()
    some.store.command(
        "INSERT INTO z_ledger_ranges SELECT topic, partition, range, 0, summed_at - toIntervalMinute(59)"
        " FROM z_ledger_range_states WHERE range = 1"
    )
    assert some.unsummed() == [1]
