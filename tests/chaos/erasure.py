"""`python -m tests.chaos.erasure`: devices and persons are erased while they send, and workers die meanwhile.

What Kafka itself holds says what may be left: of an erased device the records that came after its erasure, and nothing
else. Then every row is compared with the fold, and what was erased is looked for as bytes in every table and in the
newest states.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline import topics
from pipeline.domain.policy import Policy
from pipeline.formats.erasure import is_control
from pipeline.kafka.admin import end_offsets
from pipeline.kafka.changelog import read_changelog
from tests.chaos.load import Identity, Said
from tests.chaos.occasion import IDLE_S, ROLES, Occasion, arguments, play
from tests.chaos.verify import Verdict, judge, read
from tests.support.stack import Stack

_MODULE = "tests.chaos.erasure"
_APP = "org.example.erased"
_START_MS = 1_767_600_000_000
_BEAT_S = 0.1
_APART_MS = 240_000
"""Some records are one session, and then another begins."""
_COMMAND_S = 300


class Senders(threading.Thread):
    """Devices, each of one person, that send all the time, whatever becomes of them."""

    def __init__(self, stack: Stack, count: int) -> None:
        super().__init__(daemon=True)
        self.sent: dict[bytes, bytes] = {}
        """Key and value of what was sent, by value."""
        self._stack = stack
        self._count = count
        self._ends = threading.Event()
        self.failure: BaseException | None = None

    def end(self) -> None:
        self._ends.set()
        self.join()
        if self.failure:
            raise self.failure

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.failure = error

    async def _run(self) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._stack.connection.servers, acks="all") as producer:
            for number in itertools.count():
                if self._ends.is_set():
                    return
                one = number % self._count
                key, value = _record(one, number // self._count)
                with suppress(KafkaError):
                    await producer.send_and_wait(topics.SDK_EVENTS, value, key=key)
                await asyncio.sleep(_BEAT_S)


def device(one: int) -> str:
    return f"device-to-be-erased-{one:03}"


def person(one: int) -> str:
    return f"person-to-be-erased-{one:03}"


def _record(one: int, number: int) -> tuple[bytes, bytes]:
    time_ms = _START_MS + number * _APART_MS + (number // 5) * 7_200_000
    events = [
        {
            "id": f"{device(one)}-{number:05}-{at}",
            "name": "app.screen.view",
            "time": time_ms + at * 1_000,
            "attributes": {"app.screen.name": f"screen {device(one)}-{number:05}"},
        }
        for at in range(2)
    ]
    user = {"id": person(one), "properties": {"plan": f"plan {device(one)}-{number:05}"}}
    body = {"v": 1, "app_id": _APP, "device_id": device(one), "events": events, "user": user}
    return f"{_APP}/{device(one)}".encode(), orjson.dumps(body)


@contextmanager
def sending(stack: Stack, count: int) -> Iterator[Senders]:
    senders = Senders(stack, count)
    senders.start()
    try:
        yield senders
    finally:
        senders.end()


def main() -> int:
    parser = arguments(_MODULE, __doc__, seconds=120)
    parser.add_argument("--erasures", type=int, default=9, help="every third is of a person, not of a device")
    given = parser.parse_args(namespace=argparse.Namespace(module=_MODULE))

    def about() -> tuple[str, str, str]:
        return (
            "erasure",
            "Devices and persons are erased while they send",
            f"{given.erasures} of {given.erasures + 3} devices, or their persons, are erased one after the other while "
            "all of them go on sending. Meanwhile a worker of each role is killed again and again, and now and then "
            "`erase` itself, which is given once more then. What Kafka holds says what may be left.",
        )

    return play(given, lambda it: _erase_all(it, given.erasures), lambda stack: None, about)


def _erase_all(it: Occasion, erasures: int) -> tuple[Verdict, dict[str, int]]:
    stack = it.stack
    stack.start_workers("router", "sessionizer", "sessionizer", "sink", "sink")
    it.load.begin(it.seconds)
    with sending(stack, erasures + 3):
        it.go_on(5)
        for one in range(erasures):
            _erase(it, one, ROLES[one % len(ROLES)], dies=one % 4 == 3)
            it.go_on()
    it.come_to_rest()
    for one in range(erasures):
        stack.run("erase", "--app", _APP, *_whom(one), "--check")
    it.say(f"{erasures} receipts hold")
    left, erased = asyncio.run(_what_may_be_left(stack))
    for identity, said in left.items():
        it.load.note(identity, said)
    found = read(stack)
    policy = Policy(idle_timeout_ms=IDLE_S * 1_000)
    events = it.load.events + len(erased)
    verdict = judge(it.load.sent, events, found, policy, 0, it.load.again, len(erased))
    stack.run("status")
    verdict.require(
        stack.run("rebuild", "--dry-run").startswith("no difference"), "rebuild finds differences"
    )
    kept = [identity.event_id for identity in left]
    assert _remains(stack, kept) and asyncio.run(_remains_in_kafka(stack, kept)), (
        "the search finds what is there"
    )
    remains = _remains(stack, erased) | asyncio.run(_remains_in_kafka(stack, erased))
    for place, examples in remains.items():
        verdict.require(False, f"left in {place}: {examples[:3]}")
    return verdict, {
        "erased": len(erased),
        "left": sum(map(len, remains.values())),
        "kept_of_erased": len(left),
    }


def _whom(one: int) -> tuple[str, str]:
    return ("--user", person(one)) if one % 3 == 2 else ("--device", device(one))


def _erase(it: Occasion, one: int, role: str, *, dies: bool) -> None:
    """Erases a device or its person; a worker is killed, and the command too if it `dies`."""
    who = _whom(one)
    asked = ("erase", "--app", _APP, *who, "--timeout", str(_COMMAND_S))
    command = it.stack.begin(*asked)
    it.fleet.rest(1.5)
    if dies:
        with suppress(ProcessLookupError):
            command.send_signal(signal.SIGKILL)
        command.wait()
        it.say(f"erase {' '.join(who)} is killed, and given again")
        command = it.stack.begin(*asked)
    it.kill(role)
    while command.poll() is None:
        it.go_on(0.5)
    assert command.returncode == 0, it.stack.log_tails()
    it.say(f"erase {' '.join(who)} is done")


async def _what_may_be_left(stack: Stack) -> tuple[dict[Identity, Said], list[str]]:
    """The events that came after the last erasure of their device, and the ids of those before it: by Kafka's log."""
    ends = await end_offsets(stack.connection, [topics.SDK_EVENTS])
    records: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    async with AIOKafkaConsumer(bootstrap_servers=stack.connection.servers) as consumer:
        consumer.assign([TopicPartition(*tp) for tp in ends])
        await consumer.seek_to_beginning()
        while [tp for tp, end in ends.items() if await consumer.position(TopicPartition(*tp)) < end]:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    if record.key.startswith(_APP.encode()):
                        records[record.key].append((record.timestamp, record.value))
    left: dict[Identity, Said] = {}
    erased: list[str] = []
    for came in records.values():
        until_ms = max((at for at, value in came if is_control(value)), default=-1)
        for at, value in came:
            if is_control(value):
                continue
            envelope = orjson.loads(value)
            for event in envelope["events"]:
                if at <= until_ms:
                    erased.append(event["id"])
                else:
                    identity = Identity(_APP, envelope["device_id"], event["id"])
                    left[identity] = Said(event["time"], event["name"], 0)
    assert erased and left, "devices were erased, and went on"
    return left, erased


def _numbers_of(erased: list[str]) -> list[str]:
    """Of each record that was erased the words that only it has, in ids, names of screens and properties."""
    return sorted({name.rpartition("-")[0] for name in erased})


def _remains(stack: Stack, erased: list[str]) -> dict[str, list[str]]:
    """Of every table, what of the erased records stands in it, as bytes."""
    tables = stack.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree%'"
    )
    found: dict[str, list[str]] = {}
    for table in (row["name"] for row in tables):
        rows = stack.query(
            f"SELECT DISTINCT arrayJoin(arrayFilter(w -> position(line, w) > 0, {{words:Array(String)}})) AS word FROM"
            f" (SELECT formatRow('JSONEachRow', *) AS line FROM {table} WHERE position(line, '{device(0)[:-3]}') > 0)",
            words=_numbers_of(erased),
        )
        if rows:
            found[table] = [row["word"] for row in rows]
    return found


async def _remains_in_kafka(stack: Stack, erased: list[str]) -> dict[str, list[str]]:
    """What of the erased records stands in the newest states, as bytes."""
    words = [word.encode() for word in _numbers_of(erased)]
    found: list[str] = []
    partitions = range(int(stack.settings["PIPELINE_PARTITIONS"]))
    async for _, items in read_changelog(stack.connection, topics.STATE, partitions):
        for value in items.values():
            found += [word.decode() for word in words if word in value]
    return {"the changelog": found} if found else {}


if __name__ == "__main__":
    sys.exit(main())
