"""Bad input between good records: each is kept with its reason and its bytes, and all that is good is stored."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline import topics
from pipeline.commands import traffic as traffic_commands
from pipeline.commands.refused import words_of
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import measure
from pipeline.formats.native.partitioner import partition_of
from pipeline.kafka.produce import RecordToSend
from pipeline.query.operations import RefusedTotals
from pipeline.settings import load
from tests.conftest import BROKER_KINDS
from tests.support.stack import Stack, logs_if_failed, running_stack

APP = "org.example.app"
PARTITIONS = 2
DAY_MS = 24 * 3_600_000
NOW_MS = int(time.time() * 1_000)
MB = 1_000_000
_READ_TIMEOUT_S = 30.0

Json = dict[str, Any]


def event(event_id: str, **changed: Any) -> Json:
    return {"id": event_id, "name": "app.screen.view", "time": NOW_MS - 60_000, **changed}


def envelope(device_id: str, *events: Json, **changed: Any) -> Json:
    return {"v": 1, "app_id": APP, "device_id": device_id, "events": list(events), **changed}


def without(document: Json, *names: str) -> Json:
    return {name: value for name, value in document.items() if name not in names}


def of_size(size: int, device_id: str) -> bytes:
    """A sound envelope of so many bytes, all but a few in one attribute."""
    empty = encoded(envelope(device_id, event("huge", attributes={"padding": ""})))
    return encoded(envelope(device_id, event("huge", attributes={"padding": "x" * (size - len(empty))})))


def encoded(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Bad:
    """One bad record of `sdk-events`."""

    what: str
    reason: str
    value: bytes | None
    key: bytes | None = f"{APP}/bad".encode()
    received: int = 1
    """Events it counts as in the ledger."""
    place: int = -1
    """The first refused event; -1 for the whole record."""
    refused: int = 1
    """How many of its events, or the record."""
    second: tuple[int, str] | None = None
    """Place and reason of a second dead letter: there is one for each reason of a record."""
    sound: tuple[str, ...] = ()
    """Ids of its events that are stored."""


def bad(what: str, reason: str, document: Json, **more: Any) -> Bad:
    return Bad(what, reason, encoded(document), **more)


LONG = "x" * 129
NATIVE = [
    Bad("malformed JSON", "malformed_json", b'{"v": 1, "app_id"'),
    Bad("half a record", "malformed_json", encoded(envelope("bad", event("e")))[:-1]),
    Bad("no JSON at all", "malformed_json", b"\x01\x02 hello"),
    Bad("invalid UTF-8", "invalid_utf8", b'{"v": 1, \xff\xfe\x80}'),
    Bad("an empty value", "empty_record", b""),
    Bad("no value", "empty_record", None),
    Bad("not an object", "invalid_type", b"[1, 2]"),
    bad("an unknown version", "unknown_version", envelope("bad", event("e"), v=2)),
    bad("no app id", "missing_field", without(envelope("bad", event("e")), "app_id")),
    bad("no device id", "missing_field", without(envelope("bad", event("e")), "device_id")),
    bad("no events", "missing_field", without(envelope("bad"), "events")),
    bad("an empty list of events", "no_events", envelope("bad")),
    bad("a long device id", "id_length", envelope(LONG, event("e")), key=f"{APP}/{LONG}".encode()),
    bad(
        "the key of another device", "key_mismatch", envelope("bad", event("e")), key=f"{APP}/other".encode()
    ),
    bad("no key", "key_mismatch", envelope("bad", event("e")), key=None),
    bad("a key of no text", "key_mismatch", envelope("bad", event("e")), key=b"\xff\x00\xfe"),
    Bad("one byte too many", "record_too_large", of_size(MB + 1, "bad")),
    Bad("3 MB", "record_too_large", of_size(3 * MB, "bad")),
    bad("501 events", "too_many_events", envelope("bad", *(event(f"e{n}") for n in range(501)))),
    bad("an event of 1970", "time_out_of_range", envelope("bad", event("e", time=1_000)), place=0),
    bad(
        "the year 2500",
        "time_out_of_range",
        envelope("bad", event("e", time=16_725_225_600_000)),
        place=0,
    ),
    bad("in two days", "time_out_of_range", envelope("bad", event("e", time=NOW_MS + 2 * DAY_MS)), place=0),
    bad(
        "one bad event among good ones",
        "missing_field",
        envelope("mixed", event("m0"), without(event("m1"), "id"), event("m2")),
        key=f"{APP}/mixed".encode(),
        received=3,
        place=1,
        sound=("m0", "m2"),
    ),
    bad(
        "three bad events of two kinds",
        "id_length",
        envelope("mixed", event(LONG), event("m4"), event(""), event("m5", time=1_000)),
        key=f"{APP}/mixed".encode(),
        received=4,
        place=0,
        refused=3,
        second=(3, "time_out_of_range"),
        sound=("m4",),
    ),
]


def measure_event(event_id: str, **changed: Any) -> Json:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(NOW_MS // 1_000 - 60))
    attribute = {"app_unique_id": APP, "installation_id": "measured"}
    return {"id": event_id, "type": "screen_view", "timestamp": stamp, "attribute": attribute, **changed}


MEASURE = [
    Bad("no JSON", "malformed_json", b"--boundary\r\n", key=None),
    Bad("invalid UTF-8", "invalid_utf8", b'{"events": [\xc3\x28]}', key=b"any\x00key"),
    Bad("an empty body", "empty_record", b"", key=None),
    bad(
        "a bad event among good ones",
        "missing_field",
        {"events": [measure_event("s0"), without(measure_event("s1"), "attribute"), measure_event("s2")]},
        key=None,
        place=1,
        sound=("s0", "s2"),
    ),
    bad(
        "an event of the year 2500",
        "time_out_of_range",
        {"events": [measure_event("s3", timestamp="2500-01-01T00:00:00Z"), measure_event("s4")]},
        key=None,
        place=0,
        sound=("s4",),
    ),
]


GOOD = {partition_of(f"{APP}/good-{n}".encode(), PARTITIONS): f"good-{n}" for n in range(50)}
"""Of each partition a device that belongs there."""


@dataclass(frozen=True)
class Sent:
    """A bad record, and where the broker put it."""

    bad: Bad
    topic: str
    partition: int
    offset: int


@dataclass
class Traffic:
    """What was sent to a stack."""

    stack: Stack
    bad: list[Sent] = field(default_factory=list)
    stored: set[tuple[str, str]] = field(default_factory=set)
    """Device and id of every event that must be stored."""
    received: int = 0
    """Events on `sdk-events`, undecodable records counted as one."""

    async def send(self) -> None:
        """Every bad record between two good ones of its partition."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.stack.connection.servers, max_request_size=topics.MAX_MESSAGE_BYTES
        )
        await producer.start()
        try:
            for number, each in enumerate(NATIVE):
                partition = number % PARTITIONS if each.key is None else partition_of(each.key, PARTITIONS)
                await self._good(producer, partition, number)
                await self._bad(producer, topics.SDK_EVENTS, partition, each)
                self.received += each.received
            for partition in range(PARTITIONS):
                await self._good(producer, partition, len(NATIVE) + partition)
            await self._exactly_full(producer)
            for number, each in enumerate(MEASURE):
                partition = number % PARTITIONS
                await self._good_body(producer, partition, number)
                await self._bad(producer, measure.FORMAT.topic, partition, each)
                self.received += len(each.sound)
            for partition in range(PARTITIONS):
                await self._good_body(producer, partition, len(MEASURE) + partition)
        finally:
            await producer.stop()

    async def _bad(self, producer: Any, topic: str, partition: int, each: Bad) -> None:
        told = await producer.send_and_wait(topic, each.value, key=each.key, partition=partition)
        self.bad.append(Sent(each, topic, told.partition, told.offset))
        device = "mixed" if topic == topics.SDK_EVENTS else "measured"
        self.stored.update((device, event_id) for event_id in each.sound)

    async def _good(self, producer: Any, partition: int, number: int) -> None:
        device = GOOD[partition]
        value = encoded(envelope(device, event(f"g{number}")))
        await producer.send_and_wait(
            topics.SDK_EVENTS, value, key=f"{APP}/{device}".encode(), partition=partition
        )
        self.stored.add((device, f"g{number}"))
        self.received += 1

    async def _exactly_full(self, producer: Any) -> None:
        await producer.send_and_wait(topics.SDK_EVENTS, of_size(MB, "full"), key=f"{APP}/full".encode())
        self.stored.add(("full", "huge"))
        self.received += 1

    async def _good_body(self, producer: Any, partition: int, number: int) -> None:
        body = encoded({"events": [measure_event(f"b{number}")]})
        await producer.send_and_wait(measure.FORMAT.topic, body, partition=partition)
        self.stored.add(("measured", f"b{number}"))
        self.received += 1


@pytest.fixture(scope="module", params=BROKER_KINDS)
def traffic(
    request: pytest.FixtureRequest,
    clickhouse: EmbeddedClickHouse,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Traffic]:
    """Everything bad was sent, with good records around it, and all is quiet."""
    folder = tmp_path_factory.mktemp(f"bad-input-{request.param}")
    with running_stack(
        request.param, clickhouse, folder, partitions=str(PARTITIONS), idle_timeout="2s"
    ) as stack:
        stack.start_workers("all")
        sent = Traffic(stack)
        asyncio.run(sent.send())
        stack.wait_idle()
        yield sent


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, traffic: Traffic) -> Iterator[None]:
    with logs_if_failed(request, traffic.stack):
        yield


Letter = tuple[str, int, int, int, str, bytes, bytes]
"""Topic, partition, offset, place of the event (-1 for the record), reason, key, value."""


def expected_letters(traffic: Traffic) -> list[Letter]:
    letters = []
    for sent in traffic.bad:
        faults = [(sent.bad.place, sent.bad.reason), *([sent.bad.second] if sent.bad.second else [])]
        letters += [
            (
                *(sent.topic, sent.partition, sent.offset, place, reason),
                sent.bad.key or b"",
                sent.bad.value or b"",
            )
            for place, reason in faults
        ]
    return sorted(letters)


def test_every_good_event_is_stored_and_in_a_session(traffic: Traffic) -> None:
    stored = traffic.stack.query("SELECT app_id, device_id, event_id FROM events")
    assert sorted((row["device_id"], row["event_id"]) for row in stored) == sorted(traffic.stored)
    assert {row["app_id"] for row in stored} == {APP}
    sessions = traffic.stack.query(
        "SELECT device_id, sum(event_count) AS events FROM sessions GROUP BY device_id"
    )
    assert {row["device_id"]: row["events"] for row in sessions} == {
        device: sum(1 for mine, _ in traffic.stored if mine == device) for device, _ in traffic.stored
    }


def test_every_bad_record_is_a_dead_letter_with_its_reason_and_bytes(traffic: Traffic) -> None:
    rows = traffic.stack.query(
        "SELECT topic, partition, offset, event_index, reason, hex(key) AS key, hex(value) AS value, detail,"
        " toUnixTimestamp64Milli(time) AS time_ms FROM dead_letters"
    )
    found = [
        (
            *(row["topic"], row["partition"], row["offset"], row["event_index"], row["reason"]),
            bytes.fromhex(row["key"]),
            bytes.fromhex(row["value"]),
        )
        for row in rows
    ]
    assert_same_letters(found, expected_letters(traffic))
    assert all(row["detail"] for row in rows)
    assert all(abs(row["time_ms"] - NOW_MS) < DAY_MS for row in rows)


def assert_same_letters(found: list[Letter], expected: list[Letter]) -> None:
    """Equal, without printing megabytes if not."""
    assert [letter[:5] for letter in sorted(found)] == [letter[:5] for letter in expected]
    for one, other in zip(sorted(found), expected, strict=True):
        assert one[5] == other[5], f"key of {one[:5]}"
        assert one[6] == other[6], f"value of {one[:5]}: {len(one[6])} bytes, not {len(other[6])}"


def test_an_independent_consumer_sees_the_bytes_and_why(traffic: Traffic) -> None:
    """On the topic there is one record for each reason of a refused one."""
    records = asyncio.run(read_dead_letters(traffic.stack.connection.servers, len(expected_letters(traffic))))
    found = []
    for record in records:
        told = {name: text.decode() for name, text in record.headers}
        assert set(told) >= {"reason", "detail", "topic", "partition", "offset"} and told["detail"]
        place = int(told.get("event_index", -1))
        letter = (told["topic"], int(told["partition"]), int(told["offset"]), place, told["reason"])
        found.append((*letter, record.key or b"", record.value or b""))
    assert_same_letters(found, expected_letters(traffic))


async def read_dead_letters(servers: list[str], count: int) -> list[Any]:
    """The first records of `dead-letters`; fewer if no more come in time."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topics.DEAD_LETTERS, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        records: list[Any] = []
        deadline_s = time.monotonic() + _READ_TIMEOUT_S
        while len(records) < count and time.monotonic() < deadline_s:
            for some in (await consumer.getmany(timeout_ms=500)).values():
                records += some
        return records
    finally:
        await consumer.stop()


def test_the_ledger_balances(traffic: Traffic) -> None:
    (totals,) = traffic.stack.query(
        "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS duplicates,"
        " sum(refused) AS refused FROM ledger"
    )
    refused = sum(sent.bad.refused for sent in traffic.bad if sent.topic == topics.SDK_EVENTS)
    assert totals == {
        "received": traffic.received,
        "events": len(traffic.stored),
        "duplicates": 0,
        "refused": refused,
    }
    assert traffic.received == len(traffic.stored) + refused


def test_the_command_line_lists_them(traffic: Traffic) -> None:
    listed = lines(traffic.stack.run("dead-letters", "list", "--format", "JSONEachRow"))
    expected = expected_letters(traffic)
    assert sorted((row["topic"], row["partition"], row["offset"], row["reason"]) for row in listed) == sorted(
        (*letter[:3], letter[4]) for letter in expected
    )
    of_one_reason = lines(
        traffic.stack.run("dead-letters", "list", "--reason", "key_mismatch", "--format", "JSONEachRow")
    )
    assert {row["reason"] for row in of_one_reason} == {"key_mismatch"}
    assert len(of_one_reason) == sum(letter[4] == "key_mismatch" for letter in expected)


def lines(printed: str) -> list[Json]:
    return [json.loads(line) for line in printed.splitlines()]


def test_status_says_how_much_was_refused(traffic: Traffic) -> None:
    said = traffic.stack.run("status", "--wait-idle")
    records = sum(1 for sent in traffic.bad if sent.bad.place < 0)
    events = sum(sent.bad.refused for sent in traffic.bad if sent.bad.place >= 0)
    assert events > sum(1 for sent in traffic.bad if sent.bad.place >= 0)
    assert said.rstrip().endswith(
        f": everything that was sent is stored, {words_of(RefusedTotals(records, events, 0))}"
    )
    early = [sent.bad for sent in traffic.bad if sent.topic != topics.SDK_EVENTS]
    records = sum(1 for each in early if each.place < 0)
    events = sum(each.refused for each in early if each.place >= 0)
    assert records and events
    said = f"before sdk-events, so not in the ledger: {words_of(RefusedTotals(records, events, 0))}"
    assert said in traffic.stack.run("status").splitlines()


def test_send_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What it says before the records are sent is what the workers do; lines have no line ends, and a key."""

    async def keep(_: Any, records: Iterable[RecordToSend], **__: Any) -> int:
        return sum(1 for _ in records)

    monkeypatch.setattr(traffic_commands, "produce", keep)
    key_counts = ("key_mismatch", "empty_record")
    for format, all_bad in (("native", NATIVE), ("measure", MEASURE)):
        lines = [bad for bad in all_bad if bad.reason not in key_counts and b"\n" not in (bad.value or b"")]
        # What begins as an array of native envelopes is taken apart first (`tests/unit/test_validate.py`).
        chosen = [bad for bad in lines if not (bad.value or b"").startswith(b"[")]
        file = tmp_path / format
        file.write_bytes(b"\n".join([*(bad.value or b"" for bad in chosen), b""]))
        traffic_commands.send(load({}), [str(file)], format)
        records = sum(1 for bad in chosen if bad.place < 0)
        events = sum(bad.refused for bad in chosen if bad.place >= 0)
        sent, _, refused = capsys.readouterr().out.rstrip().partition(", ")
        assert sent.startswith(f"sent {len(chosen)} records to ")
        assert records and events and refused == words_of(RefusedTotals(records, events, 0))
