"""Blocks of newline-separated rows on their way to ClickHouse: cut and compressed without copying them again."""

from __future__ import annotations

import lz4.frame

_COMPRESSED_AT_ONCE = 1_000_000


def middle_of(rows: bytes, start: int, end: int) -> int | None:
    """The newline between two rows that is nearest to the middle of a block; None if there is but one row."""
    middle = (start + end) // 2
    before, after = rows.rfind(b"\n", start, middle), rows.find(b"\n", middle, end)
    places = [at for at in (before, after) if at >= 0]
    return min(places, key=lambda at: abs(at - middle), default=None)


def compressed(rows: bytes) -> bytes:
    """As an lz4 frame. Made step by step: at once it takes room for rows that cannot be compressed at all."""
    compressor = lz4.frame.LZ4FrameCompressor()
    view = memoryview(rows)
    parts = [compressor.begin()]
    for at in range(0, len(rows), _COMPRESSED_AT_ONCE):
        parts.append(compressor.compress(view[at : at + _COMPRESSED_AT_ONCE]))
    parts.append(compressor.flush())
    return b"".join(parts)
