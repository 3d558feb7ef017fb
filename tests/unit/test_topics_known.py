"""By what a topic is known, what follows when it is another one, and what `status` makes of offsets and accounts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline import topics
from pipeline.commands.soundness import Faults, faults_of_groups, faults_of_ledger, faults_of_topics
from pipeline.domain.policy import Policies
from pipeline.kafka.admin import LogBounds
from pipeline.kafka.starts import StartOffset, of_these_topics, start_of
from pipeline.kafka.topic_identity import (
    Note,
    PartitionsChanged,
    TopicMadeAnew,
    note_of,
    other_counts,
    remedy,
    require_same,
)
from pipeline.kafka.topic_ids import partition_counts
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.query.operations import NEXT_OFFSET_SQL, LedgerTotals
from pipeline.roles import ledger_guard, topology
from pipeline.roles.known_topics import Known, OffsetBaseTooLow, made_anew, require_known
from pipeline.roles.metrics import Metrics
from pipeline.roles.sessionizer import Sessionizer
from pipeline.schema_files import schema_folder
from pipeline.state.marker import MARKER_KEY, Marker, marker_item, marker_of
from pipeline.streaming import recovery
from pipeline.streaming.assignment import Assignment
from pipeline.streaming.batch_transport import BatchConsumer
from pipeline.streaming.recovery import TakeOver
from pipeline.streaming.table_manager import _AppsKafka

SOURCE = topics.SDK_EVENTS
HERE = TP(SOURCE, 0)


# -- ids


def test_no_id_is_as_good_as_any() -> None:
    require_same({"a": "1", "b": "", "c": "3"}, {"a": "1", "b": "2"})
    with pytest.raises(TopicMadeAnew, match="b was made anew: its id was 1 and is 2"):
        require_same({"a": "1", "b": "1"}, {"a": "1", "b": "2"})


@pytest.mark.parametrize("topic", [*topology.plan(1, -1)])
def test_each_topic_has_a_remedy(topic: str) -> None:
    wanted = {
        topics.SDK_EVENTS: "PIPELINE_OFFSET_BASE",
        topics.STATE: "rebuild --states",
        topics.ERASURES: "give each erasure again",
        topics.POLICIES: "policies publish",
    }.get(topic, f"migrate --made-anew {topic}")
    assert wanted in remedy(topic) and "runbook.md" in remedy(topic)


async def nothing() -> None:
    return


def consumer_that_finds(*answers: Mapping[str, str]) -> BatchConsumer:
    """A consumer whose thread answers so, one after the other."""
    left = list(answers)

    async def found(names: Collection[str]) -> dict[str, str]:
        answer = left.pop(0)
        return {name: answer[name] for name in names if name in answer}

    async def at_once(work: Any) -> Any:
        return await work

    consumer: BatchConsumer = BatchConsumer.__new__(BatchConsumer)
    consumer._topics_seen, consumer.stopping_for = {}, ""
    consumer._thread = SimpleNamespace(topic_ids=found)
    consumer._in_thread = at_once
    return consumer


def test_a_worker_knows_its_topics_for_as_long_as_it_runs() -> None:
    async def work() -> None:
        consumer = consumer_that_finds({"a": "1", "b": "2"}, {"b": "2"}, {"b": "2"}, {"a": "3", "b": "2"})
        assert await consumer.topic_ids({"a", "b"}) == {"a": "1", "b": "2"}
        # While it is gone the partitions are assigned without it; nobody would ask for it any more.
        assert await consumer.topic_ids(()) == await consumer.topic_ids({"b"}) == {"b": "2"}
        with pytest.raises(TopicMadeAnew, match="a was made anew: its id was 1 and is 3"):
            await consumer.topic_ids(())

    asyncio.run(work())


def test_the_watch_stops_the_worker() -> None:
    async def work() -> None:
        consumer = consumer_that_finds({"a": "1"}, {"a": "1"}, {"a": "2"})
        await consumer.topic_ids({"a"})

        async def pause(_: float) -> None:
            return

        watched = SimpleNamespace(
            should_stop=False,
            sleep=pause,
            topic_ids=consumer.topic_ids,
            require_partitions=nothing,
            look_at_topics=nothing,
            _join_for_new_partitions=nothing,
        )
        try:
            await BatchConsumer._watch_topics.fun(watched)
        finally:
            assert "a was made anew: its id was 1 and is 2" in watched.stopping_for

    with pytest.raises(TopicMadeAnew):
        asyncio.run(work())


def test_a_topic_that_has_another_number_of_partitions_stops_its_worker_by_name() -> None:
    """By the watch while it is read, and before anything is read of a new assignment."""
    counts: list[dict[str, int]] = [{}, {"a": 8}, {"a": 8, "b": 1}, {"a": 12}]

    async def now(names: Collection[str]) -> dict[str, int]:
        assert set(names) == {"a"}
        return counts.pop(0) if len(counts) > 1 else counts[0]

    async def work() -> None:
        consumer = consumer_that_finds(*[{}] * 9)
        consumer._thread.partition_counts = now
        consumer.app = SimpleNamespace(partition_counts={"a": 8})

        async def pause(_: float) -> None:
            return

        watched = SimpleNamespace(
            should_stop=False,
            sleep=pause,
            topic_ids=consumer.topic_ids,
            require_partitions=consumer.require_partitions,
            look_at_topics=nothing,
            _join_for_new_partitions=nothing,
            app=SimpleNamespace(ending=None),
        )
        await BatchConsumer._watch_topics.fun(watched)
        assert isinstance(watched.app.ending, PartitionsChanged), "what is in hand is done before it ends"
        says = str(watched.app.ending)
        assert says == watched.stopping_for
        assert says.startswith("a has 12 partitions, and this worker goes by 8: ") and "runbook" in says
        assert len(counts) == 1, "it was asked until it changed"
        kafka = _AppsKafka(SimpleNamespace(consumer=consumer))
        with pytest.raises(PartitionsChanged):
            await kafka.topic_ids({"a"})

    asyncio.run(work())


WANTED = {topics.SDK_EVENTS: 8, topics.SESSIONS: 8, topics.ERASURES: 1}
IDS = dict.fromkeys(WANTED, "1")


def test_all_topics_of_an_app_are_watched_and_each_change_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    watch = TopicWatch()
    watch.look(WANTED, IDS, WANTED)
    assert not watch.faults
    for _ in range(3):
        watch.look(WANTED, IDS, {topics.SDK_EVENTS: 8, topics.SESSIONS: 12})
    assert set(watch.faults) == {topics.SESSIONS, topics.ERASURES}
    assert "sessions has 12 partitions, and this worker goes by 8." in watch.faults[topics.SESSIONS]
    assert "repartition --partitions 12" in watch.faults[topics.SESSIONS]
    assert watch.faults[topics.ERASURES].startswith("erasures does not exist any more in Kafka. ")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    watch.look(WANTED, {**IDS, topics.SESSIONS: "2"}, WANTED)
    assert set(watch.faults) == {topics.SESSIONS} and "made anew" in watch.faults[topics.SESSIONS]
    assert [record.levelname for record in caplog.records[2:]] == ["ERROR", "INFO"]
    watch.look(WANTED, IDS, WANTED)
    assert not watch.faults and len(caplog.records) == 5


def test_a_broker_without_ids_says_which_topics_there_are() -> None:
    watch = TopicWatch()
    watch.look(WANTED, {}, WANTED)
    assert not watch.faults
    watch.look(WANTED, {}, {topics.SDK_EVENTS: 8, topics.SESSIONS: 8})
    assert set(watch.faults) == {topics.ERASURES}


def advice(found: Mapping[str, int], configured: int) -> tuple[str, int]:
    """What is said to somebody with these topics: a way, and a number."""
    says = other_counts(found, dict.fromkeys(found, configured))
    if not says:
        return "none", configured
    if set_to := re.search(r"Set PIPELINE_PARTITIONS=(\d+)", says):
        return "set", int(set_to[1])
    [number] = re.findall(r"repartition --partitions (\d+)", says)
    return "repartition", int(number)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 20))
def test_the_advice_about_partitions_never_goes_in_a_circle(counts: list[int], configured: int) -> None:
    """Whoever follows it is at the end after one step, whatever part of the topics a role sees."""
    found = {f"topic-{number}": count for number, count in enumerate(counts)}
    way, number = advice(found, configured)
    if way == "repartition":
        # It gives all topics as many, and Kafka takes none away.
        assert number >= max(counts) and number >= configured
        found = dict.fromkeys(found, number)
    assert advice(found, number) == ("none", number)


@pytest.mark.parametrize("has_ids", [True, False])
def test_every_broker_says_how_many_partitions_a_topic_has(has_ids: bool) -> None:
    """One that is older than ids is asked for all of its topics: for one, by its name, it would make that."""

    async def send(node: int, request: Any) -> Any:
        if not has_ids:
            raise IncompatibleBrokerVersion("too old")
        topics_told = [
            (0, "a", bytes(16), False, [(0,)] * 3, 0, {}),
            (3, "gone", bytes(16), False, [], 0, {}),
        ]
        return SimpleNamespace(topics=topics_told)

    async def everything() -> Any:
        return SimpleNamespace(partitions_for_topic={"a": {0, 1, 2}, "b": {0}}.get)

    client = SimpleNamespace(get_random_node=lambda: 1, send=send, fetch_all_metadata=everything)
    assert asyncio.run(partition_counts(client, ["a", "gone"])) == {"a": 3}


def test_a_position_beyond_the_end_is_not_read_from_the_beginning_of_another_topic() -> None:
    async def work() -> None:
        consumer = consumer_that_finds({"a": "1"}, {"a": "2"})
        await consumer.topic_ids({"a"})
        assignment = Assignment(1, "member", frozenset({TP("a", 0)}))
        await consumer._start_over(assignment, {TP("a", 0): 9})

    with pytest.raises(TopicMadeAnew):
        asyncio.run(work())


def test_where_no_ids_are_a_log_that_ends_before_what_is_stored_was_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def bounds(connection: object, wanted: Collection[TP]) -> dict[TP, LogBounds]:
        return dict.fromkeys(wanted, LogBounds(0, 20))

    seen = {10_020: b"", 20: msgspec.json.encode({"seen": 10_031})}
    store: Any = SimpleNamespace(query=lambda sql, parameters: seen[parameters["end"]])
    connection: Any = None
    monkeypatch.setattr(ledger_guard, "log_bounds", bounds)
    monkeypatch.setattr(ledger_guard, "_RETRY_S", 0)
    asyncio.run(ledger_guard.ledger_guard(store, connection, 10_000)({HERE}))
    with pytest.raises(TopicMadeAnew, match=r"sdk-events\[0\] ends at offset 20, but .* reaches to 10031"):
        asyncio.run(ledger_guard.ledger_guard(store, connection, 0)({HERE}))


@pytest.mark.parametrize("reached", [19, 20])
def test_where_no_ids_are_a_log_that_ends_before_its_state_was_made_anew(
    reached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bounds(wanted: Collection[TP]) -> dict[TP, LogBounds]:
        return dict.fromkeys(wanted, LogBounds(0, 20))

    async def committed(partitions: Collection[TP]) -> dict[TP, tuple[int, Note]]:
        return {HERE: (20, Note("1", 3))}

    async def hooked(partitions: Collection[TP]) -> dict[TP, int]:
        return {}

    kafka: Any = SimpleNamespace(
        holds=lambda assignment: assignment.open, committed=committed, start_offsets=hooked, log_bounds=bounds
    )
    state: Any = SimpleNamespace(source_topic=SOURCE, reach=lambda number: reached, on_reading_begins=None)
    monkeypatch.setattr(recovery, "_END_RETRY_S", 0)
    assignment = Assignment(1, "member", frozenset({HERE}))
    finding = TakeOver([state], [SOURCE], kafka)._find_starts(assignment, {HERE})
    if reached < 20:
        assert asyncio.run(finding) == ({HERE: 20}, {HERE: 20})
        assert assignment.lost == {HERE: 3}
    else:
        with pytest.raises(TopicMadeAnew, match="ends at offset 20, but what was stored of it reaches to 20"):
            asyncio.run(finding)


# -- commits


@pytest.mark.parametrize("note", [Note(), Note("id"), Note("id", 7), Note(lost=7)])
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    assert note_of(note.text()) == note


@pytest.mark.parametrize("text", [None, "", "by hand", "lost=many", "lost=", "=;;=", "lost=-1", "lost=²"])
def test_what_others_commit_says_nothing(text: str | None) -> None:
    assert note_of(text) == Note()


def test_a_commit_counts_for_the_topic_that_it_was_made_for() -> None:
    other, unknown, old = TP("other", 0), TP("unknown", 0), TP("old", 0)
    said = {HERE: (5, Note("1")), other: (6, Note("2")), unknown: (7, Note("3")), old: (8, Note())}
    ids = {SOURCE: "1", "other": "9", "old": "4"}
    assert of_these_topics(said, ids) == {HERE: (5, Note("1")), unknown: (7, Note("3")), old: (8, Note())}


@pytest.mark.parametrize(
    ("wanted", "reached", "start"),
    [
        (None, -1, StartOffset(10)),
        (None, 9, StartOffset(10)),
        (None, 6, StartOffset(10, 3)),
        (None, 15, StartOffset(10)),
        (10, 15, StartOffset(10)),
        (20, 15, StartOffset(20)),
        (4, 15, StartOffset(10, 6)),
        (21, 15, StartOffset(10)),
    ],
)
def test_reading_begins_where_the_log_has_it_and_what_was_deleted_is_counted(
    wanted: int | None, reached: int, start: StartOffset
) -> None:
    assert start_of(HERE, wanted, LogBounds(10, 20), reached) == start


# -- the sessionizer's marker


def test_a_marker_from_before_is_read_and_a_new_one_is_read_by_programs_from_before() -> None:
    class Old(msgspec.Struct, array_like=True, frozen=True):
        applied_offset: int = -1
        clock_ms: int = 0

    assert marker_of(msgspec.msgpack.encode(Old(7, 8))) == Marker(7, 8, "", "")
    key, value = marker_item(Marker(7, 8, "source", "log"))
    assert key == MARKER_KEY and marker_of(value) == Marker(7, 8, "source", "log")
    assert msgspec.msgpack.decode(value, type=Old) == Old(7, 8)


def sessionizer_with(marker: Marker, offset_base: int = 0) -> Sessionizer:
    async def send(topic: str, partition: int, items: object) -> None:
        raise AssertionError

    async def dead_letter(refused: object) -> None:
        raise AssertionError

    made = Sessionizer(
        Policies(),
        changelog_topic=topics.STATE,
        sessions_topic=topics.SESSIONS,
        send=send,
        dead_letter=dead_letter,
        metrics=Metrics(),
        offset_base=offset_base,
    )
    made.recovered(0, dict([marker_item(marker)]))
    return made


@pytest.mark.parametrize("source_id", ["", "1"])
@pytest.mark.parametrize("log_id", ["", "2"])
def test_states_are_of_their_topics(source_id: str, log_id: str) -> None:
    made = sessionizer_with(Marker(7, 8, "1", "2"))
    made.require_topics(0, source_id, log_id)
    assert made._partitions[0].marker == Marker(7, 8, "1", "2", 1)


@pytest.mark.parametrize(("source_id", "log_id", "says"), [("9", "2", SOURCE), ("1", "9", topics.STATE)])
def test_states_of_another_topic_or_in_another_changelog_stop_the_worker(
    source_id: str, log_id: str, says: str
) -> None:
    with pytest.raises(TopicMadeAnew, match=f"^{says} was made anew"):
        sessionizer_with(Marker(7, 8, "1", "2")).require_topics(0, source_id, log_id)


def test_below_the_base_the_source_may_be_another_one_and_is_known_from_then_on() -> None:
    made = sessionizer_with(Marker(7, 8, "1", "2"), offset_base=8)
    made.require_topics(0, "9", "2")
    assert made._partitions[0].marker == Marker(7, 8, "9", "2", 1)
    with pytest.raises(TopicMadeAnew):
        sessionizer_with(Marker(8, 8, "1", "2"), offset_base=8).require_topics(0, "9", "2")


def test_what_a_chunk_writes_says_of_which_topics_it_is() -> None:
    made = sessionizer_with(Marker())
    made.require_topics(0, "1", "2")
    record = SimpleNamespace(offset=0, timestamp=1_000, key=b"app/device", value=b"{}", headers=())
    states = dict(made._partitions[0].apply([record]).states)
    assert marker_of(states[MARKER_KEY]) == Marker(0, 1_000, "1", "2", 1)


# -- what ClickHouse has noted


class Noted:
    """A store that has noted topics, and rows up to an offset."""

    def __init__(self, top: int = 0, **known: Known) -> None:
        self.top = top
        self.known = known
        self.inserted: list[dict[str, Any]] = []

    def query(self, sql: str, parameters: object = None) -> bytes:
        if "FROM topic_ids" in sql:
            rows = [{"topic": topic, **what._asdict()} for topic, what in self.known.items()]
            return b"\n".join(msgspec.json.encode(row) for row in rows)
        return msgspec.json.encode({"top": self.top})

    def insert(self, table: str, rows: bytes, *, token: str) -> None:
        self.inserted.append(msgspec.json.decode(rows))


@pytest.mark.parametrize(
    ("known", "base", "found"),
    [
        ({}, 0, []),
        ({"a": Known("1", 0)}, 0, []),
        ({"a": Known("2", 0)}, 0, [("a", "2", "1")]),
        ({"a": Known("2", 0)}, 10_000, []),
        ({"a": Known("2", 10_000)}, 10_000, [("a", "2", "1")]),
        ({"a": Known("2", 10_000)}, 0, [("a", "2", "1")]),
        ({"b": Known("2", 0)}, 0, []),
    ],
)
def test_a_topic_may_be_another_one_under_a_base_that_was_raised(
    known: dict[str, Known], base: int, found: list[tuple[str, str, str]]
) -> None:
    assert list(made_anew(known, {"a": "1"}, base)) == found


def test_topics_are_noted_once_and_again_under_a_higher_base() -> None:
    store: Any = Noted(top=7, a=Known("1", 0), b=Known("2", 10_000))
    require_known(store, {"a": "1", "c": "3"}, 0)
    require_known(store, {"a": "1", "b": "2"}, 10_000)
    assert store.inserted == [
        {"topic": "c", "topic_id": "3", "offset_base": 0},
        {"topic": "a", "topic_id": "1", "offset_base": 10_000},
    ]


def test_a_base_below_that_of_stored_rows_is_named() -> None:
    store: Any = Noted(b=Known("2", 10_000))
    with pytest.raises(
        OffsetBaseTooLow, match="b counts from 10000, and PIPELINE_OFFSET_BASE is 0: set it to 10000"
    ):
        require_known(store, {"b": "2"}, 0)
    assert not store.inserted


def test_a_topic_of_which_nothing_was_stored_may_be_another_one() -> None:
    """As the embedded broker's are at each start."""
    store: Any = Noted(top=10_000, a=Known("2", 10_000))
    require_known(store, {"a": "1"}, 10_000)
    assert store.inserted == [{"topic": "a", "topic_id": "1", "offset_base": 10_000}]
    store.top = 10_001
    with pytest.raises(TopicMadeAnew):
        require_known(store, {"a": "1"}, 10_000)


def test_the_runbook_counts_offsets_as_the_program_does() -> None:
    """On ClickHouse the numbers are compared in test_clickhouse."""
    runbook = (schema_folder().parent / "deploy" / "runbook.md").read_text(encoding="utf-8")
    said = re.search(r'session-pipeline query --format TSV "([^"]*)"', runbook)
    assert said and said[1].split() == NEXT_OFFSET_SQL.split()


# -- what status finds


def kinds(found: Faults) -> list[tuple[str, str, str, int]]:
    assert all("runbook.md" in text for text in found.values())
    return [tuple(place) for place in found]


def test_a_topic_that_is_another_one_or_gone_is_a_fault() -> None:
    known = {"a": Known("1", 0), "b": Known("2", 0), "c": Known("3", 0)}
    found = faults_of_topics(known, {"a": "1", "b": "9"}, 0)
    assert kinds(found) == [("made anew", "", "b", -1), ("gone", "", "c", -1)]
    assert faults_of_topics(known, {}, 0) == {}, "this broker gives no ids"


@pytest.mark.parametrize(
    ("offset", "lost", "accepted", "kind"),
    [
        (10, 0, 0, None),
        (20, 0, 0, None),
        (21, 0, 0, "lag below zero"),
        (9, 0, 0, "lost"),
        (9, 0, 1, None),
        (15, 3, 2, "lost"),
        (15, 3, 3, None),
    ],
)
def test_a_lag_below_zero_and_records_that_were_deleted_unread_are_faults(
    offset: int, lost: int, accepted: int, kind: str | None
) -> None:
    commits = {"router": {}, "sessionizer": {HERE: (offset, Note("1", lost))}, "sink": {HERE: None}}
    found = faults_of_groups(
        commits, {HERE: LogBounds(10, 20)}, {("sessionizer", SOURCE, 0): accepted} if accepted else {}
    )
    assert kinds(found) == ([(kind, "sessionizer", SOURCE, 0)] if kind else [])


def test_a_ledger_that_does_not_add_up_is_a_fault() -> None:
    def line(missing: int, duplicates: int) -> LedgerTotals:
        return LedgerTotals(SOURCE, 3, 9, missing, 9, 9 - duplicates, duplicates, 0, 0, 0)

    assert faults_of_ledger([line(0, 0), line(0, 4)], {}) == {}
    found = faults_of_ledger([line(2, -1)], {})
    assert kinds(found) == [("duplicates", "ledger", SOURCE, 3), ("missing", "ledger", SOURCE, 3)]
    assert "sdk-events[3]: -1 duplicates" in next(iter(found.values()))
    assert "sample_rate" in next(iter(found.values()))
    accepted = {("duplicates", SOURCE, 3): 1}
    assert faults_of_ledger([line(0, -1)], accepted) == {}
    assert kinds(faults_of_ledger([line(0, -2)], accepted)) == [("duplicates", "ledger", SOURCE, 3)]
