"""Blocks in ClickHouse's format Native, read: what the compiled core makes, for tests that hold it to Python's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from struct import unpack_from
from typing import Any

import msgspec
import orjson

from pipeline.storage.columns import FAILURE_SYMBOLS, FAILURES

_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_OWN_KEYS = 0x600
_WIDTHS = "BHIQ"


class _Reading:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def length(self) -> int:
        found = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7

    def text(self) -> str:
        size = self.length()
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def numbers(self, code: str, count: int) -> list[int]:
        found = unpack_from(f"<{count}{code}", self.data, self.at)
        self.at += count * {"B": 1, "H": 2, "I": 4, "Q": 8, "q": 8}[code]
        return list(found)

    def texts(self, count: int) -> list[str]:
        return [self.text() for _ in range(count)]

    def dictionary(self, count: int) -> list[str]:
        """The rows of a dictionary, whose head was read."""
        if not count:
            return []
        (kind,) = self.numbers("Q", 1)
        assert kind & ~0xFF == _OWN_KEYS
        keys = self.texts(self.numbers("Q", 1)[0])
        assert len(set(keys)) == len(keys) and self.numbers("Q", 1) == [count]
        return [keys[number] for number in self.numbers(_WIDTHS[kind & 0xFF], count)]

    def head(self) -> None:
        assert self.numbers("Q", 1) == [1]

    def low_cardinality(self, count: int) -> list[str]:
        self.head()
        return self.dictionary(count)

    def maps(self, count: int) -> list[dict[str, str]]:
        self.head()
        ends = self.numbers("Q", count)
        keys, values = self.dictionary(ends[-1]), self.texts(ends[-1])
        return [dict(pairs) for pairs in _cut(ends, list(zip(keys, values, strict=True)))]

    def failures(self, count: int) -> list[list[list[Any]]]:
        self.head()
        ends = self.numbers("Q", count)
        all_of_them = ends[-1]
        columns = [
            self.numbers("H", all_of_them),
            self.dictionary(all_of_them),
            *self.texts_of(3, all_of_them),
        ]
        return _cut(ends, [list(each) for each in zip(*columns, strict=True)])

    def failure_symbols(self, count: int) -> list[list[list[list[Any]]]]:
        for _ in range(4):
            self.head()
        ends = self.numbers("Q", count)
        inner = self.numbers("Q", ends[-1])
        asked = inner[-1] if inner else 0
        kind, (ids, names) = self.dictionary(asked), self.texts_of(2, asked)
        columns = [
            kind,
            ids,
            names,
            *(self.dictionary(asked) for _ in range(3)),
            self.numbers("B", asked),
            self.texts(asked),
        ]
        return _cut(ends, _cut(inner, [list(each) for each in zip(*columns, strict=True)]))

    def texts_of(self, columns: int, count: int) -> list[list[str]]:
        return [self.texts(count) for _ in range(columns)]

    def no_arrays(self, count: int) -> list[list[str]]:
        assert self.numbers("Q", count) == [0] * count
        return [[] for _ in range(count)]


def _cut(ends: list[int], values: list[Any]) -> list[list[Any]]:
    return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]


_READ: dict[str, Callable[[_Reading, int], list[Any]]] = {
    "LowCardinality(String)": _Reading.low_cardinality,
    "String": _Reading.texts,
    "DateTime64(3, 'UTC')": lambda reading, count: reading.numbers("q", count),
    "Int64": lambda reading, count: reading.numbers("q", count),
    "UInt64": lambda reading, count: reading.numbers("Q", count),
    "UInt32": lambda reading, count: reading.numbers("I", count),
    "UInt16": lambda reading, count: reading.numbers("H", count),
    "Date": lambda reading, count: [
        (date(1970, 1, 1) + timedelta(day)).isoformat() for day in reading.numbers("H", count)
    ],
    "Map(LowCardinality(String), String)": _Reading.maps,
    "Array(String)": _Reading.no_arrays,
    FAILURES: _Reading.failures,
    FAILURE_SYMBOLS: _Reading.failure_symbols,
}


def columns_of(block: bytes) -> list[tuple[str, str]]:
    """Names and types of the columns of the first block."""
    return [(name, kind) for name, kind, _ in _columns(_Reading(block))]


def rows_of(blocks: bytes) -> Iterator[dict[str, Any]]:
    """The rows of some blocks; times are Unix milliseconds."""
    reading = _Reading(blocks)
    while reading.at < len(blocks):
        names, _, columns = zip(*_columns(reading), strict=True)
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def _columns(reading: _Reading) -> list[tuple[str, str, list[Any]]]:
    columns, rows = reading.length(), reading.length()
    found = []
    for _ in range(columns):
        name, kind = reading.text(), reading.text()
        found.append((name, kind, _READ[kind](reading, rows)))
    return found


def as_stored(row: bytes) -> dict[str, Any]:
    """A row of `z_event_feed` in JSON with the values that ClickHouse reads there; times are Unix milliseconds."""
    told = msgspec.json.decode(row, type=dict[str, msgspec.Raw])
    found: dict[str, Any] = {"failures": [], "failure_symbols": []}
    for name, value in told.items():
        raw = bytes(value)
        if name in ("time", "raw_time", "received_at"):
            seconds, _, rest = raw.decode().partition(".")
            found[name] = int(seconds) * 1_000 + int(rest)
        elif name == "attributes":
            found[name] = {each: _text_of(bytes(said)) for each, said in _attributes(raw).items()}
        elif name in ("resource_json", "user_json"):
            found[name] = raw.decode() if raw[:1] == b"{" else orjson.loads(raw)
        else:
            found[name] = orjson.loads(raw)
    return found


def _text_of(raw: bytes) -> str:
    """An attribute's value as a text, as the settings of inserts say."""
    if raw[:1] == b'"':
        found: str = orjson.loads(raw)
        return found
    return "" if raw == b"null" else raw.decode()
