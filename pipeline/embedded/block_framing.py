"""ClickHouse's own compressed framing (`compress=1`, `decompress=1`), which its driver for JDBC speaks by default.

A stream is blocks one after another: CityHash128 (of version 1.0.2, as ClickHouse has it) of the rest of the block, the
method, the size of what follows the hash and the size without compression (both 32 bits, little-endian), the data. It
is how ClickHouse writes the columns of a table too: `CompressedWriteBuffer.cpp` and `ICompressionCodec.cpp` there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from pipeline.embedded.content_coding import BadBody, zstd

_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_HEAD = Struct("<BII")
"""Method, size with this head, size without compression."""
_HASH_BYTES = 16
_BLOCK_BYTES = 1 << 20
"""Without compression: `max_compress_block_size` of ClickHouse."""
_MAX_BLOCK_BYTES = 1 << 30
"""Of what ClickHouse reads, with or without compression."""
_MOST_LZ4_MAKES = 255
"""Bytes of one: what claims more is not asked memory for."""


def block_hash(block: bytes) -> bytes:
    """What stands before a block: of its method, sizes and data."""
    checksum: int = CityHash128(block)
    # The halves of the number are two numbers of the stream, the higher one first.
    return (checksum >> 64).to_bytes(8, "little") + (checksum & (1 << 64) - 1).to_bytes(8, "little")


class BlockEncoder:
    """Frames one body as LZ4. See `content_coding.Encoder`."""

    def __init__(self) -> None:
        self._held = bytearray()

    def encode(self, piece: bytes) -> bytes:
        """The blocks that are full by now."""
        self._held += piece
        blocks = []
        while len(self._held) >= _BLOCK_BYTES:
            blocks.append(_block(bytes(self._held[:_BLOCK_BYTES])))
            del self._held[:_BLOCK_BYTES]
        return b"".join(blocks)

    def finish(self) -> bytes:
        """The last block; nothing for a body without a byte."""
        held = bytes(self._held)
        self._held.clear()
        return _block(held) if held else b""


def _block(data: bytes) -> bytes:
    compressed: bytes = lz4.block.compress(data, store_size=False)
    block = _HEAD.pack(_LZ4, _HEAD.size + len(compressed), len(data)) + compressed
    return block_hash(block) + block


def unframed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each block of a framed body, which comes in pieces of any size.

    BadBody if it is cut off, a checksum differs, or a block is in another method than LZ4, ZSTD or none.
    """
    held = bytearray()
    for piece in pieces:
        held += piece
        while (size := _size(held)) and len(held) >= size:
            yield _data(bytes(held[:size]))
            del held[:size]
    if held:
        raise BadBody("the body is cut off in the middle of a compressed block")


def _size(held: bytearray) -> int:
    """Of the block that begins there, with its hash; 0 if that is not known yet."""
    if len(held) < _HASH_BYTES + _HEAD.size:
        return 0
    _, size, whole = _HEAD.unpack_from(held, _HASH_BYTES)
    if not _HEAD.size <= size <= _MAX_BLOCK_BYTES or whole > _MAX_BLOCK_BYTES:
        raise BadBody(f"the body has an impossible compressed block, of {size} bytes for {whole}")
    return _HASH_BYTES + int(size)


def _data(framed: bytes) -> bytes:
    block = framed[_HASH_BYTES:]
    if block_hash(block) != framed[:_HASH_BYTES]:
        raise BadBody(
            "the checksum of a compressed block does not match: it is damaged, or not in ClickHouse's framing"
        )
    method, _, size = _HEAD.unpack_from(block)
    compressed = block[_HEAD.size :]
    if method == _NONE:
        data = compressed
    elif method == _LZ4:
        data = _from_lz4(compressed, size)
    elif method == _ZSTD:
        data = _from_zstd(compressed, size)
    else:
        raise BadBody(f"a compressed block uses method {method:#04x}; only LZ4, ZSTD and none are supported")
    if len(data) != size:
        raise BadBody(f"a compressed block has {len(data)} bytes but claims {size}")
    return data


def _from_lz4(compressed: bytes, size: int) -> bytes:
    if size > len(compressed) * _MOST_LZ4_MAKES:
        raise BadBody(
            f"a compressed block claims {size} bytes, more than {len(compressed)} bytes of LZ4 can hold"
        )
    try:
        data: bytes = lz4.block.decompress(compressed, uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise BadBody(f"a compressed block is not valid LZ4: {error}") from error
    return data


def _from_zstd(compressed: bytes, size: int) -> bytes:
    try:
        data: bytes = zstd.ZstdDecompressor().decompress(compressed, size + 1)
    except zstd.ZstdError as error:
        raise BadBody(f"a compressed block is not valid ZSTD: {error}") from error
    return data
