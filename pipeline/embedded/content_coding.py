"""Bodies as HTTP carries them: gzip, deflate, lz4 and zstd, both ways, piece by piece."""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import lz4.frame

from pipeline.errors import Terminal

# In the standard library from Python 3.14 on; before, the same module comes with clickhouse-connect.
zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

_PIECE_BYTES = 4 << 20
_LEVEL = 1
"""Loopback is faster than any compression: the cheapest."""


class UnknownCoding(Terminal):
    """A content coding that is not supported here."""


class BadBody(Terminal):
    """A body that is not what its content coding says."""


class Encoder(Protocol):
    """Compresses one body."""

    def encode(self, piece: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, wbits=31)

    def encode(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Deflate(_Gzip):
    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL)


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=_LEVEL)

    def encode(self, piece: bytes) -> bytes:
        compressed: bytes = self._compressor.compress(piece)
        return compressed

    def finish(self) -> bytes:
        end: bytes = self._compressor.flush()
        return end


class _Lz4:
    def __init__(self) -> None:
        self._compressor = lz4.frame.LZ4FrameCompressor()
        self._begin: bytes = self._compressor.begin()

    def encode(self, piece: bytes) -> bytes:
        begin, self._begin = self._begin, b""
        compressed: bytes = self._compressor.compress(piece)
        return begin + compressed

    def finish(self) -> bytes:
        end: bytes = self._compressor.flush()
        return self._begin + end


class Chained:
    """One coding over another: `inner` is applied first."""

    def __init__(self, inner: Encoder, outer: Encoder) -> None:
        self._inner, self._outer = inner, outer

    def encode(self, piece: bytes) -> bytes:
        return self._outer.encode(self._inner.encode(piece))

    def finish(self) -> bytes:
        return self._outer.encode(self._inner.finish()) + self._outer.finish()


_ENCODERS: dict[str, Callable[[], Encoder]] = {"lz4": _Lz4, "zstd": _Zstd, "gzip": _Gzip, "deflate": _Deflate}


class _Inflater:
    """zlib's decompressor with the face of the two others."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        # zlib hands back what it did not come to; the two others keep it.
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


_DECODERS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: _Inflater(31),
    "deflate": lambda: _Inflater(15),
}
_DECODE_ERRORS = (zlib.error, zstd.ZstdError, RuntimeError, EOFError)


def encoder_for(accept_encoding: str) -> tuple[str, Encoder] | None:
    """The coding to answer in: the first of an Accept-Encoding header that is spoken here; None for identity."""
    for part in accept_encoding.split(","):
        name, _, weight = part.strip().partition(";")
        if name in _ENCODERS and weight.replace(" ", "") not in ("q=0", "q=0.0"):
            return name, _ENCODERS[name]()
    return None


def decoded(body: bytes, coding: str) -> Iterator[bytes]:
    """A body in pieces of a few megabytes, decompressed. `coding` is its Content-Encoding, empty for none.

    UnknownCoding at once; BadBody while iterating, if it is not in that coding or cut off.
    """
    if coding in ("", "identity"):
        return _pieces(body)
    if coding not in _DECODERS:
        raise UnknownCoding(f"Content-Encoding {coding} is not supported; use lz4, zstd, gzip or deflate")
    return _decompressed(body, coding)


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


def _decompressed(body: bytes, coding: str) -> Iterator[bytes]:
    # A body may be several frames one after another: clickhouse-connect makes one of each block.
    while body:
        decoder = _DECODERS[coding]()
        given = body
        while not decoder.eof:
            try:
                piece = decoder.decompress(given, _PIECE_BYTES)
            except _DECODE_ERRORS as error:
                raise BadBody(f"the body is not valid {coding}: {error}") from error
            given = b""
            if piece:
                yield piece
            elif not decoder.eof and decoder.needs_input:
                raise BadBody(f"the body is cut off in the middle of its {coding} frame")
        body = decoder.unused_data or b""
