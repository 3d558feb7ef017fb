"""The three roles as Faust apps: which topics each reads, and what is behind its agents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from faust.types import TP

from pipeline import topics
from pipeline.clickhouse.store import Store, UnstorableRow
from pipeline.clickhouse.symbol_files import SymbolFiles
from pipeline.domain.policy import Policies
from pipeline.formats.edge import Edge
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.options import Options
from pipeline.formats.registry import routed_topics
from pipeline.kafka import record_batches
from pipeline.kafka.compiled_batches import pack_by
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.fence import Fence, kafka_fence
from pipeline.roles.known_topics import known_topics_guard
from pipeline.roles.ledger_guard import ledger_guard
from pipeline.roles.ledger_sums import keep_summing
from pipeline.roles.metrics import Metrics
from pipeline.roles.rights import topics_of
from pipeline.roles.router import Routed, Router
from pipeline.roles.sessionizer import Send, Sessionizer
from pipeline.roles.sink.batch import Bounds, Piece, Source
from pipeline.roles.sink.policies_by_place import learning
from pipeline.roles.sink.sink import Sink
from pipeline.roles.sink.symbolicating import Symbolicating
from pipeline.roles.sink.table_writer import TableWriter
from pipeline.roles.topology import group_of, plan
from pipeline.state.compiled_partition import partitions_by
from pipeline.state.marker import newer
from pipeline.state.store import Encode
from pipeline.storage.dead_letter import DeadLetter, let_in
from pipeline.storage.kept import Keeping
from pipeline.streaming.faust_app import (
    BatchApp,
    Limits,
    active_partitions,
    add_agent,
    add_state_table,
    caught_up,
    claim,
    create_app,
    raw_producer,
    still_mine,
)
from pipeline.symbols.shelf import Shelf

_LIMITS = {
    # A state is taken and written once for each device and chunk: under a backlog, the more events of a device meet in
    # one the better (`python -m tests.bench --only step` with other values).
    "sessionizer": Limits(max_chunk=100_000, max_chunk_bytes=32 * 1024 * 1024, max_poll_records=100_000),
}
_TICK_S = 0.5
# By its next heartbeat a member learns that the group rebalances, and until all have learnt it they all stand still.
_HEARTBEAT_S = 1.0


def limits_of(role: str) -> Limits:
    """How a role reads its topics."""
    return _LIMITS.get(role, Limits())


class Frame:
    """What all roles share: where Kafka is, how it is read, and how the app of a role is made."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        partitions: int,
        before: tuple[int, ...] = (),
        data_dir: Path,
        session_timeout_s: float,
        give_up_s: float,
        replication_factor: int,
        offset_base: int,
        metrics: Metrics,
        edge: Edge,
        instance_id: str = "",
    ) -> None:
        self.edge = edge
        """That of the settings."""
        self.newest = edge.alike()
        """For what has no place on `sdk-events`: it goes by the newest policies that this process knows."""
        self._instance_id = instance_id
        self.connection = connection
        self.partitions = partitions
        self.before = before
        self.offset_base = offset_base
        self.metrics = metrics
        self._data_dir = data_dir
        self._session_timeout_s = session_timeout_s
        self._give_up_s = give_up_s
        self._replication_factor = replication_factor

    def app(self, role: str, core: ModuleType | None = None) -> BatchApp:
        """The app of a role, with nothing to read yet; the compiled `core`, if there is one, unpacks for it."""
        app = create_app(
            group_of(role),
            connection=self.connection,
            partitions=self.partitions,
            data_dir=self._data_dir / role,
            limits=replace(limits_of(role), give_up_s=self._give_up_s),
            session_timeout_s=self._session_timeout_s,
            heartbeat_interval_s=min(_HEARTBEAT_S, self._session_timeout_s / 6),
            instance_id=self._instance_id,
            replication_factor=self._replication_factor,
        )
        app.core = core
        app.left_to_python = lambda why, count: self.metrics.left_to_python.labels(role, why).inc(count)
        # Each role goes by it: which records are refused, which state is whose, where the router puts what it makes.
        app.partition_counts = {topics.SDK_EVENTS: self.partitions}
        if role == "sessionizer":
            app.partition_counts[topics.STATE] = self.partitions
        counts = {name: count for name, (count, _) in plan(self.partitions, 0).items()}
        app.topics_wanted = {name: counts[name] for name in topics_of(role)}
        return app

    async def dead_letter(self, app: BatchApp, refused: Sequence[DeadLetter]) -> None:
        """Put refused records on `dead-letters`, as the edge leaves them, and wait until the broker has them."""
        producer = raw_producer(app)
        waiting = [
            await producer.send(
                topics.DEAD_LETTERS,
                value=refusal.value,
                key=refusal.key,
                partition=refusal.partition % self.partitions,
                headers=refusal.headers(),
            )
            for refusal in (let_in(letter, self.newest) for letter in refused)
        ]
        await asyncio.gather(*waiting)


def sessionizer_app(
    frame: Frame, policies: Policies, encode: Encode, core: ModuleType | None = None
) -> BatchApp:
    """Folds `sdk-events` into `sessions`; its state is a table with a changelog topic, written by `encode`."""
    app = frame.app("sessionizer", core)
    pack = pack_by(core, app.left_to_python)
    fence = kafka_fence(topics.STATE, lambda: raw_producer(app), pack)

    sessionizer: Sessionizer
    state = add_state_table(
        app,
        "devices",
        source_topic=topics.SDK_EVENTS,
        # Made below, since it needs the name of the changelog.
        on_partition_recovered=lambda number, items: sessionizer.recovered(number, items),  # noqa: PLW0108
        on_partition_revoked=lambda number: sessionizer.revoked(number),  # noqa: PLW0108
        on_reading_begins=lambda number, done: sessionizer.require_state(number, done),  # noqa: PLW0108
        newer=newer,
        claim=fence.claim,
        reach=lambda number: sessionizer.reach(number),  # noqa: PLW0108
    )
    state.require_topics = lambda *place: sessionizer.require_topics(*place)  # noqa: PLW0108
    assert state.changelog_topic == topics.STATE, "the topic was made under the name that Faust gives it"
    sessionizer = Sessionizer(
        policies,
        changelog_topic=state.changelog_topic,
        sessions_topic=topics.SESSIONS,
        send=_sender(app, fence, pack),
        dead_letter=lambda refused: frame.dead_letter(app, refused),
        metrics=frame.metrics,
        partitions=frame.partitions,
        before=frame.before,
        offset_base=frame.offset_base,
        encode=encode,
        edge=frame.edge,
        make_partition=partitions_by(core),
    )

    async def handle(event: Any) -> None:
        if await sessionizer.handle(event.message.partition, event.value, lambda: still_mine(app, event)):
            event.ack()

    async def tick() -> None:
        while not app.should_stop:
            await asyncio.sleep(_TICK_S)
            await _tick(app, sessionizer, fence)

    add_agent(app, "sessionise", [topics.SDK_EVENTS], handle)
    app.task(tick)
    return app


def _sender(app: BatchApp, fence: Fence, pack: record_batches.Pack) -> Send:
    """How a sessionizer sends: states behind their fence, sessions and copies as they are."""

    async def send(topic: str, partition: int, items: Iterable[tuple[Any, ...]]) -> None:
        if topic == topics.STATE:
            await fence.send(partition, items)
        else:
            await record_batches.send(raw_producer(app), topic, partition, items, _now_ms(), pack=pack)

    return send


async def _tick(app: BatchApp, sessionizer: Sessionizer, fence: Fence) -> None:
    """What time decides on the partitions that are read now, and what is to be done every day."""
    for number in active_partitions(app, topics.SDK_EVENTS):
        tp = TP(topics.SDK_EVENTS, number)
        mine = claim(app, tp)
        await sessionizer.tick(number, _now_ms(), caught_up=caught_up(app, tp), still_mine=mine)
        if fence.is_old(number):
            async with sessionizer.at_rest(number):
                await fence.claim(number, mine)


def sink_app(
    frame: Frame, store: Store, bounds: Bounds, keeping: Keeping, core: ModuleType | None = None
) -> BatchApp:
    """Stores `sdk-events`, `sessions`, `event-copies` and `dead-letters` in ClickHouse."""
    app = frame.app("sink")

    sink = _sink_of(app, frame, store, bounds, keeping, core)
    guard = ledger_guard(store, frame.connection, frame.offset_base)
    app.start_offsets = learning(store, sink.policies, guard)
    app.on_topics_known = known_topics_guard(store, frame.offset_base, sink.pass_over)

    def agent(
        name: str, topic: str, build: Callable[[Source, Sequence[Any]], Iterator[Piece]], writer: TableWriter
    ) -> None:
        async def handle(event: Any) -> None:
            pieces = build(Source(topic, event.message.partition), event.value)
            await writer.add_all(pieces, acknowledge=event.ack, still_mine=lambda: still_mine(app, event))

        add_agent(app, name, [topic], handle)

    agent("store_events", topics.SDK_EVENTS, sink.event_pieces, sink.events)
    agent("store_sessions", topics.SESSIONS, sink.session_pieces, sink.sessions)
    agent("store_event_copies", topics.EVENT_COPIES, sink.copy_pieces, sink.copies)
    agent("store_dead_letters", topics.DEAD_LETTERS, sink.dead_letter_pieces, sink.dead_letters)

    async def store_what_is_old() -> None:
        try:
            await sink.run()
        finally:
            store.abandon()

    async def sum_the_ledger() -> None:
        await keep_summing(store)

    app.task(store_what_is_old)
    app.task(sum_the_ledger)
    return app


def _sink_of(
    app: BatchApp, frame: Frame, store: Store, bounds: Bounds, keeping: Keeping, core: ModuleType | None
) -> Sink:
    async def insert(table: str, rows: bytes, *, token: str) -> Sequence[UnstorableRow]:
        return await store.insert_forever(table, rows, token=token)

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        await frame.dead_letter(app, refused)

    return Sink(
        insert,
        dead_letter,
        frame.metrics,
        bounds=bounds,
        partitions=frame.partitions,
        before=frame.before,
        offset_base=frame.offset_base,
        keeping=keeping,
        edge=frame.edge,
        symbolicating=Symbolicating(Shelf(SymbolFiles(store)), insert),
        core=core,
        insert_native=store.insert_native_forever,
    )


def router_app(frame: Frame, options: Options, core: ModuleType | None = None) -> BatchApp:
    """Translates the raw topics into `sdk-events`, keyed by device."""
    app = frame.app("router")
    pack = pack_by(core, app.left_to_python)

    async def send(items: Sequence[Routed]) -> None:
        by_partition: dict[int, list[Routed]] = {}
        for item in items:
            by_partition.setdefault(partition_of(item[0], frame.partitions), []).append(item)
        for number, some in by_partition.items():
            await record_batches.send(
                raw_producer(app), topics.SDK_EVENTS, number, some, _now_ms(), pack=pack
            )

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        await frame.dead_letter(app, refused)

    router = Router(
        send,
        dead_letter,
        frame.metrics,
        offset_base=frame.offset_base,
        options=options,
        edge=frame.newest,
        core=core,
    )

    async def handle(event: Any) -> None:
        await router.handle(event.message.topic, event.message.partition, event.value)
        event.ack()

    add_agent(app, "route", list(routed_topics()), handle)
    return app


def report_ready(app: BatchApp, ready: Callable[[], Awaitable[None]]) -> None:
    """Call `ready` once, when the app reads its partitions (or knows that it has none)."""

    async def watch() -> None:
        while not app.should_stop:
            assignment = app.consumer.assignment_in_force
            if assignment is not None and assignment.open and not assignment.waiting:
                await ready()
                return
            await asyncio.sleep(0.05)

    app.task(watch)


def _now_ms() -> int:
    return int(time.time() * 1_000)
