"""Content-Encoding of requests: what is sound is read, what is not is named, and nothing makes more than is allowed."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.receive.content_coding import codings_of, decoded
from pipeline.receive.refusal import NotTaken

TEXT = b'{"v": 1, "events": []}' * 500
MOST = 20_000


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


def zstd_without_size(data: bytes) -> bytes:
    """As a sender writes that does not know the length before."""
    compressor = cramjam.zstd.Compressor()
    compressor.compress(data)
    return bytes(compressor.finish())


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


SKIPPABLE = (0x184D2A51).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
SOUND = {
    "gzip": ("gzip", gzip.compress(TEXT), TEXT),
    "x-gzip": ("X-GZIP", gzip.compress(TEXT), TEXT),
    "gzip of nothing": ("gzip", gzip.compress(b""), b""),
    "two members": ("gzip", gzip.compress(TEXT[:7]) + gzip.compress(TEXT[7:]), TEXT),
    "padding": ("gzip", gzip.compress(TEXT) + bytes(300), TEXT),
    "deflate": ("deflate", zlib.compress(TEXT), TEXT),
    "raw deflate": ("deflate", raw_deflate(TEXT), TEXT),
    "zstd": ("zstd", zstd(TEXT), TEXT),
    "zstd without a size": ("zstd", zstd_without_size(TEXT), TEXT),
    "zstd of nothing": ("zstd", zstd(b""), b""),
    "two frames": ("zstd", zstd(TEXT[:7]) + SKIPPABLE + zstd_without_size(TEXT[7:]), TEXT),
    "one in the other": ("gzip, zstd", zstd(gzip.compress(TEXT)), TEXT),
    "none": ("identity", TEXT, TEXT),
    "an empty header": ("", TEXT, TEXT),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_sound_is_read(case: str) -> None:
    header, body, text = SOUND[case]
    assert decoded(body, codings_of(header), MOST) == text
    assert decoded(body, codings_of(header), max(len(text), 1) if "," not in header else MOST) == text


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_one_byte_more_than_is_allowed_is_413(name: str) -> None:
    for body in {"gzip": [SOUND["gzip"][1], SOUND["two members"][1]], "deflate": [SOUND["deflate"][1]]}.get(
        name, [SOUND["zstd"][1], SOUND["zstd without a size"][1], SOUND["two frames"][1]]
    ):
        with pytest.raises(NotTaken) as caught:
            decoded(body, [name], len(TEXT) - 1)
        assert caught.value.status == 413


BROKEN = {
    "gzip with garbage": ("gzip", gzip.compress(TEXT) + b"garbage"),
    "gzip with garbage behind zeros": ("gzip", gzip.compress(TEXT) + bytes(9) + b"x"),
    "gzip of another text": ("gzip", TEXT),
    "deflate with garbage": ("deflate", zlib.compress(TEXT) + b"x"),
    "deflate of another text": ("deflate", TEXT),
    "zstd with garbage": ("zstd", zstd(TEXT) + b"garbage"),
    "zstd of another text": ("zstd", TEXT),
    "nothing as gzip": ("gzip", b""),
    "nothing as deflate": ("deflate", b""),
    "nothing as zstd": ("zstd", b""),
    "gzip checksum": ("gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
    "zstd dictionary": ("zstd", (0xFD2FB528).to_bytes(4, "little") + b"\x21\x00\x01\x00\x00"),
    "zstd window": ("zstd", (0xFD2FB528).to_bytes(4, "little") + b"\x00\xf8\x01\x00\x00"),
    "too many members": ("gzip", gzip.compress(b"") * 1_001),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_400_and_says_why(case: str) -> None:
    header, body = BROKEN[case]
    with pytest.raises(NotTaken) as caught:
        decoded(body, codings_of(header), MOST)
    assert (caught.value.status, caught.value.reason) == (400, "content_encoding")
    assert f"Content-Encoding {header}" in caught.value.text


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "zstd without a size"])
def test_whatever_is_cut_short_is_400(name: str) -> None:
    header, body, _ = SOUND[name]
    for length in range(len(body)):
        with pytest.raises(NotTaken) as caught:
            decoded(body[:length], codings_of(header), MOST)
        assert caught.value.status == 400


@pytest.mark.parametrize("header", ["br", "gzip, gzip, gzip", "gzip;q=1", "compress", "\x00", "a" * 5_000])
def test_an_unknown_coding_is_415(header: str) -> None:
    with pytest.raises(NotTaken) as caught:
        codings_of(header)
    assert caught.value.status == 415 and len(caught.value.text) < 200


@pytest.mark.slow
def test_a_bomb_stops_at_the_bound() -> None:
    bombs = {
        "gzip": gzip.compress(bytes(300_000_000), 1),
        "deflate": zlib.compress(bytes(300_000_000), 1),
        "zstd": zstd(bytes(300_000_000)),
        # Says that it makes 100 MB, in one piece: the decoder would take that much at once.
        "zstd, claimed": (0xFD2FB528).to_bytes(4, "little") + b"\xa0\x00\xe1\xf5\x05\x01\x00\x00",
    }
    bombs["zstd, frames"] = zstd(bytes(7_000_000)) * 40
    for name, body in bombs.items():
        tracemalloc.start()
        began_s = time.process_time()
        with pytest.raises(NotTaken) as caught:
            decoded(body, codings_of(name.partition(",")[0]), 8_000_000)
        took_s, (_, most) = time.process_time() - began_s, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.status == 413, name
        assert took_s < 1 and most < 30_000_000, (name, took_s, most)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd"]), st.booleans(), st.data())
def test_nothing_else_is_raised_whatever_comes(
    body: bytes, name: str, begins: bool, data: st.DataObject
) -> None:
    if begins:
        sound = bytearray(SOUND[name][1])
        for _ in range(data.draw(st.integers(1, 4))):
            sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
        body = bytes(sound)
    try:
        made = decoded(body, [name], MOST)
    except NotTaken as fault:
        assert fault.status in {400, 413}
    else:
        assert len(made) <= MOST
