"""ClickHouse's own compressed framing, against a block that ClickHouse itself wrote."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embedded.block_framing import BlockEncoder, block_hash, unframed
from pipeline.embedded.content_coding import BadBody, Chained, encoder_for, zstd

WRITTEN = bytes.fromhex(
    "db8e177fa80548104775bd13596be92e82a00000007869000022010001000f0800ffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffff031f300100ff9a1f310100ff9a1f320100ff9a1f330100"
    "ff9a1f340100ff991f350100ff991f360100ff94503636363636"
)
"""`data.bin` of a part of `CREATE TABLE m (x String)` after `INSERT INTO m SELECT toString(number % 7) FROM
numbers(3000)`, by the engine of chDB 4."""


def framed(pieces: Iterable[bytes]) -> bytes:
    encoder = BlockEncoder()
    return b"".join(map(encoder.encode, pieces)) + encoder.finish()


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def resealed(block: bytes) -> bytes:
    """With the hash that it should have."""
    return block_hash(block) + block


def test_what_clickhouse_wrote_is_read() -> None:
    (data,) = unframed([WRITTEN])
    sizes = struct.unpack("<3000Q", data[:24_000])
    assert set(sizes) == {1}
    assert data[24_000:] == b"".join(b"%d" % digit for digit in sorted(number % 7 for number in range(3_000)))


def test_a_block_is_framed_as_clickhouse_does() -> None:
    (data,) = unframed([WRITTEN])
    ours = framed([data])
    assert ours[16:17] == WRITTEN[16:17], "LZ4"
    assert struct.unpack("<II", ours[17:25]) == (len(ours) - 16, len(data))


@given(st.lists(st.binary(max_size=200)), st.integers(1, 50))
def test_there_and_back(pieces: list[bytes], size: int) -> None:
    assert b"".join(unframed(cut(framed(pieces), size))) == b"".join(pieces)


def test_large_bodies_are_in_blocks_of_a_megabyte() -> None:
    body = bytes(range(256)) * 10_000
    blocks = list(unframed([framed(cut(body, 70_001))]))
    assert [len(block) for block in blocks] == [1 << 20, 1 << 20, len(body) - (2 << 20)]
    assert b"".join(blocks) == body


def test_nothing_is_nothing() -> None:
    assert framed([]) == framed([b""]) == b""
    assert list(unframed([])) == []


def test_other_methods() -> None:
    plain = b"abc" * 100
    none = resealed(struct.pack("<BII", 0x02, 9 + len(plain), len(plain)) + plain)
    packed = zstd.compress(plain)
    by_zstd = resealed(struct.pack("<BII", 0x90, 9 + len(packed), len(plain)) + packed)
    assert list(unframed([none + by_zstd])) == [plain, plain]


@pytest.mark.parametrize("place", [0, 15, 16, 30, 100, 175])
def test_a_changed_byte_is_found(place: int) -> None:
    broken = bytearray(WRITTEN)
    broken[place] ^= 1
    with pytest.raises(BadBody, match="checksum"):
        list(unframed([bytes(broken)]))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (struct.pack("<BII", 0x91, 12, 3) + b"abc", "method 0x91"),
        (struct.pack("<BII", 0x02, 12, 4) + b"abc", "3 bytes but claims 4"),
        (struct.pack("<BII", 0x82, 12, 1 << 29) + b"abc", "LZ4 can hold"),
        (struct.pack("<BII", 0x82, 12, 100) + b"abc", "not valid LZ4"),
        (struct.pack("<BII", 0x90, 12, 100) + b"abc", "not valid ZSTD"),
        (struct.pack("<BII", 0x82, 3, 1) + b"abc", "impossible compressed block"),
        (struct.pack("<BII", 0x82, 1 << 31, 1) + b"abc", "impossible compressed block"),
    ],
    ids=["method", "size", "bomb", "lz4", "zstd", "short", "long"],
)
def test_blocks_that_are_none(block: bytes, words: str) -> None:
    with pytest.raises(BadBody, match=words):
        list(unframed([resealed(block)]))


@pytest.mark.parametrize("left", [1, 16, 24, 175])
def test_a_body_that_is_cut_off(left: int) -> None:
    with pytest.raises(BadBody, match="cut off"):
        list(unframed([WRITTEN[:left]]))


def test_plain_text_is_refused() -> None:
    with pytest.raises(BadBody):
        list(unframed([b"SELECT 1 FROM system.numbers LIMIT 10"]))


def test_one_coding_over_another() -> None:
    chosen = encoder_for("zstd")
    assert chosen is not None
    encoder = Chained(BlockEncoder(), chosen[1])
    body = encoder.encode(b"abc") + encoder.encode(b"def") + encoder.finish()
    assert b"".join(unframed([zstd.decompress(body)])) == b"abcdef"
