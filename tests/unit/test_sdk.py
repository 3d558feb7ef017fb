"""The library for producers: what is taken, when it goes, and what becomes of what cannot."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import msgspec
import pytest

from pipeline.formats import native
from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.meaning import interpret
from pipeline.formats.rejected import Reason
from pipeline.sdk import (
    AsyncProducer,
    Device,
    Event,
    NotSent,
    Producer,
    ProducerClosed,
    QueueFull,
    Refused,
    SendFailure,
    Undelivered,
    User,
    WhenFull,
    event,
    events,
)
from tests.support.sdk import LOST, REFUSED, SILENT, UNCONFIRMED, FakeKafka, with_kafka

PHONE = Device("org.example.app", "phone-1", resource={"service.version": "1.2"}, user=User("u1"))
ANOTHER = Device("org.example.app", "phone-2")


def test_each_helper_means_what_it_says() -> None:
    said = [
        (events.launch(), "launch"),
        (events.foreground("android"), "foreground"),
        (events.foreground("ios"), "foreground"),
        (events.foreground("browser"), "active"),
        (events.background("android"), "background"),
        (events.background("ios"), "background"),
        (events.background("browser"), "background"),
        (events.crash(ValueError("no")), "crash"),
        (events.exception("TypeError", fatal=True), "exception"),
        (events.exception("TypeError"), "activity"),
        (events.anr(fatal=True), "anr"),
        (events.process_exit("low_memory"), "exit"),
        (events.session_end(), "session_end"),
        (events.tap("buy", "Buy"), "activity"),
        (events.view("cart"), "activity"),
        (events.request("GET", "https://example.org", 500), "activity"),
        (events.log("broken", "ERROR"), "activity"),
        (event("app.heartbeat"), "passive"),
    ]
    for each, kind in said:
        assert interpret(each.name, each.attributes or {})[0].label == kind, each


def counters(each: Event) -> int:
    return interpret(each.name, each.attributes or {})[2]


def test_each_helper_counts() -> None:
    counting = [
        events.crash("SIGSEGV"),
        events.anr(),
        events.exception("E"),
        events.request("GET", "/", 200),
        events.request("GET", "/", error_type="timeout"),
        events.tap("a"),
        events.view("a"),
        events.log("a", "FATAL"),
    ]
    assert all(counters(each) for each in counting)
    assert len({counters(each) for each in counting}) == len(counting)
    assert not counters(events.log("a")) and not counters(events.session_end())


def test_an_exception_tells_its_innermost_frames() -> None:
    def fall(levels: int) -> None:
        if not levels:
            raise ValueError("at the bottom")
        fall(levels - 1)

    try:
        fall(3)
    except ValueError as error:
        said = events.crash(error).attributes or {}
    assert said["exception.type"] == "ValueError" and said["exception.message"] == "at the bottom"
    assert said["exception.stacktrace"].endswith("ValueError: at the bottom\n")


def test_what_is_sent_arrives_in_envelopes_of_one_device() -> None:
    kafka = FakeKafka()
    with with_kafka(Producer, kafka) as producer:
        for number in range(3):
            assert producer.send(PHONE, event("a", {"n": number}))
            assert producer.send(ANOTHER, event("a", {"n": number}))
        producer.flush(10)
        assert producer.counts == (6, 6, 0, 0)
    assert kafka.is_stopped
    assert [record.topic for record in kafka.records] == ["sdk-events"] * 2
    assert [record.key for record in kafka.records] == [PHONE.key, ANOTHER.key]
    envelope = kafka.envelopes()[0]
    assert envelope["resource"] == {"service.version": "1.2"} and envelope["user"] == {"id": "u1"}
    assert abs(envelope["sent_at"] - time.time() * 1_000) < 60_000
    sent = kafka.events()
    assert len({each["id"] for each in sent}) == 6
    assert [each["attributes"]["n"] for each in sent] == [0, 1, 2, 0, 1, 2]
    assert [each["seq"] for each in sent] == [1, 3, 5, 2, 4, 6]


def test_what_an_event_says_of_itself_stands() -> None:
    kafka = FakeKafka()
    at = datetime(2025, 3, 18, 11, 16, 31, 764_900, UTC)
    with with_kafka(Producer, kafka) as producer:
        producer.send(PHONE, Event(name="a", id="mine", time=at, seq=7, session_id="s"))
        producer.send(PHONE, event("a", time=1_742_296_591_764))
    one, other = kafka.events()
    assert one == {"id": "mine", "name": "a", "time": 1_742_296_591_764, "seq": 7, "session_id": "s"}
    assert other["time"] == one["time"]


def test_what_the_caller_changes_later_does_not_matter() -> None:
    kafka = FakeKafka()
    said: dict[str, Any] = {"n": 1}
    with with_kafka(Producer, kafka) as producer:
        producer.send(PHONE, event("a", said))
        said["n"] = 2
    assert kafka.events()[0]["attributes"] == {"n": 1}


def test_an_envelope_goes_when_it_is_full_by_count_by_bytes_or_by_age() -> None:
    kafka = FakeKafka()
    with with_kafka(Producer, kafka, linger_s=60) as producer:
        for _ in range(MAX_EVENTS + 1):
            producer.send(PHONE, event("a"))
        until(lambda: len(kafka.records) == 1)
        for _ in range(3):
            producer.send(ANOTHER, event("a", {"long": "x" * 400_000}))
        until(lambda: len(kafka.records) == 2)
    assert [len(envelope["events"]) for envelope in kafka.envelopes()] == [MAX_EVENTS, 2, 1, 1]
    assert all(len(record.value) <= MAX_RECORD_BYTES for record in kafka.records)

    soon = FakeKafka()
    with with_kafka(Producer, soon, linger_s=0.02) as producer:
        producer.send(PHONE, event("a"))
        until(lambda: bool(soon.records))


def test_two_objects_that_say_the_same_are_one_device() -> None:
    kafka = FakeKafka()
    with with_kafka(Producer, kafka) as producer:
        for _ in range(3):
            producer.send(Device("a", "b"), event("x"))
    assert len(kafka.records) == 1


def test_an_event_may_fill_a_record() -> None:
    kafka, failures = FakeKafka(), list[SendFailure]()
    room = PHONE.room - len(b'{"id":"1","name":"a","time":1742296591764,"seq":1,"attributes":{"x":""}}')
    with with_kafka(Producer, kafka, failures) as producer, pytest.raises(Undelivered):
        producer.send(PHONE, event("a", {"x": "x" * room}, id="1", time=1_742_296_591_764, seq=1))
        producer.flush(10)
        assert len(kafka.records[0].value) in range(MAX_RECORD_BYTES - 1, MAX_RECORD_BYTES + 1)
        producer.send(PHONE, event("a", {"x": "x" * (room + 1)}, id="1", time=1_742_296_591_764, seq=1))
        producer.flush(10)
    (failure,) = failures
    assert failure.reason is Reason.RECORD_TOO_LARGE and failure.path == "events[0]"


FAULTS = [
    (event("a", time=1_742_296_591), Reason.TIME_OUT_OF_RANGE, "events[0].time"),
    (event("a", time=4_200_000_000_000), Reason.TIME_OUT_OF_RANGE, "events[0].time"),
    (event("a", time=datetime(2025, 1, 1)), Reason.INVALID_TYPE, "events[0].time"),
    (event("", {}), Reason.INVALID_VALUE, "events[0].name"),
    (event("a", id="x" * 129), Reason.ID_LENGTH, "events[0].id"),
    (event("a", id="\0"), Reason.INVALID_VALUE, "events[0].id"),
    (event("a", seq=-1), Reason.INVALID_VALUE, "events[0].seq"),
    (event("a", session_id=3), Reason.INVALID_TYPE, "events[0].session_id"),
    (event("a", {"x": object()}), Reason.INVALID_TYPE, "events[0].attributes"),
    (event("a", {"x": [[]] * 60_000}), Reason.TOO_MANY_VALUES, ""),
]


@pytest.mark.parametrize(("bad", "reason", "path"), FAULTS, ids=lambda value: str(value)[:30])
def test_what_the_decoder_refuses_is_told_and_never_sent(bad: Event, reason: Reason, path: str) -> None:
    kafka, failures = FakeKafka(), list[SendFailure]()
    producer = with_kafka(Producer, kafka, failures)
    producer.send(PHONE, event("good"))
    producer.send(PHONE, bad)
    producer.send(PHONE, event("good"))
    with pytest.raises(Undelivered, match=reason.value) as told:
        producer.close()
    assert [(each.reason, each.path) for each in failures] == [(reason, path)]
    assert told.value.failures == failures and told.value.failed == 1 and not told.value.waiting
    assert failures[0].device is PHONE and not failures[0].may_have_arrived
    assert failures[0].event["name"] == bad.name
    assert [each["name"] for each in kafka.events()] == ["good", "good"]


def test_a_list_that_holds_itself_is_told() -> None:
    failures: list[SendFailure] = []
    endless: list[Any] = []
    endless.append(endless)
    producer = with_kafka(Producer, FakeKafka(), failures)
    assert not producer.send(PHONE, event("a", {"x": endless}))
    assert failures[0].reason is Reason.TOO_DEEP


def test_what_is_no_text_goes_and_is_repaired_there() -> None:
    kafka = FakeKafka()
    with with_kafka(Producer, kafka) as producer:
        producer.send(
            PHONE, event("a", {"x": "half \ud83d", "n": float("nan"), "at": datetime(2025, 1, 1, tzinfo=UTC)})
        )
    read = native.decode(kafka.records[0].value, PHONE.key, int(time.time() * 1_000))
    assert isinstance(read, native.Envelope) and not read.refused
    assert "events[0].attributes.x" in read.events[0].repaired


def test_events_that_are_too_much_together_go_apart() -> None:
    """Neither has a fault; an envelope with both would have too many values, or its times moved to before 2000."""
    kafka = FakeKafka()
    soon = int(time.time() * 1_000) + 20 * 3_600_000
    with with_kafka(Producer, kafka) as producer:
        for _ in range(4):
            producer.send(PHONE, event("many", {"x": [[]] * 30_000}))
        producer.send(ANOTHER, event("early", time=946_684_800_000))
        producer.send(ANOTHER, event("ahead", time=soon))
        producer.flush(10)
        assert producer.counts.delivered == 6
    assert Counter(each["name"] for each in kafka.events()) == {"many": 4, "early": 1, "ahead": 1}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"app_id": "a/b", "device_id": "d"}, "app_id"),
        ({"app_id": "a", "device_id": ""}, "device_id"),
        ({"app_id": "a", "device_id": 5}, "device_id"),
        ({"app_id": "a", "device_id": "d", "resource": {"x": "y" * 70_000}}, "resource"),
        ({"app_id": "a", "device_id": "d", "resource": {"x": object()}}, "$"),
        ({"app_id": "a", "device_id": "d", "user": User("u" * 129)}, "user.id"),
    ],
)
def test_a_device_that_no_envelope_may_have_is_told_at_once(said: dict[str, Any], path: str) -> None:
    with pytest.raises(Refused) as told:
        Device(**said)
    assert told.value.rejected.path == path


def test_tried_again_an_event_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sdk.courier._FIRST_PAUSE_S", 0.001)
    kafka = FakeKafka(iter([LOST, UNCONFIRMED, LOST]))
    with with_kafka(Producer, kafka) as producer:
        producer.send(PHONE, event("a"))
        producer.flush(10)
        assert producer.counts == (1, 1, 0, 0)
    one, other = kafka.events()
    assert one == other and kafka.attempts == 4


def test_what_is_not_confirmed_in_time_is_told_and_may_have_arrived() -> None:
    kafka, failures = FakeKafka(repeat(SILENT)), list[SendFailure]()
    producer = with_kafka(Producer, kafka, failures, delivery_timeout_s=0.05, linger_s=0)
    producer.send(PHONE, event("a"))
    with pytest.raises(Undelivered, match="1 events were not delivered"):
        producer.flush(10)
    assert [(each.reason, each.may_have_arrived) for each in failures] == [(NotSent.TIMED_OUT, True)]
    producer.flush(10)  # told once
    producer.close()


def test_what_kafka_refuses_is_told_at_once() -> None:
    kafka, failures = FakeKafka(iter([REFUSED])), list[SendFailure]()
    producer = with_kafka(Producer, kafka, failures)
    producer.send(PHONE, event("a"))
    with pytest.raises(Undelivered, match="never"):
        producer.flush(10)
    assert [(each.reason, each.may_have_arrived) for each in failures] == [(NotSent.KAFKA_REFUSED, False)]
    producer.close()


def test_a_flush_that_waits_in_vain_says_so_and_close_tells_the_rest() -> None:
    failures: list[SendFailure] = []
    producer = with_kafka(Producer, FakeKafka(repeat(SILENT)), failures)
    producer.send(PHONE, event("a"))
    with pytest.raises(Undelivered, match="1 are still waiting") as told:
        producer.flush(0.05)
    assert told.value.waiting == 1 and not failures
    with pytest.raises(Undelivered):
        producer.close(0.05)
    assert [each.reason for each in failures] == [NotSent.CLOSED]
    assert producer.counts == (1, 0, 1, 0)
    with pytest.raises(ProducerClosed):
        producer.send(PHONE, event("a"))
    producer.close()


def test_an_error_of_the_program_is_not_hidden_by_what_is_undelivered() -> None:
    with pytest.raises(KeyError), with_kafka(Producer, FakeKafka(iter([REFUSED]))) as producer:
        producer.send(PHONE, event("a"))
        raise KeyError


def test_a_callback_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(failure: SendFailure) -> None:
        raise RuntimeError("callback")

    kafka = FakeKafka()
    producer = with_kafka(Producer, kafka, on_error=fail)
    producer.send(PHONE, event("a", time=1))
    producer.send(PHONE, event("b"))
    with pytest.raises(Undelivered):
        producer.close()
    assert [each["name"] for each in kafka.events()] == ["b"]
    assert "the error callback failed" in caplog.text


def test_without_a_callback_failures_are_logged_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    producer = with_kafka(Producer, FakeKafka())
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            producer.send(PHONE, event("a", time=1))
        with pytest.raises(Undelivered, match="50 events"):
            producer.close()
    assert len(caplog.records) == 1 and "time_out_of_range: events[0].time" in caplog.text


def full_of(when_full: WhenFull, failures: list[SendFailure], **choices: Any) -> Any:
    """A producer that has taken two events, of which Kafka confirms none, and takes no more."""
    producer = with_kafka(
        Producer, FakeKafka(repeat(SILENT)), failures, when_full=when_full, queue_events=2, **choices
    )
    assert producer.send(PHONE, event("a")) and producer.send(PHONE, event("b"))
    return producer


def closed(producer: Any) -> None:
    with pytest.raises(Undelivered):
        producer.close(0)


def test_when_it_is_full_it_drops_and_tells() -> None:
    failures: list[SendFailure] = []
    producer = full_of(WhenFull.DROP, failures)
    assert not producer.send(PHONE, event("c"))
    assert [(each.reason, each.event["name"]) for each in failures] == [(NotSent.QUEUE_FULL, "c")]
    closed(producer)
    assert producer.counts == (3, 0, 3, 0)


def test_when_it_is_full_it_raises() -> None:
    failures: list[SendFailure] = []
    producer = full_of(WhenFull.RAISE, failures)
    with pytest.raises(QueueFull):
        producer.send(PHONE, event("c"))
    assert not failures
    closed(producer)


def test_when_it_is_full_it_waits_and_then_drops() -> None:
    failures: list[SendFailure] = []
    producer = full_of(WhenFull.BLOCK, failures, block_s=0.05)
    started_s = time.monotonic()
    assert not producer.send(PHONE, event("c"))
    assert 0.05 <= time.monotonic() - started_s < 5
    assert [each.reason for each in failures] == [NotSent.QUEUE_FULL]
    closed(producer)


def test_who_waits_for_room_gets_it() -> None:
    kafka = FakeKafka()
    with with_kafka(
        Producer, kafka, when_full=WhenFull.BLOCK, queue_events=2, block_s=30, linger_s=0
    ) as producer:
        for number in range(50):
            assert producer.send(PHONE, event("a", {"n": number}))
    assert sorted(each["attributes"]["n"] for each in kafka.events()) == list(range(50))


def test_bytes_are_bounded_too_and_the_largest_event_passes_an_empty_queue() -> None:
    failures: list[SendFailure] = []
    producer = with_kafka(Producer, FakeKafka(repeat(SILENT)), failures, queue_bytes=1_000)
    assert producer.send(PHONE, event("a", {"x": "x" * 2_000}))
    assert not producer.send(PHONE, event("b"))
    closed(producer)


def test_many_threads_lose_nothing() -> None:
    kafka = FakeKafka()
    with with_kafka(Producer, kafka, linger_s=0.001, batch_events=7) as producer:

        def send(thread: int) -> None:
            for number in range(500):
                producer.send(PHONE if number % 2 else ANOTHER, event("a", {"n": (thread, number)}))
                if number % 100 == 0:
                    producer.flush(10)

        threads = [threading.Thread(target=send, args=(each,)) for each in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    sent = [tuple(each["attributes"]["n"]) for each in kafka.events()]
    assert len(sent) == len(set(sent)) == 2_000


def test_in_a_loop_it_is_the_same() -> None:
    kafka, failures = FakeKafka(iter([LOST])), list[SendFailure]()

    async def run() -> None:
        async with with_kafka(AsyncProducer, kafka, failures, linger_s=0) as producer:
            assert await producer.send(PHONE, event("a"))
            assert not await producer.send(PHONE, event("a", {"x": object()}))
            with pytest.raises(Undelivered):
                await producer.flush(10)
            await producer.flush(10)
            assert producer.counts == (2, 1, 1, 0)
        with pytest.raises(ProducerClosed):
            await producer.send(PHONE, event("a"))

    asyncio.run(run())
    assert len(kafka.events()) == 1 and [each.reason for each in failures] == [Reason.INVALID_TYPE]


@pytest.mark.parametrize("when_full", WhenFull)
def test_in_a_loop_it_is_full_in_the_same_way(when_full: WhenFull) -> None:
    failures: list[SendFailure] = []

    async def run() -> None:
        producer = with_kafka(
            AsyncProducer, FakeKafka(repeat(SILENT)), failures,
            queue_events=1, when_full=when_full, block_s=0.02,
        )  # fmt: skip
        await producer.send(PHONE, event("a"))
        if when_full is WhenFull.RAISE:
            with pytest.raises(QueueFull):
                await producer.send(PHONE, event("b"))
        else:
            assert not await producer.send(PHONE, event("b"))
            assert [each.reason for each in failures] == [NotSent.QUEUE_FULL]
        with pytest.raises(Undelivered):
            await producer.close(0)

    asyncio.run(run())


@pytest.mark.parametrize(
    "choice",
    [
        {"batch_events": 501},
        {"batch_events": 0},
        {"queue_events": 0},
        {"linger_s": -1},
        {"when_full": "wait"},
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_told(choice: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=next(iter(choice.values())) if "when_full" in choice else next(iter(choice))
    ):
        Producer("nowhere:1", **choice)


def until(is_so: Any) -> None:
    deadline_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_a_payload_is_json_of_its_own() -> None:
    failure = SendFailure(NotSent.CLOSED, "", "", PHONE, b'{"id":"1"}')
    assert failure.event == {"id": "1"} == msgspec.json.decode(failure.payload)


def test_events_go_once_a_thread_can_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = with_kafka(Producer, FakeKafka())
    with monkeypatch.context() as tight:

        def no_thread(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        tight.setattr(threading.Thread, "start", no_thread)
        assert producer.send(PHONE, event("first"))
        assert producer.send(PHONE, event("second"))
    producer.flush(10)
    assert producer.counts == (2, 2, 0, 0)
    producer.close()
