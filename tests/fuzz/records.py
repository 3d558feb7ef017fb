"""Targets: native envelopes, and bodies of the other formats.

An input is one byte that chooses key and record time, and the record's value.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import msgspec
import orjson

from pipeline.domain.event import Event, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats import faro, measure, native, registry, sentry
from pipeline.formats.edge import Edge
from pipeline.formats.format import Translate
from pipeline.formats.hashed_ids import bounded_id
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_RECORD_BYTES
from pipeline.formats.mending import read_json
from pipeline.formats.rejected import Rejected
from pipeline.formats.stacks.crash_group import FAILURES as GROUPED
from pipeline.state.codec import state_codec
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.state.outbox import Rows
from pipeline.storage.columns import DEAD_LETTER_COLUMNS, EVENT_COLUMNS, SESSION_COLUMNS
from pipeline.storage.dead_letter import DeadLetter, dead_letters_of, let_in, row_of_dead_letter
from tests.fuzz.mutate import JsonMutator, grown
from tests.fuzz.target import Seen, check_indexes, check_rejected, check_row, require
from tests.fuzz.vocabulary import (
    FARO_KEYS,
    FARO_VALUES,
    MEASURE_KEYS,
    MEASURE_VALUES,
    NATIVE_KEYS,
    NATIVE_VALUES,
    NOW_MS,
    SENTRY_KEYS,
    SENTRY_VALUES,
)
from tests.support.decoding import assert_read_alike
from tests.support.event_rows import event_rows
from tests.support.replaying import check_replayed

RECORD_TIMES_MS = (NOW_MS, NOW_MS, NOW_MS + 60_001, 0, -1, 2**63 - 1, -(2**63), 946_684_800_000)
EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
_TIMES = ((b"2026-11-26", b"2025-11-23"), (b"2026-11-27", b"2025-11-24"), (b"17957372", b"17639990"))
"""Of recorded requests."""
_POLICY = Policy()
_PLACE = ("dead-letters", 3, 7)
_EDGES = tuple(
    Edge(Privacy(Rules(), by_app), Samplings(), "a secret of more than thirty-two characters")
    for by_app in (
        {},
        {"app": Rules(drop=("*name",), hash=("id",), mask=("type",), emails="mask", queries="drop")},
    )
)
_FORMS = ("sdk-events", "measure-events", "otlp_logs", "sentry-envelopes")
"""Topics with what is cleaned in one way each."""
_SOURCE = ("sdk-events", 1, 2**40)


def _example(path: Path) -> bytes | None:
    """The record's value in an example (`schemas/README.md`); None if it is not a small one in plain text."""
    document = json.loads(path.read_text("utf-8"))
    if path.parent.name == "accepted":
        return orjson.dumps(document)
    if document.get("repeat_parts") or document.get("pad_to_bytes") or "bytes_base64" in document:
        return None
    if "text" in document:
        return str(document["text"]).encode()
    return None if document.get("value") is None else orjson.dumps(document["value"])


@functools.cache
def examples(folder: str) -> list[bytes]:
    """The values of the examples in a folder, in order of name, those of more than 20 kB left out."""
    paths = sorted(
        path for path in (EXAMPLES / folder).rglob("*.json") if not path.name.endswith(".expected.json")
    )
    values = [value for path in paths if (value := _example(path)) is not None and len(value) <= 20_000]
    if len(values) < 10:
        raise FileNotFoundError(f"too few examples under {EXAMPLES / folder}")
    return values


def donors(values: list[bytes]) -> list[Any]:
    trees = []
    for value in values:
        try:
            trees.append(orjson.loads(value))
        except orjson.JSONDecodeError:
            continue
    return [tree for tree in trees if isinstance(tree, dict)]


def _tree(value: bytes) -> dict[str, Any]:
    """What is in a record that was taken, repaired where it must be."""
    read = read_json(value, MAX_BODY_BYTES)
    assert not isinstance(read, Rejected)
    return read.tree


class Records:
    """What all have in common: the first byte, mutation, growth."""

    limit_ms: float | None = 50.0

    def __init__(self, folder: str, keys: tuple[str, ...], values: tuple[Any, ...]) -> None:
        self._examples = [self.at_now(value) for value in examples(folder)]
        self._mutator = JsonMutator(keys, values, donors(self._examples))

    @staticmethod
    def at_now(value: bytes) -> bytes:
        """An example with its times before `NOW_MS`."""
        for then, now in _TIMES:
            value = value.replace(then, now)
        return value

    def seeds(self) -> list[bytes]:
        return [b"\0" + value for value in self._examples]

    def mutate(self, data: bytes, random: Random) -> bytes:
        choice = data[:1] or b"\0"
        if random.random() < 0.05:
            choice = random.randbytes(1)
        elif random.random() < 0.3:
            choice = b"\0"
        return choice + self._mutator.mutate(data[1:], random)

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        return b"\0" + grown(data[1:], MAX_RECORD_BYTES, random)


class NativeTarget(Records):
    """`native.decode`: envelopes round-trip, every event is kept or refused, rows and sessions are sound."""

    def __init__(self) -> None:
        super().__init__("native", NATIVE_KEYS, NATIVE_VALUES)

    def prepared(self, data: bytes) -> Callable[[], object]:
        return functools.partial(native.decode, *self._record(data))

    def check(self, data: bytes) -> Seen:
        value, key, record_ms = self._record(data)
        outcome = native.decode(value, key, record_ms)
        assert_read_alike(value, key, record_ms)
        if isinstance(outcome, Rejected):
            require(outcome.event_index is None, "a refused record names no event")
            check_dead_letters([outcome], key, value, record_ms)
            return Seen(False, check_rejected(outcome))
        events = _tree(value)["events"]
        refused = check_indexes(outcome.refused, len(events))
        kept = [event["id"] for index, event in enumerate(events) if index not in refused]
        require([event.id for event in outcome.events] == kept, "every event is kept or refused")
        check_dead_letters(outcome.refused, key, value, record_ms)
        shape = {check_rejected(each) for each in outcome.refused}
        meanings = frozenset((event.kind, event.counters) for event in outcome.events)
        check_envelope(outcome, key, record_ms)
        return Seen(
            bool(outcome.events), (frozenset(shape), meanings, bool(outcome.user), outcome.resource == "{}")
        )

    @staticmethod
    def _record(data: bytes) -> tuple[bytes, bytes | None, int]:
        choice, value = data[0] if data else 0, data[1:]
        record_ms = RECORD_TIMES_MS[choice & 7]
        if choice & 0x80:
            return value, (None, b"", b"a/b", b"\xff/\0")[choice >> 3 & 3], record_ms
        try:
            tree = orjson.loads(value)
            return value, f"{tree['app_id']}/{tree['device_id']}".encode(), record_ms
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            return value, b"a/b", record_ms


class _Routed(Records):
    """A `translate`: the router's records are never refused, and hold every event that is not refused."""

    translate: Translate
    topic: str
    limit_ms = 100.0
    """A body may have 1,500 events, and one of Measure or Faro takes some 30 microseconds (tests/bench/DECODERS.md)."""

    def prepared(self, data: bytes) -> Callable[[], object]:
        return functools.partial(self.translate, data[1:], self._record_ms(data))

    def check(self, data: bytes) -> Seen:
        value, record_ms = data[1:], self._record_ms(data)
        outcome = self.translate(value, record_ms)
        if isinstance(outcome, Rejected):
            require(outcome.event_index is None, "a refused body names no event")
            check_dead_letters([outcome], None, value, record_ms)
            return Seen(False, check_rejected(outcome))
        ids = self.ids_of(value)
        refused = check_indexes(outcome.refused, len(ids))
        come: list[str] = []
        meanings: set[tuple[int, int]] = set()
        for record in outcome.records:
            envelope = native.decode(record.value, record.key, record_ms)
            require(isinstance(envelope, native.Envelope), f"the router's records are accepted: {envelope}")
            assert isinstance(envelope, native.Envelope)
            require(not envelope.refused, f"the router's events are accepted: {envelope.refused[:1]}")
            come += [event.id for event in envelope.events]
            meanings |= {(event.kind, event.counters) for event in envelope.events}
            check_envelope(envelope, record.key, record_ms)
        kept = [id_of for index, id_of in enumerate(ids) if index not in refused]
        require(len(come) == len(kept), "as many events are translated as are not refused")
        if None not in kept:
            require(
                sorted(come) == sorted(id_of() for id_of in kept if id_of),
                "every event is translated or refused",
            )
        check_dead_letters(outcome.refused, None, value, record_ms)
        if outcome.refused:
            check_replayed(registry.of_topic(self.topic), value, record_ms)
        shape = frozenset(check_rejected(each) for each in outcome.refused)
        return Seen(bool(come), (shape, frozenset(meanings), min(len(outcome.records), 3)))

    @staticmethod
    def ids_of(value: bytes) -> list[Callable[[], str] | None]:
        """What gives the id of each event of a record, as they are counted, asked of good ones; None: its content."""
        return [lambda event=event: event["id"] for event in _tree(value).get("events") or []]

    @staticmethod
    def _record_ms(data: bytes) -> int:
        return RECORD_TIMES_MS[(data[0] if data else 0) & 7]


class MeasureTarget(_Routed):
    """Request bodies of the Measure SDK."""

    topic = "measure-events"

    def __init__(self) -> None:
        super().__init__("measure", MEASURE_KEYS, MEASURE_VALUES)
        self.translate = measure.decode

    @staticmethod
    def ids_of(value: bytes) -> list[Callable[[], str] | None]:
        ids, spans = _Routed.ids_of(value), _tree(value).get("spans")
        ids += [lambda span=span: span_id(span) for span in spans] if isinstance(spans, list) else []
        return ids


class FaroTarget(_Routed):
    """Request bodies of Faro's SDKs."""

    topic = "faro-events"

    def __init__(self) -> None:
        super().__init__("faro", FARO_KEYS, FARO_VALUES)
        self.translate = faro.translate

    def ids_of(self, value: bytes) -> list[Callable[[], str] | None]:
        """Each item is one; of spans as many as are counted, which is for the unit tests."""
        tree, outcome = _tree(value), self.translate(value, NOW_MS)
        assert not isinstance(outcome, Rejected)
        count = sum(len(tree.get(name) or []) for name in ("events", "logs", "exceptions", "measurements"))
        if tree.get("traces"):
            events = sum(len(orjson.loads(record.value)["events"]) for record in outcome.records)
            count = max(count, events + len(outcome.refused))
        return [None] * count


class SentryTarget(_Routed):
    """Envelopes of Sentry's SDKs. One item may be several events, or none."""

    topic = "sentry-envelopes"
    limit_ms = 150.0
    """One of its events takes 50."""

    def __init__(self) -> None:
        super().__init__("sentry", SENTRY_KEYS, SENTRY_VALUES)
        self.translate = sentry.translate

    def mutate(self, data: bytes, random: Random) -> bytes:
        """One line changed, or put elsewhere as well; mostly without `length`, so that what follows is found."""
        choice, lines = data[:1] or b"\0", data[1:].split(b"\n")
        at = random.randrange(len(lines))
        if random.random() < 0.2:
            lines.insert(random.randrange(len(lines) + 1), lines[at])
        else:
            lines[at] = self._mutator.mutate(lines[at], random)
        value = b"\n".join(lines)
        if random.random() < 0.7:
            value = _LENGTH.sub(b"", value)
        return choice + value

    def ids_of(self, value: bytes) -> list[Callable[[], str] | None]:
        """As many as are counted: what that is is for the unit tests."""
        outcome = self.translate(value, NOW_MS)
        assert not isinstance(outcome, Rejected)
        events = sum(len(orjson.loads(record.value)["events"]) for record in outcome.records)
        return [None] * (events + len(outcome.refused))


_LENGTH = re.compile(rb',\s*"length":\s*[0-9]+')


def span_id(span: dict[str, Any]) -> str:
    """The id of the event of a span of a Measure body."""
    return bounded_id(f"{span['trace_id']}-{span['span_id']}.e")


class NativeEventsTarget(_Routed):
    """Native envelopes under any key. A record may have tens of thousands of events, and is read in parts."""

    topic = "native-events"

    limit_ms = 1_000.0

    def __init__(self) -> None:
        super().__init__("native", NATIVE_KEYS, NATIVE_VALUES)
        assert native.ANY_KEY.translate is not None
        self.translate = native.ANY_KEY.translate


def check_envelope(envelope: native.Envelope, key: bytes | None, record_ms: int) -> None:
    """What is accepted re-encodes to the same envelope, makes sound rows, folds, and its state round-trips."""
    if not envelope.events:
        return
    again_bytes = _encoded(envelope)
    if len(again_bytes) <= MAX_RECORD_BYTES:
        again = native.decode(again_bytes, key, record_ms)
        # What is encoded again needs no repair any more.
        whole = [msgspec.structs.replace(event, repaired=()) for event in envelope.events]
        expected = msgspec.structs.replace(envelope, refused=[], repaired=0, events=whole)
        require(again == expected, "what is accepted re-encodes to the same events")
    topic, partition, offset = _SOURCE
    rows = event_rows(envelope, topic=topic, partition=partition, offset=offset).split(b"\n")
    require(len(rows) == len(envelope.events), "each event has one row, of one line")
    for row, event in zip(rows, envelope.events, strict=True):
        parsed = check_row(row, EVENT_COLUMNS)
        has_group = ("failures" in parsed) == (event.name in GROUPED)
        require(has_group, "crashes, ANRs and exceptions have a group, and nothing else")
        require(
            set(parsed) | {"failures", "failure_symbols"} == {name for name, _ in EVENT_COLUMNS},
            "an event's row has every column",
        )
        require((parsed["event_id"], parsed["name"]) == (event.id, event.name), "an event's row is its own")
        require(parsed["attributes"] == orjson.loads(event.attributes), "attributes are stored as they came")
    check_sessions(envelope.app_id, envelope.device_id, native.to_events(envelope), record_ms)


def check_sessions(app_id: str, device_id: str, events: list[Event], record_ms: int) -> None:
    """The fold over events: each counted once, rows sound, the state the same after a round trip."""
    folded = sessions(app_id, device_id, events, _POLICY)
    distinct: dict[str, Event] = {}
    for event in events:
        distinct.setdefault(event.id, event)
    # Those that say nothing of use, and come before all use, belong to no session.
    used = itertools.dropwhile(lambda event: event.kind is Kind.PASSIVE, sorted(distinct.values()))
    count = len(list(used))
    require(sum(session.event_count for session in folded) == count, "each event is in one session")
    state = DeviceState()
    apply(state, [(_SOURCE[2], record_ms, events)], _POLICY, Counts())
    rows = Rows(1)
    rows.add(f"{app_id}/{device_id}".encode(), state, 2)
    require((len(rows) > 0) == (count > 0), "new events make a row")
    for _, row in rows:
        check_row(row, SESSION_COLUMNS)
    encoded = state_codec.encode(state)
    require(state_codec.decode(encoded) == state, "a state decodes to itself")
    require(
        state_codec.encode(state_codec.decode(encoded)) == encoded, "a state re-encodes to the same bytes"
    )


def check_dead_letters(faults: list[Rejected], key: bytes | None, value: bytes, record_ms: int) -> None:
    """What is refused becomes dead letters that say why, and hold its bytes."""
    topic, partition, offset = _SOURCE
    letters = dead_letters_of(
        topic, partition, offset, record_ms=record_ms, key=key, value=value, faults=faults
    )
    require(len(letters) == len({fault.reason for fault in faults}), "one dead letter for each reason")
    for letter in letters:
        check_rejected(letter.rejected)
        row = row_of_dead_letter(letter.headers(), key=key, value=value, record_ms=0, place=_PLACE)
        parsed = check_row(row, DEAD_LETTER_COLUMNS, binary=True)
        require(parsed["reason"] == letter.rejected.reason, "a dead letter says its reason")
        require((parsed["topic"], parsed["offset"]) == (topic, offset), "a dead letter says where it stood")
        require(parsed["value"].encode("latin-1") == value, "a dead letter holds the bytes")
    # One in eight, since it takes as long as all else.
    if letters and crc32(value) % 8 == 0:
        check_let_in(letters[0]._replace(key=key, value=value))


def check_let_in(letter: DeadLetter) -> None:
    """Whatever rules there are, and whichever format it is of: a dead letter gets in, with bytes or without."""
    for edge in _EDGES:
        for topic_let_in in _FORMS:
            made = let_in(letter._replace(topic=topic_let_in), edge)
            require(made.value is not None, "a dead letter has a value, or an empty one")
            again = let_in(made._replace(topic=topic_let_in), edge)
            require(again.value == made.value, "the rules applied twice are as applied once")


def _encoded(envelope: native.Envelope) -> bytes:
    events = [
        {
            "id": event.id,
            "name": event.name,
            # Without a time of sending, who moved it back, and by what else is in his record, is not to be seen.
            "time": event.time_ms if envelope.sent_at is None else event.raw_time_ms,
            "raw_time": event.raw_time_ms,
            "seq": event.seq,
            "session_id": event.client_session_id or None,
            "attributes": msgspec.Raw(event.attributes),
        }
        for event in envelope.events
    ]
    return msgspec.json.encode(
        {
            "v": 1,
            "app_id": envelope.app_id,
            "device_id": envelope.device_id,
            "batch_id": envelope.batch_id or None,
            "sent_at": envelope.sent_at,
            "resource": msgspec.Raw(envelope.resource.encode()),
            "user": msgspec.Raw((envelope.user or "null").encode()),
            "events": events,
        }
    )
