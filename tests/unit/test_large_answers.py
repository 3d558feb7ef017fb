"""A large answer of a broker is read as asyncio reads it, and what workers write is compressed as they want it."""

from __future__ import annotations

import asyncio
from random import Random

import cramjam
import pytest
from aiokafka import conn
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.kafka.large_answers import InPieces, ReadingInPieces
from pipeline.streaming import faust_app

ZSTD = 4


async def _read(kind: type[asyncio.StreamReader], sent: bytes, sizes: list[int]) -> list[bytes]:
    """What is read, of these sizes, while it comes in pieces; at last more is asked for than there is."""
    reader = kind(limit=2**16)

    async def come() -> None:
        rng, at = Random(1), 0
        while at < len(sent):
            size = rng.choice((1, 1_000, 70_000, 300_000))
            reader.feed_data(sent[at : at + size])
            at += size
            await asyncio.sleep(0)
        reader.feed_eof()

    coming = asyncio.ensure_future(come())
    found = [await reader.readexactly(size) for size in sizes]
    with pytest.raises(asyncio.IncompleteReadError) as failed:
        await reader.readexactly(len(sent))
    await coming
    assert failed.value.expected == len(sent)
    return [*found, failed.value.partial]


def test_it_is_read_as_asyncio_reads_it() -> None:
    sent = Random(1).randbytes(3_000_000)
    sizes = [4, 262_144, 262_145, 4, 1_500_000, 4, 10]
    read = asyncio.run(_read(InPieces, sent, sizes))
    assert read == asyncio.run(_read(asyncio.StreamReader, sent, sizes))
    assert b"".join(read) == sent and len(read[-1]) > 262_144


def test_consumers_read_so() -> None:
    async def connected() -> type:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=2**16, loop=loop)
        conn.AIOKafkaProtocol(loop.create_future(), reader, loop=loop)
        return type(reader)

    assert conn.AIOKafkaProtocol is ReadingInPieces
    assert asyncio.run(connected()) is InPieces


def test_batches_are_compressed_at_the_level_that_is_meant() -> None:
    """aiokafka says nowhere at which."""
    rng = Random(1)
    value = b"".join(b'{"id": "%x", "place": %d}' % (rng.getrandbits(99), number) for number in range(9_000))
    batch, plain = (BatchBuilder(1_000_000, codec) for codec in (ZSTD, 0))
    batch.append(timestamp=1, key=b"k", value=value)
    plain.append(timestamp=1, key=b"k", value=value)
    records = bytes(plain._build())[61:]
    made = [bytes(cramjam.zstd.compress(records, level=level)) for level in (1, 3)]
    assert made[0] != made[1] and faust_app._COMPRESSION_LEVEL == 1
    assert bytes(batch._build())[61:] == made[0]
