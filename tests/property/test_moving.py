"""Whatever came, was cut off or came late: where states were moved, the sessions are the same.

`Repartition` is driven on a changelog of dictionaries, and killed before any of its writes. Partitions are driven as
the sessionizer drives them, and killed between any two effects.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.policy import Policies
from pipeline.formats.edge import OPEN_EDGE
from pipeline.formats.native.partitioner import partition_of
from pipeline.kafka.topic_identity import Note
from pipeline.roles.repartition import Repartition
from pipeline.state.effects import Effects
from pipeline.state.marker import newer
from pipeline.state.moving import Plan, marker_in, plan_item, plan_of, require_layout, require_whole
from pipeline.state.outbox import Rows
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.topics import TP
from tests.support.cores import by_turns

START_MS = 1_800_000_000_000
END_MS = START_MS + 90 * 24 * 3_600_000
OFFSETS = ("revision", "partition", "offset", "arrived_at")
"""Of a row: what follows from where its input lay."""


class Killed(Exception):
    pass


class Killer:
    """Lets so many acts pass, and kills before the next."""

    def __init__(self, acts: int) -> None:
        self.left = acts

    def act(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


class World:
    """Input, changelog, commits and rows; workers and the command come and go."""

    def __init__(self, partitions: int) -> None:
        self.made = by_turns()
        self.partitions = partitions
        self.before: tuple[int, ...] = ()
        self.base = 0
        self.input: dict[int, list[SourceRecord]] = defaultdict(list)
        self.changelog: dict[int, dict[bytes, bytes]] = defaultdict(dict)
        self.committed: dict[int, int] = {}
        self.rows: dict[str, tuple[int, dict[str, Any]]] = {}

    def produce(self, event: Event, by: int) -> None:
        """As a producer does that knows of so many partitions."""
        number = partition_of(event.key, by)
        self.append(number, event.key, event.value, ())

    def append(self, number: int, key: bytes, value: bytes, headers: tuple[Any, ...]) -> None:
        log = self.input[number]
        log.append(SourceRecord(len(log), START_MS + sum(map(len, self.input.values())), key, value, headers))

    def put(self, number: int, items: Iterable[tuple[bytes, bytes | None]], killer: Killer) -> None:
        """Record by record: some of a write may be there when its writer dies."""
        log = self.changelog[number]
        for key, value in items:
            killer.act()
            if value is None:
                log.pop(key, None)
            elif key not in log or newer(log[key], value):
                log[key] = value

    def emit(self, rows: Rows) -> None:
        for _, line in rows:
            row = orjson.loads(line)
            version = 2 * row["revision"] + row.get("is_final", 0)
            before = self.rows.get(row["session_id"])
            assert before is None or version != before[0] or row == before[1], (
                "two rows of one version differ"
            )
            if before is None or version >= before[0]:
                self.rows[row["session_id"]] = version, row

    def work(self, number: int, chunk: int, killer: Killer) -> None:
        """A sessionizer's life in one partition."""
        items = dict(self.changelog[number])
        require_whole(number, items)
        mine = self.made(
            number, Policies(), partitions=self.partitions, before=self.before, offset_base=self.base
        )
        mine.restore(items)
        require_layout(number, mine.marker, self.partitions, self.base)
        mine.marker = mine.marker.of_topics("source", "log", self.partitions)
        done = self.committed.get(number, 0)
        if done:
            mine.require_state(done)
        while records := self.input[number][done : done + chunk]:
            effects = mine.apply(records)
            assert not effects.refused
            self._do(number, mine, effects, killer)
            done += len(records)
            killer.act()
            self.committed[number] = done

    def _do(self, number: int, mine: Partition, effects: Effects, killer: Killer) -> None:
        for key, value, *headers in effects.moved:
            killer.act()
            self.append(partition_of(key, self.partitions), key, value, tuple(headers))
        self.emit(effects.owed)
        self.put(number, effects.states, killer)
        killer.act()
        self.emit(effects.rows)
        mine.commit(effects)
        assert not effects.rest

    def quiet(self) -> None:
        """All is done, and every device is silent for long."""
        never = Killer(1 << 30)
        for _ in range(3):
            for number in range(self.partitions):
                self.work(number, 100, never)
        for number in range(self.partitions):
            mine = self.made(
                number, Policies(), partitions=self.partitions, before=self.before, offset_base=self.base
            )
            mine.restore(dict(self.changelog[number]))
            while effects := mine.tick(END_MS, caught_up=True):
                self.emit(effects.rows)
                self.put(number, effects.states, never)
                mine.commit(effects)

    @property
    def sessions(self) -> dict[str, dict[str, Any]]:
        return {
            name: {key: value for key, value in row.items() if key not in OFFSETS}
            for name, (_, row) in self.rows.items()
            if not row.get("is_deleted")
        }


class Move(Repartition):
    """The command, in a world."""

    def __init__(self, world: World, killer: Killer) -> None:
        nothing: Any = None
        super().__init__(
            nothing, nothing, partitions=0, before=0, offset_base=0, say=lambda _: None, edge=OPEN_EDGE
        )
        self._world = world
        self._killer = killer

    async def send(self, number: int, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        """As its own fence."""
        self._world.put(number, items, self._killer)

    async def _items(self, number: int) -> dict[bytes, bytes]:
        return dict(self._world.changelog[number])

    async def _committed(self, group: str) -> dict[int, tuple[int, Note]]:
        return {number: (done, Note("source")) for number, done in self._world.committed.items()}

    async def _put_rows(self, number: int, rows: Rows) -> None:
        self._killer.act()
        self._world.emit(rows)

    async def _commit(self, group: str, offsets: Mapping[TP, tuple[int, Note]]) -> None:
        self._killer.act()
        self._world.committed |= {tp.partition: offset for tp, (offset, _) in offsets.items()}

    async def _source_id(self) -> str:
        return "source"

    async def go(self, work: Plan) -> None:
        for number in range(work.before):
            await self.send(number, [plan_item(work)])
        await self.move(self, work, work.partitions)  # type: ignore[arg-type]
        await self.end(self, work)  # type: ignore[arg-type]


class Event(NamedTuple):
    key: bytes
    value: bytes


NAMES: tuple[tuple[str, dict[str, str]], ...] = (
    ("app.screen.view", {}),
    ("app.widget.click", {}),
    ("device.app.lifecycle", {"ios.app.state": "foreground"}),
    ("device.app.lifecycle", {"ios.app.state": "background"}),
    ("app.crash", {}),
)
KINDS = st.tuples(st.integers(0, 5), st.sampled_from(NAMES), st.sampled_from((900, 20_000, 2_000_000)))


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Of six devices, somewhat shuffled, some of them twice."""
    made, at_ms = [], START_MS - 86_400_000
    for number, (device, (name, attributes), gap_ms) in enumerate(
        draw(st.lists(KINDS, min_size=4, max_size=40))
    ):
        at_ms += gap_ms
        event = {"id": f"event-{number}", "name": name, "time": at_ms, "attributes": attributes}
        envelope = {"v": 1, "app_id": "app", "device_id": f"device-{device}", "events": [event]}
        made.append(Event(f"app/device-{device}".encode(), orjson.dumps(envelope)))
    for place in draw(st.lists(st.integers(0, len(made) - 1), max_size=6)):
        made.insert(draw(st.integers(0, len(made))), made[place])
    return made


ACTS = st.one_of(st.just(1 << 30), st.integers(0, 60))


@settings(max_examples=60, deadline=None)
@given(
    events(),
    st.integers(1, 5),
    st.integers(1, 6),
    st.lists(ACTS, min_size=8, max_size=8),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 7),
)
def test_the_sessions_are_those_of_one_partition(
    told: list[Event], before: int, more: int, acts: list[int], first: int, second: int, chunk: int
) -> None:
    one = World(1)
    for event in told:
        one.produce(event, 1)
    one.quiet()

    world = World(before)
    for event in told[:first]:
        world.produce(event, before)
    for number in range(before):
        killed(world.work, number, chunk, Killer(acts[number % 3]))
    # What comes meanwhile, by producers that have heard of it or not.
    for place, event in enumerate(told[first : first + second]):
        world.produce(event, before if place % 3 else before + more)
    work = Plan(before + more, before, 10_000, 0)
    for left in (*acts[3:6], 1 << 30):
        if not killed(lambda killer: asyncio.run(Move(world, killer).go(work)), Killer(left)):
            break
        begun = any(plan_of(items) for items in world.changelog.values())
        is_at_its_end = all(
            marker_in(world.changelog[number]).partitions == work.partitions
            for number in range(work.partitions)
        )
        assert begun or is_at_its_end or left == 0, "a sessionizer could begin in the middle"
    world.partitions, world.before, world.base = work.partitions, (before,), work.offset_base
    for place, event in enumerate(told[first + second :]):
        world.produce(event, before if place % 2 else before + more)
    for number in range(world.partitions):
        killed(world.work, number, chunk, Killer(acts[6]))
    world.quiet()
    assert world.sessions == one.sessions


def killed(work: Any, *arguments: Any) -> bool:
    try:
        work(*arguments)
    except Killed:
        return True
    return False
