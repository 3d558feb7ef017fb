"""Targets: OTLP logs and spans, in JSON and in protobuf.

An input is one byte that chooses topic and record time, and the record's value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random
from typing import Any

from pipeline.formats import native, otlp
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.mending import Read, read_json
from pipeline.formats.otlp.json_form import MAX_NESTING, Json
from pipeline.formats.otlp.message import LOGS, SPANS
from pipeline.formats.otlp.proto import Protobuf
from pipeline.formats.otlp.wire import field_of
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from pipeline.storage.columns import DEAD_LETTER_COLUMNS
from pipeline.storage.dead_letter import dead_letters_of, row_of_dead_letter
from tests.fuzz.mutate import JsonMutator, grown
from tests.fuzz.records import check_envelope, donors, examples
from tests.fuzz.target import Seen, check_indexes, check_rejected, check_row, require
from tests.fuzz.vocabulary import OTLP_KEYS, OTLP_VALUES

RECORD_TIMES_MS = (*[1_785_777_000_000] * 2, 1_795_740_000_000, 0, -1, 2**63 - 1, -(2**63), 946_684_800_000)
_SPANS_BIT = 8
_PLACE = ("dead-letters", 3, 7)


class _Otlp:
    """What the encodings have in common."""

    limit_ms: float | None = 400.0
    """A message of a million bytes may have ten thousand records. Eight times as much is read in seconds."""

    _seeds: list[bytes]

    def seeds(self) -> list[bytes]:
        return self._seeds

    def prepared(self, data: bytes) -> Callable[[], object]:
        return functools.partial(self._translate, data)

    def check(self, data: bytes) -> Seen:
        value, record_ms = data[1:], RECORD_TIMES_MS[data[0] & 7 if data else 0]
        outcome = self._translate(data)
        require(outcome == self._translate(data), "the same bytes give the same")
        if isinstance(outcome, Rejected):
            require(outcome.event_index is None, "a refused message names no record")
            return Seen(False, check_rejected(outcome))
        count = sum(len(scope.records) for block in self._blocks(data) for scope in block.scopes)
        refused = check_indexes(outcome.refused, count)
        ids = 0
        meanings: set[tuple[int, int]] = set()
        for record in outcome.records:
            envelope = native.decode(record.value, record.key, record_ms)
            require(isinstance(envelope, native.Envelope), f"the router's records are accepted: {envelope}")
            assert isinstance(envelope, native.Envelope)
            require(not envelope.refused, f"the router's events are accepted: {envelope.refused[:1]}")
            ids += len(envelope.events)
            meanings |= {(event.kind, event.counters) for event in envelope.events}
            check_envelope(envelope, record.key, record_ms)
        if not self._is_of_spans(data):
            require(ids + len(refused) == count, "every log record is translated or refused")
        self._check_parts(data, outcome, value, record_ms)
        shape = frozenset(check_rejected(each) for each in outcome.refused)
        return Seen(bool(ids), (shape, frozenset(meanings), min(len(outcome.records), 3)))

    def _check_parts(self, data: bytes, outcome: Translation, value: bytes, record_ms: int) -> None:
        """What is refused becomes dead letters with their own bytes, which can be sent again."""
        topic = "otlp_spans" if self._is_of_spans(data) else "otlp_logs"
        letters = dead_letters_of(
            topic, 1, 5, record_ms=record_ms, key=None, value=value, faults=outcome.refused
        )
        for letter in letters:
            row = row_of_dead_letter(
                letter.headers(), key=None, value=letter.value, record_ms=0, place=_PLACE
            )
            check_row(row, DEAD_LETTER_COLUMNS, binary=True)
        for part in list(dict.fromkeys(each.part for each in outcome.refused))[:2]:
            require(part, "a refusal has its own bytes")
            again = self._translate(data[:1] + (part or b""))
            require(isinstance(again, Translation), f"a part is a message of its own: {again}")

    def _translate(self, data: bytes) -> Translation | Rejected:
        translate = (otlp.SPANS if self._is_of_spans(data) else otlp.LOGS).translate
        assert translate is not None
        return translate(data[1:], RECORD_TIMES_MS[data[0] & 7 if data else 0])

    @staticmethod
    def _is_of_spans(data: bytes) -> bool:
        return bool(data and data[0] & _SPANS_BIT)

    def _blocks(self, data: bytes) -> Any:
        signal = SPANS if self._is_of_spans(data) else LOGS
        value = data[1:]
        encoding: Any = Protobuf(value)
        blocks: Any = encoding.split() if value[:1] == b"\n" else None
        read = read_json(value, len(value), MAX_NESTING)
        if isinstance(read, Read):
            blocks = Json(read, signal).split()
        require(not isinstance(blocks, Rejected), "a message that is taken has blocks")
        return blocks


def _choice(value: bytes) -> bytes:
    return b"\x08" if b"resourceSpans" in value or b"resource_spans" in value else b"\0"


class OtlpJsonTarget(_Otlp):
    """Messages in OTLP JSON."""

    def __init__(self) -> None:
        values = examples("otlp")
        self._seeds = [_choice(value) + value for value in values]
        self._mutator = JsonMutator(OTLP_KEYS, OTLP_VALUES, donors(values))

    def mutate(self, data: bytes, random: Random) -> bytes:
        choice = data[:1] or b"\0"
        if random.random() < 0.02:
            choice = random.randbytes(1)
        elif random.random() < 0.3:
            choice = bytes([choice[0] & _SPANS_BIT])
        return choice + self._mutator.mutate(data[1:], random)

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        return data[:1] + grown(data[1:], MAX_RECORD_BYTES, random)


class OtlpProtobufTarget(_Otlp):
    """Messages in protobuf: fields are taken out, doubled, exchanged and cut, and their sizes kept right or not."""

    def __init__(self) -> None:
        # The messages of the examples, in the other encoding.
        from tests.support.otlp import message_of  # noqa: PLC0415 - needs opentelemetry-proto

        self._seeds = []
        for value in examples("otlp"):
            message = message_of(value)
            if message is not None and len(value) < 2_500:
                self._seeds.append(_choice(value) + message.SerializeToString())

    def mutate(self, data: bytes, random: Random) -> bytes:
        choice, value = data[:1] or b"\0", data[1:]
        if random.random() < 0.02:
            choice = random.randbytes(1)
        other = random.choice(self._seeds)[1:]
        for _ in range(random.randint(1, 3)):
            value = _changed(value, other, random, 7)
        if random.random() < 0.2:
            value = _bytes_changed(value, other, random)
        return choice + value[:3_000]

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        unit = random.choice((data[1:], b"\0", b"\x0a\0", b"\x12\0", b"\x32\0", b"\x2a\0"))
        many = unit * ((MAX_RECORD_BYTES - 64) // max(1, len(unit)))
        for _ in range(random.randint(0, 4)):
            many = field_of(random.choice((1, 2, 5, 6, 9)), many)
        return data[:1] + (many if many[:1] == b"\n" else field_of(1, many))


def _parts(value: bytes) -> list[tuple[int, int, int]] | None:
    """Where fields of bytes begin, where their content does, and where they end; None if these are no fields."""
    found, at = [], 0
    while at < len(value):
        tag, start = value[at], at + 2
        if tag & 7 == 1:
            at += 9
            continue
        if tag & 7 in (0, 5):
            at += 2 if tag & 7 == 0 else 5
            continue
        if tag & 7 != 2 or at + 1 >= len(value):
            return None
        size = value[at + 1]
        if size > 0x7F:
            if at + 2 >= len(value):
                return None
            size, start = size & 0x7F | value[at + 2] << 7, at + 3
        if start + size > len(value):
            return None
        found.append((at, start, start + size))
        at = start + size
    return found


def _changed(value: bytes, other: bytes, random: Random, levels: int) -> bytes:
    """The message with something in it changed, all sizes around it right."""
    parts = _parts(value)
    if not parts or not levels or random.random() < 0.1:
        return _bytes_changed(value, other, random)
    begin, start, end = random.choice(parts)
    match random.randrange(10):
        case 0:
            return value[:begin] + value[end:]
        case 1:
            return value[:end] + value[begin:]
        case 2:
            donor = _parts(other)
            take = random.choice(donor) if donor else (0, 0, 0)
            return value[:end] + other[take[0] : take[2]] + value[end:]
        case _:
            inner = _changed(value[start:end], other, random, levels - 1)
            return value[:begin] + field_of(value[begin] >> 3, inner) + value[end:]


def _bytes_changed(value: bytes, other: bytes, random: Random) -> bytes:
    at = random.randrange(len(value) + 1)
    cut = random.choice((0, 0, 1, 3))
    put = random.choice(
        (
            *(
                b"",
                b"\0",
                b"\xff",
                b"\x80",
                b"\x0a\x02",
                b"\xff" * 10,
                b"session.id",
                b"app.crash",
                b"\xc3",
                b"9" * 30,
            ),
            random.randbytes(2),
            other[random.randrange(len(other) + 1) :][:20],
        )
    )
    return value[:at] + put + value[at + cut :]


class OtlpCoresTarget(OtlpProtobufTarget):
    """The same messages by the compiled core and by Python, which must not differ; what counts as accepted is what the
    core takes."""

    def __init__(self) -> None:
        super().__init__()
        # Needs the core.
        from tests.support.both_otlp import BothCores  # noqa: PLC0415

        self._both = {
            is_of_spans: BothCores(otlp.SPANS if is_of_spans else otlp.LOGS) for is_of_spans in (0, 1)
        }

    def prepared(self, data: bytes) -> Callable[[], object]:
        """By the core: `otlp-protobuf` has the time of Python."""
        by_core = self._both[self._is_of_spans(data)].by_core
        return functools.partial(by_core, data[1:], RECORD_TIMES_MS[data[0] & 7 if data else 0])

    def check(self, data: bytes) -> Seen:
        both = self._both[self._is_of_spans(data)]
        both.left.clear()
        found = both.check(data[1:], RECORD_TIMES_MS[data[0] & 7 if data else 0])
        require("panic" not in both.left, "the core fails")
        if isinstance(found, Rejected):
            return Seen(False, check_rejected(found))
        count = sum(len(scope.records) for block in self._blocks(data) for scope in block.scopes)
        taken = count - both.left.total() - len(found.refused)
        names = {part[:14] for each in found.records for part in each.value.split(b'"name":')[1:]}
        return Seen(taken > 0, (frozenset(both.left), min(taken, 2), tuple(sorted(names)[:4])))
