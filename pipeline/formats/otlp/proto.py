"""Messages in protobuf (opentelemetry-proto 1.x), read from the wire.

Read by hand, since that takes a third of the time of reading them out of the objects that `opentelemetry-proto` makes:
attributes repeat from record to record, and each is read once. What it takes, and what it takes it for, is what the
library does (tests/unit/test_otlp_proto.py), but for one thing: text that is not UTF-8 is repaired as everywhere, and
not the end of the whole message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pipeline.formats.mending import mended_places
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import (
    MAX_RECORDS,
    Attributes,
    InstrumentationScope,
    LogRecord,
    ResourceBlock,
    ScopeBlock,
    SpanRecord,
    require_bounded,
)
from pipeline.formats.otlp.proto_quick import Pairs, quick_log, quick_resource, quick_span
from pipeline.formats.otlp.proto_records import log_of, span_of
from pipeline.formats.otlp.proto_values import resource_of
from pipeline.formats.otlp.wire import field_of, fields
from pipeline.formats.rejected import Rejected

T = TypeVar("T", LogRecord, SpanRecord)

_BLOCKS, _RESOURCE, _SCOPES, _SCOPE, _RECORDS = 0x0A, 0x0A, 0x12, 0x0A, 0x12


class Protobuf:
    """One message."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._pairs: Pairs = {}

    def split(self) -> Sequence[ResourceBlock] | Rejected:
        counts = [0, 0]
        try:
            # One by one: whether there are too many is known before all are looked at.
            return [_block(block, counts) for tag, block in fields(self._value) if tag == _BLOCKS]  # type: ignore[arg-type]
        except Flaw as flaw:
            return Rejected(flaw.reason, flaw.words)

    def joined(self, blocks: Sequence[ResourceBlock]) -> bytes:
        return b"".join(field_of(1, _joined(block)) for block in blocks)

    def bytes_of(self, raw: bytes) -> bytes | None:
        return raw

    def resource(self, raw: bytes) -> tuple[Attributes, tuple[str, ...]]:
        try:
            quick = quick_resource(raw)
            return (resource_of(raw, _strict) if quick is None else quick), ()
        except UnicodeDecodeError:
            mended = resource_of(raw, _mended)
            return mended, mended_places(mended, resource_of(raw, _otherwise), "resource.attributes")

    def scope(self, raw: bytes) -> InstrumentationScope:
        name = version = b""
        for tag, value in fields(raw):
            if tag == 0x0A:
                name = value  # type: ignore[assignment]
            elif tag == 0x12:
                version = value  # type: ignore[assignment]
        return InstrumentationScope(_mended(name), _mended(version))

    def log(self, raw: bytes) -> LogRecord:
        try:
            return quick_log(raw, self._pairs) or log_of(raw, _strict)
        except UnicodeDecodeError:
            return _told(log_of(raw, _mended), log_of(raw, _otherwise))

    def span(self, raw: bytes) -> SpanRecord:
        try:
            return quick_span(raw, self._pairs) or span_of(raw, _strict)
        except UnicodeDecodeError:
            return _told(span_of(raw, _mended), span_of(raw, _otherwise))


def _block(raw: bytes, counts: list[int]) -> ResourceBlock:
    """`counts` is of resources and scopes, and of records, so far."""
    resource: list[Any] = []
    scopes: list[ScopeBlock] = []
    for tag, value in fields(raw):
        if tag == _RESOURCE:
            resource.append(value)
        elif tag == _SCOPES:
            assert isinstance(value, bytes)
            scope, records = _scope_block(value, counts)
            scopes.append(ScopeBlock(scope, records))
    counts[0] += 1
    require_bounded(counts)
    return ResourceBlock(b"".join(resource), scopes)


def _scope_block(raw: bytes, counts: list[int]) -> tuple[bytes, list[bytes]]:
    scope, records = _quick_parts(raw) or _slow_parts(raw)
    counts[0] += 1
    counts[1] += len(records)
    require_bounded(counts)
    return b"".join(scope), records


def _quick_parts(raw: bytes) -> tuple[list[bytes], list[bytes]] | None:
    """InstrumentationScope and records; None if there is more than those, or a long one of them."""
    scope: list[bytes] = []
    records: list[bytes] = []
    at, end = 0, len(raw)
    try:
        while at < end:
            tag, size = raw[at], raw[at + 1]
            if size < 0x80:
                start = at + 2
            else:
                more = raw[at + 2]
                if more > 0x7F:
                    return None
                size, start = size & 0x7F | more << 7, at + 3
            at = start + size
            if tag == _RECORDS:
                records.append(raw[start:at])
                if len(records) > MAX_RECORDS:
                    return None
            elif tag == _SCOPE:
                scope.append(raw[start:at])
            elif tag != 0x1A:
                return None
    except IndexError:
        return None
    return (scope, records) if at == end else None


def _slow_parts(raw: bytes) -> tuple[list[Any], list[Any]]:
    scope: list[Any] = []
    records: list[Any] = []
    for tag, value in fields(raw):
        if tag == _SCOPE:
            scope.append(value)
        elif tag == _RECORDS:
            records.append(value)
            if len(records) > MAX_RECORDS:
                break
    return scope, records


def _joined(block: ResourceBlock) -> bytes:
    written = [field_of(1, block.resource)] if block.resource else []
    for scope, records in block.scopes:
        head = field_of(1, scope) if scope else b""
        written.append(field_of(2, head + b"".join(field_of(2, record) for record in records)))
    return b"".join(written)


def _strict(raw: bytes) -> str:
    return raw.decode()


def _mended(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _otherwise(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def _told(mended: T, otherwise: T) -> T:
    """The record, with the places that differ between two ways to mend it."""
    one, other = _plain(mended), _plain(otherwise)
    places = [place for name in one for place in mended_places(one[name], other[name], name)]
    return mended._replace(repaired=tuple(places))


def _plain(value: Any) -> Any:
    """Records as objects, so that places in them have names."""
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value
