"""Recovery: a changelog is read to its very end, and reading goes on where what is stored ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from faust.types import TP

from pipeline.kafka import changelog, starts
from pipeline.kafka.admin import LogBounds
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_identity import Note, TopicMadeAnew
from pipeline.streaming import recovery, table_manager
from pipeline.streaming.assignment import Assignment
from pipeline.streaming.recovery import PartitionMismatch, StateTable, TakeOver
from pipeline.streaming.table_manager import Recovery

CHANGELOG, SOURCE = "changelog", "source"
CONNECTION = KafkaConnection("nowhere:9092")


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes | None


class Log:
    """A partition: its records, and where it ends, which after compaction is not behind the last one."""

    def __init__(self, *records: tuple[int, bytes, bytes | None], end: int | None = None) -> None:
        self.records = [Record(*each) for each in records]
        self.end = end if end is not None else (self.records[-1].offset + 1 if records else 0)

    def pass_time(self, fetches: int) -> None:
        """So many fetches there were until now."""


class Late(Log):
    """One whose last record the broker tells of only after some fetches."""

    def __init__(self, *records: tuple[int, bytes, bytes | None]) -> None:
        super().__init__(*records)
        self._late = self.records.pop()
        self.end -= 1

    def pass_time(self, fetches: int) -> None:
        if fetches > 8 and self._late not in self.records:
            self.records.append(self._late)
            self.end += 1


class Consumer:
    """What of AIOKafkaConsumer is used. A fetch brings one record of each partition, or moves past holes to the end.

    The first one has an answer of the first partition alone.
    """

    logs: Mapping[int, Log]
    made: list[Consumer]

    def __init__(self, **options: Any) -> None:
        assert options["auto_offset_reset"] == "earliest" and not options["enable_auto_commit"]
        self.running = False
        self.fetches = 0
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._known: dict[TopicPartition, int] = {}
        self.made.append(self)

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions, -1)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        assert partitions and set(partitions) == set(self._positions)
        self._positions |= dict.fromkeys(partitions, 0)

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int
    ) -> dict[TopicPartition, list[Record]]:
        assert partitions, "aiokafka would give those of all partitions"
        assert self.running and timeout_ms > 0
        self.fetches += 1
        assert self.fetches < 100, "there is nothing to wait for any more"
        await asyncio.sleep(0)
        found = {}
        for tp in partitions[: self.fetches]:
            assert tp not in self._paused and self._positions[tp] >= 0
            log, at = self.logs[tp.partition], self._positions[tp]
            log.pass_time(self.fetches)
            self._known[tp] = log.end
            some = [each for each in log.records if at <= each.offset][:1]
            if some:
                found[tp] = some
                self._positions[tp] = some[0].offset + 1
            else:
                self._positions[tp] = self._known[tp]
        return found

    def highwater(self, tp: TopicPartition) -> int | None:
        return self._known.get(tp)

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, Log]]:
    """The partitions of the changelog; every reader of them has to stop."""
    found: dict[int, Log] = {}
    Consumer.logs, Consumer.made = found, []
    monkeypatch.setattr(changelog, "AIOKafkaConsumer", Consumer)
    yield found
    assert not any(consumer.running for consumer in Consumer.made)


def read(partitions: Collection[int], **options: Any) -> list[tuple[int, dict[bytes, bytes]]]:
    async def collect() -> list[tuple[int, dict[bytes, bytes]]]:
        return [found async for found in read_changelog(CONNECTION, CHANGELOG, partitions, **options)]

    return asyncio.run(collect())


def test_a_log_is_read_to_its_last_record(logs: dict[int, Log]) -> None:
    """One before the end would do for all but the device that was written last: its state would be an older one."""
    logs[0] = Log((0, b"a", b"1"), (1, b"b", b"1"), (2, b"a", b"2"))
    assert read([0]) == [(0, {b"a": b"2", b"b": b"1"})]
    logs[0] = Log((0, b"a", b"1"))
    assert read([0]) == [(0, {b"a": b"1"})]


def test_a_log_that_ends_in_holes_or_has_nothing_ends_too(logs: dict[int, Log]) -> None:
    logs[0] = Log((4, b"a", b"1"), (9, b"b", b"1"), end=12)
    logs[1] = Log(end=5)
    logs[2] = Log()
    assert dict(read([0, 1, 2])) == {0: {b"a": b"1", b"b": b"1"}, 1: {}, 2: {}}


def test_each_partition_comes_as_soon_as_it_is_through(logs: dict[int, Log]) -> None:
    logs[0] = Log(*((n, b"k%d" % n, b"v") for n in range(6)))
    logs[1] = Log((0, b"a", b"1"))
    found = read([0, 1])
    assert [partition for partition, _ in found] == [1, 0]
    assert len(found[1][1]) == 6


def test_it_is_read_up_to_the_claim_though_the_broker_does_not_know_of_it_yet(logs: dict[int, Log]) -> None:
    """A new leader's high watermark may be behind what was acknowledged."""
    logs[0] = Late((0, b"a", b"1"), (1, b"a", b"2"))
    logs[1] = Log((0, b"b", b"1"))
    assert dict(read([0, 1], at_least={0: 2})) == {0: {b"a": b"2"}, 1: {b"b": b"1"}}


def test_of_a_key_the_latest_counts_and_a_tombstone_ends_it(logs: dict[int, Log]) -> None:
    logs[0] = Log((0, b"a", b"1"), (1, b"b", b"2"), (2, b"b", None), (3, b"c", None), (4, b"a", b"0"))
    assert read([0]) == [(0, {b"a": b"0"})]
    assert read([0], newer=lambda old, new: new >= old) == [(0, {b"a": b"1"})]
    logs[0] = Log((0, b"a", b"1"), (1, b"a", b"3"), (2, b"a", b"2"))
    assert read([0], newer=lambda old, new: new >= old) == [(0, {b"a": b"3"})]


def test_a_reader_that_is_given_up_stops(logs: dict[int, Log]) -> None:
    logs[0], logs[1] = Log((0, b"a", b"1")), Log((0, b"a", b"1"))

    async def first() -> None:
        reading: AsyncGenerator[Any, None] = read_changelog(CONNECTION, CHANGELOG, [0, 1])
        assert (await anext(reading))[0] == 0
        assert Consumer.made[-1].running
        await reading.aclose()

    asyncio.run(first())


def test_others_have_their_turn_while_a_log_is_read(
    logs: dict[int, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched comes without a pause: partitions that were read already stood until all was read."""
    logs[0] = Log(*((number, b"k%d" % number, b"") for number in range(50)))

    async def at_once(consumer: Consumer, *partitions: TopicPartition, timeout_ms: int) -> Any:
        (tp,) = partitions
        consumer._known[tp] = 50
        consumer._positions[tp] += 1
        return {tp: [logs[0].records[consumer._positions[tp] - 1]]}

    monkeypatch.setattr(Consumer, "getmany", at_once)
    turns = 0

    async def run() -> None:
        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        found = [number async for number, _ in read_changelog(CONNECTION, CHANGELOG, [0])]
        task.cancel()
        assert found == [0]

    asyncio.run(run())
    assert turns >= 50


class App:
    """What taking over asks of group and broker; the bounds of logs are those of `bounds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tables: StateTable) -> None:
        self.state_tables = list(tables)
        self.start_offsets_of: Callable[[set[TP]], Any] | None = None
        self.commits: dict[TP, int] = {}
        self.bounds: list[dict[TP, LogBounds]] = []
        """One answer after the other; the last stays."""
        self.notes: dict[TP, Note] = {}
        self.ids: dict[str, str] = {}
        self.required: list[tuple[set[str], dict[str, str]]] = []
        self.waited_s = 0.0
        monkeypatch.setattr(recovery.asyncio, "sleep", self._sleep)

    def holds(self, assignment: Assignment) -> bool:
        return assignment.open

    async def topic_ids(self, names: Collection[str]) -> dict[str, str]:
        return {name: id for name, id in self.ids.items() if name in names}

    async def require_topics(self, names: Collection[str], ids: Mapping[str, str]) -> None:
        self.required.append((set(names), dict(ids)))

    async def committed(self, partitions: Collection[TP]) -> dict[TP, tuple[int, Note]]:
        return {tp: (self.commits[tp], self.notes.get(tp, Note())) for tp in partitions if tp in self.commits}

    async def start_offsets(self, partitions: set[TP]) -> Any:
        return await self.start_offsets_of(partitions) if self.start_offsets_of else {}

    async def log_bounds(self, wanted: Collection[TP]) -> dict[TP, LogBounds]:
        found = self.bounds.pop(0) if len(self.bounds) > 1 else self.bounds[0]
        return {tp: found[tp] for tp in wanted}

    def read_changelog(
        self, topic: str, partitions: Collection[int], newer: Any, at_least: Mapping[int, int]
    ) -> AsyncGenerator[tuple[int, dict[bytes, bytes]], None]:
        return read_changelog(CONNECTION, topic, partitions, newer, at_least=at_least)

    async def _sleep(self, seconds: float) -> None:
        self.waited_s += seconds

    def take_over(self) -> TakeOver:
        return TakeOver(self.state_tables, [SOURCE], self)  # type: ignore[arg-type]

    def starts(self, *numbers: int) -> tuple[dict[int, int], dict[int, int]]:
        """Where reading starts and what counts as committed, by partition."""
        sources = {TP(SOURCE, number) for number in numbers}
        assignment = Assignment(1, "me", frozenset(sources))  # type: ignore[arg-type]
        found = asyncio.run(self.take_over()._find_starts(assignment, sources))  # type: ignore[arg-type]
        assert found is not None
        begun, committed = found
        return (
            {tp.partition: offset for tp, offset in begun.items()},
            {tp.partition: offset for tp, offset in committed.items()},
        )


def table(**given: Any) -> StateTable:
    """A table whose owner forgets what it is told, unless it is given."""
    defaults: dict[str, Any] = {
        "on_partition_recovered": lambda number, items: None,
        "on_partition_revoked": lambda number: None,
    }
    named = SimpleNamespace(changelog_topic_name=CHANGELOG)
    return StateTable(named, SOURCE, **defaults | given)


P0, P1 = TP(SOURCE, 0), TP(SOURCE, 1)


def test_reading_goes_on_at_the_commit_else_at_the_beginning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(monkeypatch)
    app.commits = {P0: 7}
    app.bounds = [{P0: LogBounds(3, 9), P1: LogBounds(4, 9)}]
    assert app.starts(0, 1) == ({0: 7, 1: 4}, {0: 7, 1: 4})
    for offset in (3, 9):
        app.commits = {P0: offset}
        assert app.starts(0) == ({0: offset}, {0: offset})
    assert app.waited_s == 0 and not caplog.records
    app.commits = {}
    app.bounds = [{P0: LogBounds(0, 0)}]
    assert app.starts(0) == ({0: 0}, {0: 0})
    assert app.waited_s == 0, "an empty log has its end where it begins"


@pytest.mark.parametrize(
    ("wanted", "reached", "start"),
    [(None, -1, (5, 0)), (None, 0, (5, 4)), (None, 3, (5, 1)), (None, 4, (5, 0)), (None, 8, (5, 0)), (4, -1, (5, 1)),
     (5, -1, (5, 0)), (9, -1, (9, 0)), (10, -1, (5, 0)), (7, 8, (7, 0))],
)  # fmt: skip
def test_what_was_deleted_before_it_was_read_is_counted(
    wanted: int | None, reached: int, start: tuple[int, int]
) -> None:
    assert starts.start_of(P0, wanted, LogBounds(5, 9), reached) == start  # type: ignore[arg-type]
    if reached < 0:
        assert starts.start_of(P0, wanted, LogBounds(5, 9)) == start  # type: ignore[arg-type]


def test_who_reads_nothing_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(monkeypatch)
    app.bounds = [{}]

    async def hook(sources: set[TP]) -> dict[TP, int]:
        raise AssertionError("there is nothing to ask for")

    app.start_offsets_of = hook
    assert app.starts() == ({}, {})


def test_the_hook_has_the_last_word_and_what_it_takes_back_counts_as_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App(monkeypatch)
    app.commits = {P0: 7, P1: 7}
    app.bounds = [{P0: LogBounds(0, 9), P1: LogBounds(0, 9)}]

    async def hook(sources: set[TP]) -> dict[TP, int]:
        assert sources == {P0, P1}
        return {P0: 5}

    app.start_offsets_of = hook
    assert app.starts(0, 1) == ({0: 5, 1: 7}, {0: 5, 1: 7})


@pytest.mark.parametrize(("committed", "word"), [(2, "deleted before they were read"), (10, "made anew")])
def test_a_commit_that_the_log_does_not_have_starts_at_its_beginning_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, committed: int, word: str
) -> None:
    app = App(monkeypatch)
    app.commits = {P0: committed}
    app.bounds = [{P0: LogBounds(3, 9)}]
    with caplog.at_level(logging.ERROR, starts.__name__):
        found = app.starts(0)
    assert found == ({0: 3}, {0: min(3, committed)})
    assert word in caplog.text


@pytest.mark.parametrize(("committed", "reach"), [(9, 8), (5, 8), (9, 3), (9, -1)])
def test_the_end_of_a_log_may_be_late_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, committed: int, reach: int
) -> None:
    app = App(monkeypatch, table(reach=lambda number: reach if number == 0 else -1))
    app.commits = {P0: committed, P1: 1}
    late, there = ({P0: LogBounds(0, end), P1: LogBounds(0, 1)} for end in (8, 9))
    app.bounds = [late, late, there, late]
    assert app.starts(0, 1)[0] == {0: committed, 1: 1}
    assert 0 < app.waited_s < 5


def test_a_log_that_ends_before_what_the_state_has_was_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(monkeypatch, table(reach=lambda number: 8), table(reach=lambda number: 3), table())
    app.bounds = [{P0: LogBounds(0, 9)}]
    app.starts(0)
    app.bounds = [{P0: LogBounds(0, 8)}]
    with pytest.raises(
        TopicMadeAnew, match=r"source\[0\] ends at offset 8, but what was stored .* reaches to 8"
    ):
        app.starts(0)
    nothing = App(monkeypatch, table(reach=lambda number: -1))
    nothing.bounds = [{P0: LogBounds(0, 0)}]
    assert nothing.starts(0)[0] == {0: 0}


@pytest.mark.parametrize(
    ("committed", "hooked", "checked"),
    [(7, None, 7), (7, 5, 5), (3, None, 1), (2, None, 1), (4, None, 4), (0, None, None), (None, None, None)],
)
def test_the_state_is_asked_for_all_that_was_done(
    monkeypatch: pytest.MonkeyPatch, committed: int | None, hooked: int | None, checked: int | None
) -> None:
    """At the log's beginning what was done may have been deleted unread: there some state must be, and no more."""
    asked: list[tuple[int, int]] = []
    other = table(on_reading_begins=lambda number, done: asked.append((-1, -1)))
    other.source_topic = "another"
    app = App(monkeypatch, table(on_reading_begins=lambda number, done: asked.append((number, done))), other)
    app.state_tables.append(table())
    app.commits = {} if committed is None else {P0: committed}
    app.bounds = [{P0: LogBounds(3, 9)}]
    if hooked is not None:

        async def hook(sources: set[TP]) -> dict[TP, int]:
            return {P0: hooked}

        app.start_offsets_of = hook
    app.starts(0)
    assert asked == ([] if checked is None else [(0, checked)])


class Owner:
    """Who has the state: what it was told, in order."""

    def __init__(self, claims: Mapping[int, int | None] | None = None) -> None:
        self.told: list[Any] = []
        self.close_after: Assignment | None = None
        claim = None if claims is None else self._claim
        self._claims = claims
        self.table = table(
            on_partition_recovered=self._recovered, on_partition_revoked=self._revoked, claim=claim
        )

    def _recovered(self, number: int, items: dict[bytes, bytes]) -> None:
        self.told.append(("recovered", number, items))
        if self.close_after is not None:
            self.close_after.close(set())

    def _revoked(self, number: int) -> None:
        self.told.append(("revoked", number))

    async def _claim(self, number: int, still_mine: Callable[[], bool]) -> int | None:
        assert still_mine() and self._claims is not None
        self.told.append(("claimed", number))
        return self._claims[number]


def assignment(*numbers: int, logged: Collection[int] | None = None) -> Assignment:
    sources = {TP(SOURCE, number) for number in numbers}
    changelogs = {TP(CHANGELOG, number) for number in (numbers if logged is None else logged)}
    return Assignment(2, "me", frozenset(sources | changelogs | {TP("another", 9)}))


def restore(monkeypatch: pytest.MonkeyPatch, owner: Owner, taken: Assignment) -> list[Any]:
    async def run() -> None:
        take_over = App(monkeypatch).take_over()
        missing = take_over._give_up(owner.table, taken)
        ready: list[int] = []

        def recovered(number: int) -> None:
            assert owner.told[-1][:2] == ("recovered", number)
            ready.append(number)

        await take_over._recover(owner.table, taken, frozenset(missing), recovered)
        assert ready == [number for what, number, *_ in owner.told if what == "recovered"]

    asyncio.run(run())
    return owner.told


def shares(app: App, taken: Assignment) -> list[tuple[dict[TP, int], dict[TP, int]]]:
    """What may be read, some partitions after the others."""

    found = []

    async def begin(starts: dict[TP, int], committed: dict[TP, int]) -> None:
        found.append((starts, committed))

    asyncio.run(app.take_over().run(taken, begin))
    return found


def test_what_is_new_is_recovered_and_what_is_lost_or_broken_off_forgotten_first(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs |= {number: Log((0, b"k", b"%d" % number)) for number in range(4)}
    owner = Owner()
    owner.table.held = {0, 1, 2}
    taken = assignment(0, 1, 3)
    taken.kept = frozenset({0, 2})
    assert restore(monkeypatch, owner, taken) == [
        ("revoked", 1), ("revoked", 2),
        ("recovered", 1, {b"k": b"1"}), ("recovered", 3, {b"k": b"3"}),
    ]  # fmt: skip
    assert owner.table.held == {0, 1, 3}


def test_nothing_is_read_where_all_is_kept(monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]) -> None:
    owner = Owner({})
    owner.table.held = {0}
    taken = assignment(0)
    taken.kept = frozenset({0})
    assert restore(monkeypatch, owner, taken) == []
    assert Consumer.made == []


def test_partitions_are_claimed_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs |= {0: Log((0, b"k", b"0")), 1: Late((0, b"k", b"1"), (1, b"k", b"2"))}
    owner = Owner({0: None, 1: 2})
    assert restore(monkeypatch, owner, assignment(0, 1)) == [
        ("claimed", 0), ("claimed", 1), ("recovered", 0, {b"k": b"0"}), ("recovered", 1, {b"k": b"2"}),
    ]  # fmt: skip


def test_an_assignment_that_ends_meanwhile_recovers_nothing_more(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs |= {number: Log((0, b"k", b"0")) for number in range(2)}
    owner, taken = Owner(), assignment(0, 1)
    owner.close_after = taken
    assert restore(monkeypatch, owner, taken) == [("recovered", 0, {b"k": b"0"})]
    assert owner.table.held == {0}


def test_so_it_is_while_claims_are_made(monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]) -> None:
    taken = assignment(0)

    async def claim(number: int, still_mine: Callable[[], bool]) -> int | None:
        taken.close(set())
        assert not still_mine()
        return None

    owner = Owner()
    owner.table.claim = claim
    assert restore(monkeypatch, owner, taken) == []
    assert Consumer.made == []


def test_topics_that_are_cut_otherwise_are_refused(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    for numbers, logged in (((0, 1), (0,)), ((0,), (0, 1))):
        with pytest.raises(PartitionMismatch, match="not the same number of partitions"):
            restore(monkeypatch, Owner(), assignment(*numbers, logged=logged))


def test_states_and_rows_have_to_be_of_the_topics_that_are_there(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    """Also of a partition that was kept: its topic may have been made anew meanwhile."""
    logs |= {number: Log() for number in range(2)}
    asked: list[tuple[int, str, str]] = []
    owner, taken = Owner(), assignment(0, 1)
    owner.table.held, taken.kept = {1}, frozenset({1})
    owner.table.require_topics = lambda *given: asked.append(given)
    app = App(monkeypatch, owner.table)
    app.ids = {SOURCE: "s1", "another": "a1", "never assigned": "n1"}
    app.commits = {P0: 2, P1: 3}
    app.notes = {P0: Note("s1", 5), P1: Note("s0", 7)}
    app.bounds = [{P1: LogBounds(1, 9)}, {P0: LogBounds(3, 9)}]
    (kept, _), (recovered, _) = shares(app, taken)
    assert asked == [(1, "s1", ""), (0, "s1", "")] and owner.told == [("recovered", 0, {})]
    assert taken.topic_ids == {SOURCE: "s1", "another": "a1"}
    assert app.required == [({SOURCE}, taken.topic_ids)] * 2
    # What was committed for another topic of the name counts for nothing; one record more was deleted unread.
    assert (kept, recovered) == ({P1: 1}, {P0: 3}) and taken.lost == {P0: 6, P1: 0}


def test_what_was_kept_is_read_before_anything_is_recovered(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    """It stood for as long as the state of the others was read: 3 s for those of 100,000 devices."""
    logs |= {number: Log((0, b"k", b"%d" % number)) for number in range(3)}
    owner, taken = Owner(), assignment(0, 1, 2)
    owner.table.held, taken.kept = {1}, frozenset({1})
    app = App(monkeypatch, owner.table)
    app.bounds = [{TP(SOURCE, number): LogBounds(0, 9) for number in range(3)}]
    begun: list[tuple[dict[TP, int], list[Any]]] = []

    async def begin(starts: dict[TP, int], committed: dict[TP, int]) -> None:
        begun.append((starts, list(owner.told)))
        taken.begin_reading(starts, committed)

    asyncio.run(app.take_over().run(taken, begin))
    (kept, told), *later = begun
    assert (kept, told) == ({P1: 0}, [])
    assert sorted(tp for found, _ in later for tp in found) == [P0, TP(SOURCE, 2)]
    for found, told in later:
        assert {number for _, number, _ in told} >= {tp.partition for tp in found}
    assert taken.waiting == {9}, "of a topic that is no source"


def test_what_goes_wrong_where_reading_begins_stops_the_worker(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs |= {number: Log((0, b"k", b"%d" % number), (5, b"k", b"x")) for number in range(3)}
    app = App(monkeypatch, Owner().table)
    app.bounds = [{TP(SOURCE, number): LogBounds(0, 9) for number in range(3)}]
    begun: list[TP] = []

    async def fail_at_last(starts: dict[TP, int], committed: dict[TP, int]) -> None:
        begun.extend(starts)
        if len(begun) == 3:
            raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        asyncio.run(app.take_over().run(assignment(0, 1, 2), fail_at_last))


def test_a_rebalance_breaks_off_what_waits_to_be_begun(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs |= {number: Log((0, b"k", b"%d" % number)) for number in range(2)}
    app = App(monkeypatch, Owner().table)
    app.bounds = [{TP(SOURCE, number): LogBounds(0, 9) for number in range(2)}]
    was_cancelled = []

    async def run() -> None:
        entered = asyncio.Event()

        async def hang(starts: dict[TP, int], committed: dict[TP, int]) -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                was_cancelled.append(starts)
                raise

        running = asyncio.create_task(app.take_over().run(assignment(0, 1), hang))
        await entered.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(run())
    assert len(was_cancelled) == 1


def test_without_state_all_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(monkeypatch)
    app.bounds = [{P0: LogBounds(0, 9), P1: LogBounds(0, 9)}]
    assert shares(app, assignment(0, 1)) == [({P0: 0, P1: 0}, {P0: 0, P1: 0})]
    empty = Assignment(2, "me", frozenset())
    app.bounds = [{}]
    assert shares(app, empty) == [({}, {})], "Faust is to be told, too, where there is nothing to read"


@pytest.mark.parametrize("place", ["states", "rows"])
def test_a_topic_that_was_made_anew_stops_the_worker(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log], place: str
) -> None:
    logs[0] = Log()

    def refuse(*_: Any) -> None:
        raise TopicMadeAnew

    async def refuse_rows(*_: Any) -> None:
        raise TopicMadeAnew

    app = App(monkeypatch, table(require_topics=refuse if place == "states" else None))
    if place == "rows":
        app.require_topics = refuse_rows  # type: ignore[method-assign]
    app.bounds = [{P0: LogBounds(0, 0)}]
    with pytest.raises(TopicMadeAnew):
        shares(app, assignment(0))


def test_an_assignment_that_has_ended_is_asked_nothing_more(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs[0] = Log((0, b"k", b"0"))
    owner, taken = Owner(), assignment(0)
    owner.close_after = taken
    app = App(monkeypatch, owner.table)
    assert shares(app, taken) == []
    assert app.required == []


class Running:
    """An app whose recovery is seen from outside: what it does, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, taken: Assignment, *tables: StateTable) -> None:
        self.did: list[Any] = []
        self.connection, self.state_tables, self.batch_topics = CONNECTION, list(tables), {SOURCE}
        self.start_offsets = self.on_topics_known = None
        self.taken = taken
        self.flow_control = SimpleNamespace(resume=self._note("flow"))
        self.tables = SimpleNamespace(
            on_actives_ready=self._note("actives"), on_standbys_ready=self._note("standbys")
        )
        self.on_rebalance_end = self._note("rebalanced")
        self._fetcher = SimpleNamespace(maybe_start=self._later("fetcher"))
        self.on_rebalance_complete = SimpleNamespace(send=self._later("complete"))
        self.consumer = SimpleNamespace(
            resume_flow=self._note("consumer"), begin_delivery=self._begin, assignment_in_force=taken,
            holds=lambda assignment: assignment.open, topic_ids=self._topic_ids, committed=self._committed,
            require_partitions=self._require_partitions,
        )  # fmt: skip
        monkeypatch.setattr(table_manager, "log_bounds", self._bounds)

    def _note(self, word: str) -> Callable[[], None]:
        return lambda: self.did.append(word)

    def _later(self, word: str) -> Callable[[], Any]:
        async def note() -> None:
            self.did.append(word)

        return note

    async def _require_partitions(self) -> None:
        return

    async def _topic_ids(self, names: Collection[str]) -> dict[str, str]:
        return {}

    async def _committed(self, partitions: Collection[TP]) -> dict[TP, tuple[int, Note]]:
        return {P0: (7, Note())}

    async def _bounds(self, connection: KafkaConnection, wanted: Collection[TP]) -> dict[TP, LogBounds]:
        assert connection is CONNECTION and set(wanted) == {P0}
        return {P0: LogBounds(0, 9)}

    async def _begin(self, assignment: Assignment, starts: Any, committed: Any) -> None:
        assert assignment is self.taken
        self.did.append((starts, committed))


def test_reading_begins_once_states_and_offsets_are_there(
    monkeypatch: pytest.MonkeyPatch, logs: dict[int, Log]
) -> None:
    logs[0] = Log((0, b"k", b"0"))
    owner, taken = Owner(), assignment(0)
    app = Running(monkeypatch, taken, owner.table)

    async def run() -> Recovery:
        made = Recovery(app)
        made.add_future = asyncio.ensure_future  # type: ignore[method-assign,assignment]
        await made.on_rebalance(set(), set(), set())
        assert made._running is not None
        await made._running
        return made

    made = asyncio.run(run())
    assert owner.told == [("recovered", 0, {b"k": b"0"})]
    assert app.did == [
        "flow", "consumer", "fetcher", "actives", "standbys", "rebalanced", ({P0: 7}, {P0: 7}), "complete",
    ]  # fmt: skip
    assert made.completed.is_set()
    taken.close(set())
    app.did.clear()
    asyncio.run(made._take_over(taken))
    assert app.did == [], "an assignment that has ended is not read"


def test_a_rebalance_breaks_off_the_recovery_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Running(monkeypatch, assignment(0))

    async def run() -> None:
        made = Recovery(app)
        made.on_partitions_revoked(set())
        waiting = asyncio.Event()
        made.add_future = asyncio.ensure_future  # type: ignore[method-assign,assignment]
        made._take_over = lambda taken: waiting.wait()  # type: ignore[method-assign,assignment,return-value]
        await made.on_rebalance(set(), set(), set())
        first = made._running
        assert first is not None
        await made.on_rebalance(set(), set(), set())
        second = made._running
        assert second is not None and second is not first
        with pytest.raises(asyncio.CancelledError):
            await first
        made.on_partitions_revoked(set())
        with pytest.raises(asyncio.CancelledError):
            await second
        made.on_partitions_revoked(set())

    asyncio.run(run())
