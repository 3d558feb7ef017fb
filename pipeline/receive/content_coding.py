"""Content-Encoding of requests: gzip, deflate and zstd (RFC 9110, 1952, 1950, 8878), never more than is allowed."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cramjam

from pipeline.receive.refusal import NeverTaken

MAX_CODINGS = 2
"""One after the other. No SDK needs two; a proxy may add its own."""
_GZIP_BEGIN = b"\x1f\x8b"
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SKIPPABLE, _ZSTD_SKIPPABLE_MASK = 0x184D2A50, 0xFFFFFFF0
_ZSTD_MAX_WINDOW = 8 * 1024 * 1024
"""What a sender may use in HTTP (RFC 9659); the decoder takes memory of that size."""
_ZSTD_MAX_BLOCK = 128 * 1024
_ZSTD_RAW, _ZSTD_RLE = 0, 1
_PIECE = 64 * 1024
_MAX_MEMBERS = 1_000
"""Of a gzip file: each costs some time, however short it is."""
_BITS_GZIP, _BITS_ZLIB, _BITS_RAW = 31, 15, -15


def codings_of(content_encoding: str) -> list[str]:
    """The codings of a header, in the order in which they are to be undone. NotTaken (415) for an unknown one."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [_ALIASES.get(name, name) for name in names if name not in {"", "identity"}]
    unknown = [name for name in names if name not in _DECODERS]
    if unknown or len(names) > MAX_CODINGS:
        offered = ", ".join(CODINGS)
        wrong = f"{unknown[0][:40]!r} is not one of" if unknown else f"at most {MAX_CODINGS} of"
        raise NeverTaken(415, "content_encoding", f"Content-Encoding: {wrong} {offered}")
    return names[::-1]


def decoded(body: bytes, codings: list[str], max_bytes: int) -> bytes:
    """The body without its codings. Blocks; of what is longer than `max_bytes` no more than that is made.

    Raises `NotTaken`: 413 for what is longer, 400 for what is broken, cut short, or has something behind its end.
    """
    for name in codings:
        body = _DECODERS[name](body, max_bytes)
    return body


def not_undone(body: bytes) -> str:
    """The coding that a body still has by its first bytes, with which neither JSON nor OTLP in protobuf begins; empty
    if it has none."""
    if body.startswith(_GZIP_BEGIN):
        return "gzip"
    return "zstd" if body.startswith(_ZSTD_MAGIC.to_bytes(4, "little")) else ""


def _gzip(body: bytes, max_bytes: int) -> bytes:
    """All members of a gzip file, one after the other, and zeros as padding behind the last."""
    made = bytearray()
    at = _inflate(body, 0, _BITS_GZIP, made, max_bytes, "gzip")
    members = 1
    while at < len(body) and body[at]:
        members += 1
        if members > _MAX_MEMBERS:
            raise _broken("gzip", f"it has more than {_MAX_MEMBERS} members")
        at = _inflate(body, at, _BITS_GZIP, made, max_bytes, "gzip")
    if body[at:].strip(b"\0"):
        raise _broken("gzip", "there is something after its end")
    return bytes(made)


def _deflate(body: bytes, max_bytes: int) -> bytes:
    """A zlib stream, as the name has it; some senders leave its head and tail out."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    made = bytearray()
    if _inflate(body, 0, _BITS_ZLIB if is_zlib else _BITS_RAW, made, max_bytes, "deflate") < len(body):
        raise _broken("deflate", "there is something after its end")
    return bytes(made)


def _inflate(body: bytes, at: int, bits: int, made: bytearray, max_bytes: int, name: str) -> int:
    """Add the stream that begins at a byte to what is made; gives where it ends."""
    stream = zlib.decompressobj(bits)
    data = b""
    try:
        while not stream.eof:
            if not data:
                data = body[at : at + _PIECE]
                at += len(data)
                if not data:
                    raise _broken(name, "it is cut short")
            made += stream.decompress(data, max_bytes + 1 - len(made))
            if len(made) > max_bytes:
                raise _too_long(max_bytes)
            data = stream.unconsumed_tail
    except zlib.error as error:
        raise _broken(name, str(error)) from error
    return at - len(stream.unused_data)


def _zstd(body: bytes, max_bytes: int) -> bytes:
    size = _most_of_zstd(body, max_bytes)
    made = bytearray(min(size, max_bytes))
    try:
        # Stops where there is no room for more.
        length: int = cramjam.zstd.decompress_into(body, made)
    except cramjam.DecompressionError as error:
        if size > max_bytes:
            raise _too_long(max_bytes) from error
        raise _broken("zstd", str(error)) from error
    return bytes(memoryview(made)[:length])


def _most_of_zstd(body: bytes, max_bytes: int) -> int:
    """The most bytes that all frames of a zstd file can make, by the heads of their blocks; nothing is decoded.

    Raises `NotTaken` for what takes too much memory, for a file that is cut short or has something else behind a frame.
    """
    size, at = 0, 0
    try:
        while at < len(body) or not at:
            magic = int.from_bytes(body[at : at + 4], "little")
            if magic & _ZSTD_SKIPPABLE_MASK == _ZSTD_SKIPPABLE:
                at += 8 + int.from_bytes(body[at + 4 : at + 8], "little")
            elif magic == _ZSTD_MAGIC:
                made, at = _frame_of_zstd(body, at + 4, max_bytes)
                size += made
            else:
                raise _broken("zstd", f"no frame begins at byte {at}")
    except IndexError as error:
        raise _broken("zstd", "it is cut short") from error
    if at > len(body):
        raise _broken("zstd", "it is cut short")
    return size


def _frame_of_zstd(body: bytes, at: int, max_bytes: int) -> tuple[int, int]:
    """The most bytes that a frame makes, and where it ends (RFC 8878, 3.1.1). IndexError if it is cut short."""
    descriptor = body[at]
    at += 1
    if descriptor & 3:
        raise _broken("zstd", "it needs a dictionary")
    if descriptor & 0x20:
        # In one piece: the decoder takes as much memory as the frame says that it makes.
        bytes_of_size = (1, 2, 4, 8)[descriptor >> 6]
        claimed = int.from_bytes(body[at : at + bytes_of_size], "little") + (bytes_of_size == 2) * 256
        if claimed > max_bytes:
            raise _too_long(max_bytes)
    else:
        bytes_of_size = (0, 2, 4, 8)[descriptor >> 6]
        window = (1 << 10 + (body[at] >> 3)) * (8 + (body[at] & 7)) // 8
        if window > _ZSTD_MAX_WINDOW:
            raise _broken("zstd", f"a window of {window} bytes is over {_ZSTD_MAX_WINDOW}")
        at += 1
    at += bytes_of_size
    made, is_last = 0, False
    while not is_last:
        head = body[at] | body[at + 1] << 8 | body[at + 2] << 16
        is_last, kind, length = bool(head & 1), head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == _ZSTD_RLE else length)
        made += length if kind in (_ZSTD_RAW, _ZSTD_RLE) else _ZSTD_MAX_BLOCK
    return made, at + (4 if descriptor & 4 else 0)


def _too_long(max_bytes: int) -> NeverTaken:
    return NeverTaken(
        413,
        "too_large",
        f"the body has more than {max_bytes} bytes without its Content-Encoding; send less at once",
    )


def _broken(name: str, why: str) -> NeverTaken:
    return NeverTaken(400, "content_encoding", f"the body is not what Content-Encoding {name} says: {why}")


_ALIASES = {"x-gzip": "gzip"}
_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
CODINGS = tuple(sorted(_DECODERS))
"""Those that are undone."""
