"""Whatever is called, whatever Kafka does: each event arrives under one id, or its failure is told, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.rejected import Reason
from pipeline.sdk import AsyncProducer, Device, NotSent, QueueFull, SendFailure, Undelivered, WhenFull, event
from tests.support.sdk import OUTCOMES, SILENT, TAKEN, FakeKafka, with_kafka

DEVICES = [Device("app", f"device-{number}") for number in range(3)]
# One in each would be too rare: most events are good, and small.
KINDS = ["good"] * 6 + ["long", "second", "no_json", "half"]


@pytest.fixture(scope="module", autouse=True)
def short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sdk.courier._FIRST_PAUSE_S", 0.0005)
        patch.setattr("pipeline.sdk.courier._GATHER_S", 0.0005)
        yield


class Call(NamedTuple):
    what: str
    number: int


calls = st.lists(
    st.builds(Call, st.sampled_from(KINDS), st.integers(0, 2))
    | st.builds(Call, st.sampled_from(["flush", "pause"]), st.integers(0, 3)),
    max_size=30,
)
choices = st.fixed_dictionaries(
    {
        "linger_s": st.sampled_from([0, 0.001, 10]),
        "batch_events": st.sampled_from([1, 2, 3, MAX_EVENTS]),
        "batch_bytes": st.sampled_from([1, 300, MAX_RECORD_BYTES]),
        "queue_events": st.sampled_from([1, 3, 1_000]),
        "queue_bytes": st.sampled_from([500, 10_000_000]),
        "when_full": st.sampled_from(WhenFull),
        "block_s": st.sampled_from([0, 0.002]),
        "delivery_timeout_s": st.sampled_from([0.01, 30.0]),
    }
)


def made(kind: str, n: int) -> Any:
    attributes: dict[str, Any] = {"n": n}
    if kind == "long":
        attributes["x"] = "x" * 400
    elif kind == "no_json":
        attributes["x"] = object()
    elif kind == "half":
        attributes["x"] = "\ud83d"
    return event(f"event-{n}", attributes, time=1_742_296_591 if kind == "second" else None)


async def played(
    kafka: FakeKafka, said: list[Call], chosen: dict[str, Any]
) -> tuple[int, set[int], Any, Any]:
    """How many events were sent, those for which `QueueFull` was raised, all failures, and all that flushes told."""
    failures: list[SendFailure] = []
    told: list[SendFailure] = []
    raised: set[int] = set()
    producer: AsyncProducer = with_kafka(AsyncProducer, kafka, failures, **chosen)
    sent = 0
    for what, number in said:
        if what == "pause":
            await asyncio.sleep(number / 1_000)
        elif what == "flush":
            try:
                await producer.flush(0.002)
            except Undelivered as undelivered:
                told += undelivered.failures
        else:
            try:
                await producer.send(DEVICES[number], made(what, sent))
            except QueueFull:
                raised.add(sent)
            sent += 1
            counts = producer.counts
            assert counts.taken == counts.delivered + counts.failed + counts.waiting
            assert counts.waiting <= chosen["queue_events"]
    try:
        await producer.close(0.02)
    except Undelivered as undelivered:
        told += undelivered.failures
        assert not undelivered.waiting
    assert producer.counts.waiting == 0
    assert producer.counts.taken == sent - len(raised) and producer.counts.failed == len(failures)
    return sent, raised, failures, told


@settings(max_examples=100)
@given(calls, choices, st.lists(st.sampled_from([*OUTCOMES, TAKEN, TAKEN]), max_size=20), st.booleans())
def test_each_event_has_one_outcome(
    said: list[Call], chosen: dict[str, Any], outcomes: list[str], ends_silent: bool
) -> None:
    kafka = FakeKafka(iter([*outcomes, *[SILENT] * (1_000 if ends_silent else 0)]))
    sent, raised, failures, told = asyncio.run(played(kafka, said, chosen))
    assert kafka.is_stopped or not kafka.attempts

    arrived: dict[str, set[str]] = {}
    for each in kafka.events():
        arrived.setdefault(each["name"], set()).add(each["id"])
    failed = Counter(failure.event["name"] for failure in failures)
    assert told == failures, "a flush or close tells each failure once"
    for n in range(sent):
        name = f"event-{n}"
        if n in raised:
            assert name not in arrived and not failed[name]
            continue
        assert (name in arrived) + failed[name] >= 1, "lost without a word"
        assert failed[name] <= 1
        assert len(arrived.get(name, "x")) == 1, "one id"
    for failure in failures:
        name = failure.event["name"]
        if name in arrived:
            assert failure.may_have_arrived and arrived[name] == {failure.event["id"]}
        if failure.reason is NotSent.QUEUE_FULL:
            assert chosen["when_full"] is not WhenFull.RAISE
    kinds = [what for what, _ in said if what not in ("flush", "pause")]
    faults = {Reason.TIME_OUT_OF_RANGE: "second", Reason.INVALID_TYPE: "no_json"}
    for failure in failures:
        if isinstance(failure.reason, Reason):
            assert kinds[int(failure.event["name"][6:])] == faults[failure.reason]
    for record in kafka.records:
        assert len(record.value) <= MAX_RECORD_BYTES and 1 <= record.events <= chosen["batch_events"]


def test_the_calls_reach_every_outcome() -> None:
    """The strategy above would show nothing if all events arrived."""
    seen: set[object] = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(calls, choices, st.lists(st.sampled_from(OUTCOMES), max_size=20))
    def look(said: list[Call], chosen: dict[str, Any], outcomes: list[str]) -> None:
        kafka = FakeKafka(iter(outcomes))
        _, raised, failures, _ = asyncio.run(played(kafka, said, chosen))
        seen.update(failure.reason for failure in failures)
        seen.update({"raised"} if raised else ())
        ids = [each["id"] for each in kafka.events()]
        seen.update({"arrived"} if ids else ())
        seen.update({"twice"} if len(ids) > len(set(ids)) else ())

    look()
    assert seen >= {*NotSent, Reason.TIME_OUT_OF_RANGE, Reason.INVALID_TYPE, "raised", "arrived", "twice"} - {
        NotSent.OUR_FAULT
    }
