"""Messages of `otlp_logs` and `otlp_spans`, translated into native envelopes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import orjson

from pipeline.formats.clocks import back_of
from pipeline.formats.format import NOTHING_BESIDE, Beside, Translate
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_RECORD_BYTES
from pipeline.formats.mending import read_json
from pipeline.formats.otlp.compiled_events import CompiledEvents
from pipeline.formats.otlp.embrace import named_beside
from pipeline.formats.otlp.events import Context, Quoted, add_log, add_span
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.identity import ResourceIdentity
from pipeline.formats.otlp.json_form import MAX_NESTING, Json
from pipeline.formats.otlp.json_values import Inexact, snake
from pipeline.formats.otlp.message import LOGS, SPANS, Encoding, ResourceBlock, Signal
from pipeline.formats.otlp.proto import Protobuf
from pipeline.formats.otlp.refusals import Places, RefusedRecord, rejected
from pipeline.formats.rejected import Reason, Rejected, record_too_large
from pipeline.formats.translation import (
    BECOMES_TOO_MUCH,
    Draft,
    Made,
    TranslatedEvent,
    Translation,
    pack,
    set_right,
)

_BLANKS = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_METRICS = "resourceMetrics"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST_CONTEXTS = 1_000
"""That are remembered of a message: what the records of a scope have in common."""


def translator(signal: Signal, compiled: CompiledEvents | None = None) -> Translate:
    """The `translate` of one of the two formats; with what asks the compiled core, it does the same sooner.

    One bad record does not condemn its message, nor one bad resource the others: they are in `refused`, with the
    record's index in the message and with their own bytes. What is translated is never refused by the native decoder
    at the same record time.
    """

    def translate(
        value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
    ) -> Translation | Rejected:
        if not value:
            return Rejected(Reason.EMPTY_RECORD, "the record has no value")
        if len(value) > MAX_BODY_BYTES:
            return record_too_large(len(value), MAX_BODY_BYTES)
        encoding = _encoding_of(value, signal)
        if isinstance(encoding, Rejected):
            return encoding
        try:
            by = compiled if isinstance(encoding, Protobuf) else None
            return _translated(encoding, signal, record_ms, beside, by)
        except Inexact:
            assert isinstance(encoding, Json)
            return _translated(encoding.exact(), signal, record_ms, beside)

    return translate


def apps_in(signal: Signal) -> Callable[[bytes, Beside], set[str]]:
    """The `apps_of` of one of the two formats: by the resources of a message."""

    def apps_of(value: bytes, beside: Beside) -> set[str]:
        encoding = _encoding_of(value, signal)
        blocks = encoding if isinstance(encoding, Rejected) else encoding.split()
        named, found = named_beside(beside), set[str]()
        for block in () if isinstance(blocks, Rejected) else blocks:
            assert not isinstance(encoding, Rejected), "it has blocks"
            try:
                attributes, _ = encoding.resource(block.resource)
                found.add(ResourceIdentity(attributes, beside.options, named).app_id)
            except (Flaw, Inexact):
                continue
        return found

    return apps_of


def holds(signal: Signal) -> Callable[[bytes], bool]:
    """Whether a document in JSON is of this signal."""

    def is_of_kind(document: bytes) -> bool:
        try:
            names = _members.decode(document.removeprefix(_BOM))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return signal.blocks in names or snake(signal.blocks) in names

    return is_of_kind


def is_protobuf(value: bytes) -> bool:
    """Whether a message begins as one in protobuf does, with its first field: also a new line, before JSON."""
    stripped = value.strip(_BLANKS)
    if value[:1] != b"\n" or stripped[:1] != b"{" or stripped[-1:] != b"}":
        return value[:1] == b"\n"
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return True
    return False


def _encoding_of(value: bytes, signal: Signal) -> Encoding | Rejected:
    """Told apart by how a message begins: nothing else says which it is."""
    if is_protobuf(value):
        return Protobuf(value)
    if value[:1] in (b"{", b"[") or value.startswith(_BOM) or value[0] in _BLANKS:
        return _json(value, value.strip(_BLANKS), signal)
    return Rejected(
        Reason.MALFORMED_PROTOBUF,
        f"neither OTLP JSON nor protobuf, which begins with 0x0a, not 0x{value[0]:02x}",
    )


def _json(value: bytes, stripped: bytes, signal: Signal) -> Encoding | Rejected:
    if stripped[:1] == b"[":
        return Rejected(
            Reason.UNSUPPORTED, f"an array (zipkin_json?): OTLP JSON is an object with {signal.blocks}"
        )
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING)
    if isinstance(read, Rejected):
        return read
    names = read.tree.keys()
    if signal.blocks not in names and snake(signal.blocks) not in names:
        other = SPANS if signal is LOGS else LOGS
        if other.blocks in names or snake(other.blocks) in names:
            return Rejected(Reason.UNSUPPORTED, f"{other.blocks}: their topic is {other.topic}")
        if _METRICS in names or snake(_METRICS) in names:
            return Rejected(Reason.UNSUPPORTED, f"{_METRICS}: metrics are not accepted")
        return Rejected(Reason.MISSING_FIELD, f"{signal.blocks}: required, an array")
    return Json(read, signal)


def _translated(
    encoding: Encoding, signal: Signal, record_ms: int, beside: Beside, compiled: CompiledEvents | None = None
) -> Translation | Rejected:
    blocks = encoding.split()
    if isinstance(blocks, Rejected):
        return blocks
    places, taking, count = Places(), _Taking(encoding, signal, record_ms, compiled), 0
    for context, block, scope, records in _scopes(encoding, blocks, beside, record_ms):
        places.go_on(count, block, scope)
        if isinstance(context, Flaw):
            taking.flaws.update(dict.fromkeys(range(count, count + len(records)), context))
        else:
            taking.take(context, records, count)
        count += len(records)
    if not count:
        return Rejected(Reason.NO_EVENTS, f"{signal.blocks}: at least one record")
    outgoing, flaws = taking.outgoing, taking.flaws
    misdated: list[Rejected] = []
    if back_of(taking.latest_ms, record_ms):
        outgoing, misdated = set_right(_drafts(outgoing), record_ms, "timeUnixNano")
    packed = pack(outgoing)
    for late in (*misdated, *packed.refused):
        flaws.setdefault(late.event_index or 0, Flaw(late.reason, "", late.detail.partition(": ")[2]))
    if not flaws:
        return Translation(packed.records, [])
    refused = [RefusedRecord(at, places.of(at), flaw) for at, flaw in flaws.items()]
    is_over = taking.is_over or packed.is_full
    return Translation(packed.records, rejected(refused, blocks, encoding, signal), is_over)


_OVER = Flaw(Reason.RECORD_TOO_LARGE, "", BECOMES_TOO_MUCH)


class _Taking:
    """What the records of a message come to, while they are read."""

    def __init__(
        self, encoding: Encoding, signal: Signal, record_ms: int, compiled: CompiledEvents | None
    ) -> None:
        # mypy does not know that the two go together.
        self._read: Any = encoding.log if signal is LOGS else encoding.span
        self._add: Any = add_log if signal is LOGS else add_span
        self._compiled = compiled
        self.outgoing: list[TranslatedEvent] = []
        self.flaws: dict[int, Flaw] = {}
        """What is refused, by its index in the message."""
        self.latest_ms = record_ms
        self.is_over = False
        self._made = Made(self.outgoing)

    def take(self, context: Context, records: Sequence[Any], first: int) -> None:
        """The records of a scope, of which the first has this index in the message."""
        outgoing, made, compiled = self.outgoing, self._made, self._compiled
        read, add, at = self._read, self._add, 0
        while at < len(records):
            if len(outgoing) >= made.next_at and made.is_over():
                self.is_over = True
            if self.is_over:
                self.flaws.update(dict.fromkeys(range(first + at, first + len(records)), _OVER))
                return
            if compiled is not None:
                taken = compiled.take(context, records, at, first, made.next_at - len(outgoing), outgoing)
                at = taken.stop
                self.latest_ms = max(self.latest_ms, taken.latest_ms)
                if not taken.left_why:
                    continue
            raw, place = records[at], first + at
            at += 1
            try:
                if type(raw) is bytes and len(raw) > MAX_RECORD_BYTES:
                    raise Flaw(Reason.RECORD_TOO_LARGE, "", f"{len(raw)} bytes, at most {MAX_RECORD_BYTES}")
                time_ms = add(read(raw), context, place, outgoing)
                if time_ms > self.latest_ms:  # noqa: PLR1730  (the call would take a hundredth of all the time)
                    self.latest_ms = time_ms
            except Flaw as flaw:
                self.flaws[place] = flaw.with_traceback(None)


def _scopes(
    encoding: Encoding, blocks: Sequence[ResourceBlock], beside: Beside, record_ms: int
) -> Iterator[tuple[Context | Flaw, int, int, Sequence[Any]]]:
    """What the records of each scope have in common, or why none of them is taken; where it is; its records."""
    contexts = _Contexts(encoding, beside, record_ms)
    for number, block in enumerate(blocks):
        # Nothing of a block is needed that has no records, and a message may have a hundred thousand of them.
        for index, scope in enumerate(block.scopes):
            if scope.records:
                yield contexts.of(block.resource, scope.scope), number, index, scope.records


class _Contexts:
    """What the records of a scope have in common, read once for those of the same bytes: a batch of a Collector has the
    same resources again and again."""

    def __init__(self, encoding: Encoding, beside: Beside, record_ms: int) -> None:
        self._encoding: Any = encoding
        self._options = beside.options
        self._named = named_beside(beside)
        self._record_ms = record_ms
        self._quoted = Quoted()
        self._known: dict[tuple[bytes | None, bytes | None], Context | Flaw] = {}
        self._resource: Any = None
        """Of which it is known who it is."""
        self._who: tuple[ResourceIdentity, tuple[str, ...]] | Flaw | None = None

    def of(self, resource: Any, scope: Any) -> Context | Flaw:
        """Of a scope, or why nothing of it is taken."""
        texts = self._encoding.bytes_of(resource), self._encoding.bytes_of(scope)
        made = self._known.get(texts)
        if made is None:
            made = self._made(resource, scope)
            if None not in texts:
                if len(self._known) == _MOST_CONTEXTS:
                    self._known.clear()
                self._known[texts] = made
        return made

    def _made(self, resource: Any, scope: Any) -> Context | Flaw:
        if self._who is None or resource is not self._resource:
            self._resource, self._who = resource, self._identity(resource)
        if isinstance(self._who, Flaw):
            return self._who
        who, repaired = self._who
        try:
            return Context(who, self._encoding.scope(scope), repaired, self._record_ms, self._quoted)
        except Flaw as flaw:
            return flaw if flaw.path.startswith("scope") else flaw.under("scope")

    def _identity(self, resource: Any) -> tuple[ResourceIdentity, tuple[str, ...]] | Flaw:
        try:
            attributes, repaired = self._encoding.resource(resource)
            return ResourceIdentity(attributes, self._options, self._named), repaired
        except Flaw as flaw:
            return flaw if flaw.path.startswith("resource") else flaw.under("resource")


def _drafts(outgoing: Sequence[TranslatedEvent]) -> list[Draft]:
    drafts = []
    for place, sender, event in outgoing:
        told: dict[str, Any] = dict(_members.decode(event))
        drafts.append(Draft(place, sender, int(bytes(told["time"])), told))
    return drafts
