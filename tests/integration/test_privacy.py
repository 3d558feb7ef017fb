"""What rules leave out is nowhere: not in a topic that the pipeline writes, not in a state, not in ClickHouse.

A word that every rule is about is planted in all that can be sent, and then looked for in every byte. Another word,
about which there is no rule, is found in the same places: so the search finds what is there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline import topics
from pipeline.domain.privacy import Privacy, Rules, Sampling, Samplings
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats.edge import Edge
from pipeline.formats.native.partitioner import partition_of
from tests.support.stack import Stack, logs_if_failed, running_stack

PLANTED, SEEN = "pLanTed", "sEEn"
KEY = "a key for a test, with more than 32 characters"
STRICT, PLAIN, SAMPLED = "org.example.strict", "org.example.plain", "org.example.sampled"
RULES = Rules(
    drop=("token",), hash=("account",), mask=("form.*",), user_id="hash",
    emails="mask", addresses="mask", queries="drop",
)  # fmt: skip
RATE = 0.5
CONFIG = f"""
[apps."{SAMPLED}"]
sample_rate = {RATE}

[apps."{STRICT}".privacy]
drop = ["token"]
hash = ["account"]
mask = ["form.*"]
user_id = "hash"
emails = "mask"
addresses = "mask"
queries = "drop"
"""
EDGE = Edge(Privacy(Rules(), {STRICT: RULES}), Samplings(Sampling(), {SAMPLED: Sampling(RATE)}), KEY)
PARTITIONS = 2
NOW_MS = int(time.time() * 1_000)
DAY_MS = 86_400_000
WRITTEN = (topics.SESSIONS, topics.DEAD_LETTERS, topics.EVENT_COPIES, topics.STATE)
DEVICES = [f"{SEEN}-{number}" for number in range(40)]


def event(number: int, *, late_ms: int = 0, **attributes: Any) -> dict[str, Any]:
    time_ms = NOW_MS - 60_000 + number - late_ms
    return {
        "id": f"{SEEN}-e{number}",
        "name": "log",
        "time": time_ms,
        "attributes": {"word": SEEN, **attributes},
    }


def envelope(app_id: str, device_id: str, *events: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"v": 1, "app_id": app_id, "device_id": device_id, **rest, "events": list(events)}


def strict(device_id: str, **rest: Any) -> dict[str, Any]:
    """All that rules can be about, in every place where it may be."""
    nested = [{"deep": {"token": PLANTED}}, {"token": [PLANTED]}]
    return envelope(
        STRICT,
        device_id,
        event(1, token=PLANTED, account=PLANTED, form={"phone": PLANTED}, nested=nested),
        event(2, text=f"of {PLANTED}@example.org", url=f"https://example.org/a?{PLANTED}=1"),
        event(3, **{"user.email": PLANTED, "user": {"name": PLANTED}, "user.id": PLANTED}),
        user={"id": PLANTED, "properties": {"email": PLANTED, "account": PLANTED, "word": SEEN}},
        resource={"token": PLANTED, "os.name": SEEN, "contact": f"{PLANTED}@example.org"},
        **rest,
    )


def plain(device_id: str) -> dict[str, Any]:
    named = {"email": PLANTED, "Name": PLANTED, "word": SEEN}
    return envelope(
        PLAIN, device_id, event(1, **{"enduser.name": PLANTED}), user={"id": SEEN, "properties": named}
    )


class Traffic:
    """What was sent, each to the topic by which it goes through the router, and straight to `sdk-events`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sent_straight: set[tuple[int, int]] = set()

    async def send(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.connection.servers)
        await producer.start()
        try:
            for topic in ("native-events", topics.SDK_EVENTS):
                name = f"{SEEN}-{topic}"
                again = envelope(STRICT, name, event(1, late_ms=2 * DAY_MS, token=PLANTED))
                bad = {**strict(name), "v": 2}
                for document in (strict(name), plain(name), again, bad, *self._crowd(topic)):
                    await self._put(producer, topic, document, json.dumps(document).encode())
                broken = json.dumps(strict(name)).encode()[:-5]
                await self._put(producer, topic, strict(name), broken)
                half = json.dumps(strict(name, batch_id="\ud800")).encode()
                await self._put(producer, topic, strict(name), half)
            measure = json.dumps({"app": STRICT, "token": PLANTED, "user": {"email": PLANTED}, "word": SEEN})
            await producer.send_and_wait("measure-events", measure.encode(), partition=0)
        finally:
            await producer.stop()

    def _crowd(self, topic: str) -> Iterator[dict[str, Any]]:
        """Of these only some are in."""
        for device in DEVICES[:: 1 if topic == topics.SDK_EVENTS else 2]:
            is_out = EDGE.is_out(f"{SAMPLED}/{device}".encode())
            word = PLANTED if is_out else SEEN
            yield envelope(SAMPLED, device, event(7, word=word), event(8, word=word))

    async def _put(self, producer: Any, topic: str, document: dict[str, Any], value: bytes) -> None:
        key = f"{document['app_id']}/{document['device_id']}".encode()
        put = await producer.send_and_wait(topic, value, key=key, partition=partition_of(key, PARTITIONS))
        if topic == topics.SDK_EVENTS:
            self.sent_straight.add((put.partition, put.offset))


@pytest.fixture(scope="module")
def traffic(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    folder = tmp_path_factory.mktemp("privacy")
    config = folder / "pipeline.toml"
    config.write_text(CONFIG, encoding="utf-8")
    settings = {
        "config": str(config),
        "partitions": str(PARTITIONS),
        "privacy_key": KEY,
        "idle_timeout": "1s",
    }
    with running_stack("embedded", clickhouse, folder, **settings) as stack:
        stack.start_workers("all")
        sent = Traffic(stack)
        asyncio.run(sent.send())
        stack.wait_idle()
        yield sent


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, traffic: Traffic) -> Iterator[None]:
    with logs_if_failed(request, traffic.stack):
        yield


async def everything(servers: list[str], *names: str) -> list[tuple[TopicPartition, Any]]:
    """All records of some topics, each with its place: one does not say it where workers were imported."""
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        while not (partitions := consumer.assignment()):
            await consumer.getmany(timeout_ms=100)
        ends, found = await consumer.end_offsets(partitions), []
        await consumer.seek_to_beginning()
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            found += [
                (place, record)
                for place, some in (await consumer.getmany(timeout_ms=200)).items()
                for record in some
            ]
        return found
    finally:
        await consumer.stop()


def bytes_of(record: Any) -> bytes:
    headers = b" ".join(value or b"" for _, value in record.headers)
    return b" ".join((record.key or b"", record.value or b"", headers))


def test_no_topic_that_the_pipeline_writes_has_it(traffic: Traffic) -> None:
    servers = traffic.stack.connection.servers
    records = asyncio.run(everything(servers, *WRITTEN))
    by_topic = {
        name: [bytes_of(record) for place, record in records if place.topic == name] for name in WRITTEN
    }
    routed = asyncio.run(everything(servers, topics.SDK_EVENTS))
    by_topic[topics.SDK_EVENTS] = [
        bytes_of(record)
        for place, record in routed
        if (place.partition, record.offset) not in traffic.sent_straight
    ]
    for name, values in by_topic.items():
        assert any(SEEN.encode() in value for value in values), name
        assert not [value for value in values if PLANTED.encode() in value], name
    assert any(PLANTED.encode() in bytes_of(record) for _, record in routed), (
        "what producers write stays as it is"
    )


def test_clickhouse_has_it_neither_in_a_row_nor_on_disk(traffic: Traffic) -> None:
    stack = traffic.stack
    names = [
        row["name"]
        for row in stack.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        )
    ]
    found = {name: json.dumps(stack.query(f"SELECT * FROM {name}")) for name in names}
    assert len(found) > 5
    assert not [name for name, rows in found.items() if PLANTED in rows]
    for name in ("session_rows", "z_event_rows", "dead_letter_rows"):
        assert SEEN in found[name], name
    parts = stack.query("SELECT path FROM system.parts WHERE database = currentDatabase()")
    files = [path for row in parts for path in Path(row["path"]).rglob("*") if path.is_file()]
    assert len(files) > 5 and not [path for path in files if PLANTED.encode() in path.read_bytes()]


def test_what_is_hashed_can_be_joined_whichever_way_it_took(traffic: Traffic) -> None:
    hashed = EDGE.cleaner_of(f"{STRICT}/".encode())._walk.hashed(PLANTED)
    rows = traffic.stack.query(
        f"SELECT DISTINCT user_id, properties['account'] AS account FROM sessions WHERE app_id = '{STRICT}'"
    )
    assert rows == [{"user_id": hashed, "account": hashed}]
    rows = traffic.stack.query(
        "SELECT device_id, attributes FROM events"
        f" WHERE app_id = '{STRICT}' AND event_id = '{SEEN}-e2' ORDER BY device_id"
    )
    assert [row["attributes"] for row in rows] == [
        {"word": SEEN, "text": "of ***", "url": "https://example.org/a"}
    ] * len(rows)
    assert len(rows) == 2


def test_what_is_sampled_out_is_accounted_for(traffic: Traffic) -> None:
    stack = traffic.stack
    kept = [device for device in DEVICES if not EDGE.is_out(f"{SAMPLED}/{device}".encode())]
    assert 5 < len(kept) < 35
    rows = stack.query(
        f"SELECT device_id, sample_rate FROM sessions WHERE app_id = '{SAMPLED}' ORDER BY device_id"
    )
    assert rows == [{"device_id": device, "sample_rate": RATE} for device in sorted(kept)]
    assert {
        row["sample_rate"]
        for row in stack.query(f"SELECT sample_rate FROM sessions WHERE app_id != '{SAMPLED}'")
    } == {1}
    health = stack.query(
        f"SELECT sample_rate, estimated_sessions FROM release_health WHERE app_id = '{SAMPLED}'"
    )
    assert [row["sample_rate"] for row in health] == [RATE]
    [ledger] = stack.query(
        "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS duplicates,"
        " sum(refused) AS refused, sum(sampled_out) AS sampled_out FROM ledger"
    )
    counts = {name: int(value) for name, value in ledger.items()}
    # Two events each: of all devices straight to sdk-events, and of every other one through the router.
    routed = [device for device in DEVICES[::2] if device not in kept]
    assert routed and counts["sampled_out"] == 2 * (len(DEVICES) - len(kept) + len(routed))
    assert counts["received"] == sum(
        counts[name] for name in ("events", "duplicates", "refused", "sampled_out")
    )
    assert counts["events"] == int(stack.value("SELECT count() FROM events"))


def test_a_rebuild_leaves_the_rate_and_what_the_rules_had_left(traffic: Traffic) -> None:
    """The last one here: no worker runs after it."""
    stack = traffic.stack
    config = Path(stack.settings["PIPELINE_CONFIG"])
    question = (
        "SELECT session_id, sample_rate, user_id, properties, resource FROM sessions ORDER BY session_id"
    )
    before = stack.query(question)
    stack.stop()
    config.write_text(CONFIG.replace(f"sample_rate = {RATE}", "sample_rate = 1"), encoding="utf-8")
    assert "sample_rate = 1" in config.read_text(encoding="utf-8")
    stack.run("rebuild")
    assert stack.query(question) == before
    assert {row["sample_rate"] for row in before} == {1, RATE}
