"""Records in a partition that Kafka's default partitioner would not give their key."""

from __future__ import annotations

import json
from random import Random

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.policy import Policies
from pipeline.formats.native.partitioner import REMEDY, misplaced, murmur2, murmur2_of_each, partition_of
from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord

AT_MS = 1_760_000_000_000
PARTITIONS = 4
OF_KAFKA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Of the tests of Kafka's Java client; with a sign, as Java has it."""


@pytest.mark.parametrize("key", OF_KAFKA)
def test_the_hash_is_that_of_the_java_client(key: bytes) -> None:
    assert murmur2(key) == OF_KAFKA[key] % 2**32


def test_partitions_are_those_of_another_client() -> None:
    random, default = Random(5), DefaultPartitioner()
    for length in range(80):
        key = random.randbytes(length)
        assert murmur2(key) == murmur2_of_aiokafka(key)
        for count in (1, 7, 8, 9, 70):
            keys = [random.randbytes(length) for _ in range(count)]
            assert list(murmur2_of_each(keys)) == [murmur2_of_aiokafka(key) for key in keys]
        for count in (1, 2, 3, 8, 100):
            numbers = list(range(count))
            assert partition_of(key, count) == default(key, numbers, numbers)


@pytest.mark.parametrize("count", [1, 9, 4_095, 4_096, 4_097, 9_000])
def test_of_many_keys_those_are_found_that_belong_elsewhere(count: int) -> None:
    """Of several lengths, mixed, and more than are hashed at once."""
    keys = [f"app/{'d' * (number % 3)}{number}".encode() for number in range(count)]
    default, numbers = DefaultPartitioner(), list(range(PARTITIONS))
    right = {key: default(key, numbers, numbers) for key in keys}
    found = misplaced([*keys, None], 2, PARTITIONS)
    assert set(found) == {key for key, number in right.items() if number != 2}
    assert all(f"partition {right[key]}, not 2" in fault.detail for key, fault in found.items())


def test_the_detail_names_the_setting_of_each_client_and_is_not_cut() -> None:
    most = 2**31 - 1
    fault = misplaced([b"a/d"], 0, most)[b"a/d"]
    assert fault.reason is Reason.WRONG_PARTITION and fault.event_index is None
    longest = fault.detail.replace(str(partition_of(b"a/d", most)), str(most))
    assert len(longest) + len(str(most)) <= MAX_DETAIL_CHARS and longest.endswith(REMEDY)
    for client in ("librdkafka partitioner=murmur2_random", "Murmur2Balancer", "Sarama", "kafkajs", "Java", "aiokafka",
                   "franz-go", "native-events"):  # fmt: skip
        assert client in fault.detail


def test_a_key_that_no_sound_record_has_is_not_asked_for() -> None:
    """It has another fault wherever it is; and to hash megabytes of it would take longer than any record may."""
    app = device = "\U0001f980" * 128
    longest = f"{app}/{device}".encode()
    right = partition_of(longest, PARTITIONS)
    assert [not misplaced([longest], number, PARTITIONS) for number in range(PARTITIONS)] == [
        number == right for number in range(PARTITIONS)
    ]
    for key in (None, longest + b"x", b"x" * 8_000_000):
        assert [misplaced([key], number, PARTITIONS) for number in range(PARTITIONS)] == [{}] * PARTITIONS


def envelope(device: str, *events: str) -> bytes:
    each = [{"id": name, "name": "n", "time": AT_MS} for name in events]
    return json.dumps({"v": 1, "app_id": "a", "device_id": device, "events": each}).encode()


class Both:
    """A sessionizer's partition and a sink that read the same chunk."""

    def __init__(self, number: int, chunk: list[SourceRecord], before: tuple[int, ...] = ()) -> None:
        self.metrics = Metrics()
        self.partition = Partition(number, Policies(), partitions=PARTITIONS, before=before)
        self.effects = self.partition.apply(chunk)
        sink = Sink(_never, _never, self.metrics, bounds=Bounds(), partitions=PARTITIONS, before=before)
        self.pieces = list(sink.event_pieces(Source("sdk-events", number), chunk))
        self.letters = [letter for piece in self.pieces for letter in piece.refused]
        self.ledger = [json.loads(line) for piece in self.pieces for line in piece.ledger.split(b"\n")]
        self.stored = [json.loads(line) for piece in self.pieces for line in piece.rows.split(b"\n") if line]

    def counted(self, reason: str) -> float | None:
        labels = {"topic": "sdk-events", "reason": reason}
        return self.metrics.registry.get_sample_value("pipeline_refused_total", labels)


async def _never(*_: object, **__: object) -> None:
    raise AssertionError("nothing is stored here")


def test_a_record_in_a_wrong_partition_is_refused_by_both_with_its_bytes() -> None:
    right = partition_of(b"a/d", PARTITIONS)
    wrong = (right + 1) % PARTITIONS
    chunk = [
        SourceRecord(7, AT_MS, b"a/d", envelope("d", "e1", "e2")),
        SourceRecord(8, AT_MS, b"a/d", b"garbage"),
    ]
    both = Both(wrong, chunk)
    assert (both.effects.refused, list(both.effects.rows), len(both.partition), both.stored) == (2, [], 0, [])
    assert [(row["offset"], row["received"], row["refused"]) for row in both.ledger] == [(7, 1, 1), (8, 1, 1)]
    assert [(letter.offset, letter.key, letter.value, str(letter.rejected.reason)) for letter in both.letters] == [
        (7, b"a/d", chunk[0].value, "wrong_partition"),
        (8, b"a/d", b"garbage", "wrong_partition"),
    ]  # fmt: skip
    assert f"partition {right}, not {wrong}" in both.letters[0].rejected.detail
    assert both.counted("wrong_partition") == 2
    # The state goes on from it: these offsets are done.
    assert both.effects.marker.applied_offset == 8

    both = Both(right, chunk)
    assert (both.effects.refused, sum(len(row["events"]) for row in both.stored)) == (1, 2)
    assert [str(letter.rejected.reason) for letter in both.letters] == ["malformed_json"]
    assert both.counted("wrong_partition") is None


def test_what_belonged_there_before_is_stored_and_moved_and_told_of_where_it_comes_to() -> None:
    """Of a producer that has not heard of the present number of partitions."""
    key, before = next(
        (f"a/{device}".encode(), count)
        for device in range(100)
        for count in (3, 5)
        if partition_of(f"a/{device}".encode(), PARTITIONS) != partition_of(f"a/{device}".encode(), count)
    )
    device = key.decode().partition("/")[2]
    chunk = [
        SourceRecord(7, AT_MS, key, envelope(device, "e1", "")),
        SourceRecord(8, AT_MS, key, b"garbage"),
        SourceRecord(9, AT_MS, key, None),
    ]
    there = Both(partition_of(key, before), chunk, (before,))
    assert [len(row["events"]) for row in there.stored] == [1], (
        "nothing is lost, whatever becomes of the others"
    )
    assert [(row["received"], row["refused"]) for row in there.ledger] == [(2, 0), (1, 0), (1, 1)]
    assert [letter.offset for letter in there.letters] == [9], "what has no value is not moved"
    moved = [
        SourceRecord(at, AT_MS + 9, *record[:2], record[2:]) for at, record in enumerate(there.effects.moved)
    ]
    assert there.effects.refused == 0 and [record.value for record in moved] == [chunk[0].value, b"garbage"]
    here = Both(partition_of(key, PARTITIONS), moved, (before,))
    assert (len(here.letters), here.effects.refused, not here.effects.moved) == (2, 2, True)
    assert here.effects.counts.accepted == 1


KEYS = st.sampled_from(
    [None, b"", b"x", b"\xff", b"a/d", b"a/e", b"a/f", b"a/g", b"/", b"a/d\0", b"k" * 2_000]
)
VALUES = st.sampled_from(
    [None, b"", b"no", b'{"v":2}', *(envelope(d, "e1", "e2") for d in "defg"), envelope("d", "", "e3")]
)


@given(number=st.integers(0, PARTITIONS - 1), sent=st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=12))
def test_both_roles_agree_on_every_record(number: int, sent: list[tuple[bytes | None, bytes | None]]) -> None:
    chunk = [SourceRecord(offset, AT_MS, key, value) for offset, (key, value) in enumerate(sent)]
    both = Both(number, chunk)
    assert both.effects.refused == sum(row["refused"] for row in both.ledger)
    taken = {row["offset"] for row in both.ledger if row["received"] > row["refused"]}
    assert set(both.effects.folded) == {chunk[offset].key for offset in taken}
    # One by one they are judged as together, and in each role by the same rule.
    for record, row in zip(chunk, both.ledger, strict=True):
        alone = Both(number, [record])
        assert alone.ledger == [row] and alone.effects.refused == row["refused"]
        assert bool(alone.effects.folded) == (record.offset in taken)
        told = [str(letter.rejected.reason) for letter in both.letters if letter.offset == record.offset]
        assert ("wrong_partition" in told) == bool(misplaced([record.key], number, PARTITIONS))
