"""Large answers of a broker, read without moving them again and again.

asyncio puts what has come of an answer into one buffer, which is moved to a larger place whenever it grows: with a
fetch of 32 MB that is some 300 MB of copying. Here the buffer is emptied as it fills.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.conn import AIOKafkaProtocol

_LARGE_BYTES = 256 * 1024


class InPieces(asyncio.StreamReader):
    """A `StreamReader` whose `readexactly` takes what is large piece by piece. Not for several readers at a time."""

    async def readexactly(self, n: int) -> bytes:
        if n <= _LARGE_BYTES:
            return await super().readexactly(n)
        pieces: list[bytes] = []
        left = n
        while left:
            piece = await self.read(left)
            if not piece:
                raise asyncio.IncompleteReadError(b"".join(pieces), n)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


class ReadingInPieces(AIOKafkaProtocol):  # type: ignore[misc]
    """The protocol of aiokafka's connections, which makes their reader one of these."""

    def __init__(self, closed: Any, reader: asyncio.StreamReader, **others: Any) -> None:
        # Its connection has made it, and keeps it.
        reader.__class__ = InPieces
        super().__init__(closed, reader, **others)
