"""A panic of the compiled core is a record, a device or a chunk that Python does, and never the end of a worker: what
comes out is the same, it is counted, and the log says it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pipeline.domain.policy import HOUR_MS, Policies
from pipeline.formats import measure, otlp
from pipeline.formats.edge import Edge
from pipeline.formats.translation import Translation
from pipeline.kafka.bounded_fetch import Room, room, within_room
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Router
from pipeline.roles.sink.batch import Bounds
from pipeline.roles.sink.sink import Sink
from pipeline.state.records import SourceRecord
from tests.support.both_rows import SOURCE, made_by, of_pieces
from tests.support.cores import core_or_skip
from tests.support.fetched_envelopes import BUILT_IN, event
from tests.support.fetched_envelopes import record as envelope_of
from tests.support.measure import NOW_MS as MEASURE_NOW_MS
from tests.support.measure import event as of_measure
from tests.support.otlp import DEVICE, NOW_MS, add_logs, logs
from tests.support.packed import batch, fetched, told
from tests.support.two_cores import TwoCores

Poison = Callable[[str, bytes], None]
START_MS = 1_800_000_000_000
EDGE: Edge = BUILT_IN


@pytest.fixture(scope="module")
def core() -> ModuleType:
    return core_or_skip()


@pytest.fixture
def poison(core: ModuleType, caplog: pytest.LogCaptureFixture) -> Iterator[Poison]:
    """Makes the core panic at a place over some bytes."""
    yield core.poison
    core.poison("", b"")
    assert any("the compiled core fails" in each.getMessage() for each in caplog.get_records("call"))


def records(first: int, *devices: str) -> list[SourceRecord]:
    """An event of each device."""
    return [
        SourceRecord(
            offset, START_MS + 1_000 * offset, f"a/{device}".encode(),
            json.dumps({
                "v": 1, "app_id": "a", "device_id": device,
                "events": [{"id": f"e{offset}", "name": "n", "time": START_MS + 1_000 * offset}],
            }).encode(),
        )
        for offset, device in enumerate(devices, first)
    ]  # fmt: skip


def goes_on(two: TwoCores) -> None:
    """What comes next, silence, and a new owner of what is durable."""
    two.take(records(10, "x", "y", "z"))
    two.tick(START_MS + HOUR_MS)
    two.begin()
    two.take(records(20, "x", "y", "z"))


@pytest.mark.parametrize("place", ["step", "fold", "outbox"])
def test_a_device(core: ModuleType, poison: Poison, place: str) -> None:
    """Those before it and behind it stay with the core."""
    two = TwoCores(core, Policies(), EDGE)
    poison(place, b"a/y")
    two.take(records(0, "x", "y", "y", "z"))
    assert two.handed_over == {"panic": 2}
    assert two.rust._core is not None
    goes_on(two)
    # Rows are not due with each of them.
    assert two.handed_over == {"panic": 3 if place == "outbox" else 4}


def test_a_chunk_that_is_put_together(core: ModuleType, poison: Poison) -> None:
    two = TwoCores(core, Policies(), EDGE)
    poison("group", b"a/y")
    two.take(records(0, "x", "y", "z"))
    assert two.handed_over == {"panic": 3} and two.compiled == 3
    goes_on(two)


@pytest.mark.parametrize("place", ["restore", "touch_all"])
def test_a_partition_that_is_taken_over(core: ModuleType, poison: Poison, place: str) -> None:
    two = TwoCores(core, Policies(), EDGE)
    two.take(records(0, "x", "y", "z"))
    poison(place, b"a/y\0steps" if place == "restore" else b"a/y")
    two.begin()
    assert two.rust._core is None and two.rust.holds == two.python.holds
    goes_on(two)
    assert two.handed_over == {"panic": 6}


@pytest.mark.parametrize(("place", "devices"), [("put", "yxz"), ("touch", "xyz"), ("pop", "xyz")])
def test_a_partition_in_the_middle(core: ModuleType, poison: Poison, place: str, devices: str) -> None:
    """Of the durable states nothing is lost, though some of a step were committed before."""
    two = TwoCores(core, Policies(), EDGE)
    two.take(records(0, "x", "y"))
    poison(place, b"a/" + devices[1].encode())
    two.take(records(2, *devices))
    two.tick(START_MS + HOUR_MS)
    assert two.rust._core is None and two.rust.holds == two.python.holds
    poison("", b"")
    goes_on(two)


def test_a_fetch(core: ModuleType, poison: Poison) -> None:
    """aiokafka goes on behind what was taken, and the next fetch is the core's again."""
    rng, left = Random(1), list[tuple[str, int]]()
    data = batch(0, rng, codec=3) + batch(5, rng)
    result = fetched(data, 0)
    poison("take", (7).to_bytes(8, "big"))
    found = list[Any]()
    while result.has_more():
        token = room.set(Room(300, core, lambda *said: left.append(said)))
        found += within_room(result, 3)
        room.reset(token)
    assert list(map(told, found)) == list(map(told, fetched(data, 0)._partition_records))
    assert {why for why, _ in left} == {"panic"} and 0 < sum(count for _, count in left) < 10


OBFUSCATED = {"exception.type": "a.c", "exception.stacktrace": "a.c: x\n\tat a.a.a(SourceFile:1)"}


@pytest.mark.parametrize("place", ["rows", "written"])
def test_rows_of_a_chunk(core: ModuleType, poison: Poison, place: str) -> None:
    """They are made as JSON: those in the block of their piece, and all that come after."""
    metrics = Metrics()
    chunk = [
        envelope_of(
            number,
            *(event(10 * number + each) for each in range(9)),
            event(10 * number + 9, name="app.crash", attributes=OBFUSCATED),
            device_id=f"d{number % 7}",
        )._replace(key=f"app/d{number % 7}".encode())
        for number in range(60)
    ]
    sink = Sink(
        never, never, metrics, bounds=Bounds(max_bytes=50_000), edge=EDGE, core=core, insert_native=never
    )
    poison(place, {"rows": b"app/d6", "written": b"sdk-events"}[place])
    pieces = list(sink.event_pieces(SOURCE, chunk))
    expected = made_by(None, chunk)
    assert len(pieces) > 1 and of_pieces(pieces)[:3] == expected[:3]
    assert metrics.left_to_python.labels("sink", "panic")._value.get() == len(chunk)
    poison("", b"")
    assert not any(piece.failing for piece in pieces), "they are among the rows"
    (piece, *_) = sink.event_pieces(SOURCE, chunk)
    assert piece.block and piece.failing and not piece.rows


async def never(*_: Any, **__: Any) -> Any:
    raise AssertionError


@pytest.mark.parametrize("place", ["events", "make"])
def test_log_records_of_a_scope(core: ModuleType, poison: Poison, place: str) -> None:
    metrics, sent = Metrics(), list[Any]()

    async def send(items: Any) -> None:
        sent.extend(items)

    message = logs({"event_name": "a"}, {"event_name": "b"}, scope="bad")
    add_logs(message, {"event_name": "c"}, resource=DEVICE, scope="good")
    router = Router(send, send, metrics, core=core)
    record = SimpleNamespace(
        headers=(), timestamp=NOW_MS, key=None, value=message.SerializeToString(), offset=0
    )
    poison(place, b'"bad"')
    asyncio.run(router.handle(otlp.LOGS.topic, 0, [record]))
    assert otlp.LOGS.translate is not None
    expected = otlp.LOGS.translate(record.value, NOW_MS)
    assert isinstance(expected, Translation)
    assert [value for _, value, _ in sent] == [each.value for each in expected.records]
    assert metrics.left_to_python.labels("router", "panic")._value.get() == 2


def test_a_body_of_measure(core: ModuleType, poison: Poison) -> None:
    left = list[tuple[str, int]]()
    format = measure.FORMAT
    assert format.translate is not None and format.with_core is not None
    translate = format.with_core(core, lambda *said: left.append(said))
    bodies = [json.dumps({"events": [of_measure(name)]}).encode() for name in ("a", "b")]
    poison("body", bodies[0])
    for body in bodies:
        assert translate(body, MEASURE_NOW_MS) == format.translate(body, MEASURE_NOW_MS)
    assert left == [("panic", 1)]
