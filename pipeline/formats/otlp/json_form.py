"""Messages in OTLP JSON (schemas/mapping/otlp.md, "OTLP JSON")."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pipeline.formats.mending import Read, bounded, mended_places
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.json_values import (
    Node,
    any_value,
    at,
    attributes_of,
    each_of,
    enum_of,
    get,
    id_of,
    list_of,
    nanoseconds,
    object_of,
    text_of,
)
from pipeline.formats.otlp.message import (
    MAX_VALUE_LEVELS,
    Attributes,
    InstrumentationScope,
    Link,
    LogRecord,
    ResourceBlock,
    ScopeBlock,
    Signal,
    SpanEvent,
    SpanRecord,
    require_bounded,
)
from pipeline.formats.rejected import Rejected
from pipeline.formats.strict_json import dumps

MAX_NESTING = 5 * MAX_VALUE_LEVELS
"""Levels of arrays and objects in a message: each level of a map takes four."""

_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_SEVERITY_NUMBERS = {
    "SEVERITY_NUMBER_UNSPECIFIED": 0,
    **{
        f"SEVERITY_NUMBER_{word}{step or ''}": index * 4 + (step or 1)
        for index, word in enumerate(_SEVERITIES)
        for step in (0, 2, 3, 4)
    },
}
_KINDS = {
    f"SPAN_KIND_{word}": number
    for number, word in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS_CODES = {f"STATUS_CODE_{word}": number for number, word in enumerate(("UNSET", "OK", "ERROR"))}


class Json:
    """One message, parsed and mended."""

    def __init__(self, read: Read, signal: Signal) -> None:
        self._signal = signal
        self._tree = read.tree
        self._otherwise: dict[int, Any] = {}
        self._read = read

    def exact(self) -> Json:
        """The same message with its doubles by their digits."""
        read = self._read
        return Json(read._replace(tree=json.loads(read.value, parse_float=Decimal)), self._signal)

    def split(self) -> Sequence[ResourceBlock] | Rejected:
        signal, otherwise = self._signal, self._read.otherwise
        try:
            blocks = _split(self._tree, signal)
        except Flaw as flaw:
            return Rejected(flaw.reason, flaw.words)
        if otherwise is not None:
            self._remember(blocks, otherwise)
        return blocks

    def _remember(self, blocks: Sequence[ResourceBlock], otherwise: Node) -> None:
        """What each part would be, had it been mended in another way: by that is known what was mended."""
        try:
            others = _split(otherwise, self._signal)
        except Flaw:
            return  # What was mended is not a value but what stands around them, and is none now.
        for block, other in zip(blocks, others, strict=False):
            self._otherwise[id(block.resource)] = other.resource
            for scope, beside in zip(block.scopes, other.scopes, strict=False):
                for record, one in zip(scope.records, beside.records, strict=False):
                    self._otherwise[id(record)] = one

    def joined(self, blocks: Sequence[ResourceBlock]) -> bytes:
        signal = self._signal
        message = {
            signal.blocks: [
                {
                    "resource": block.resource,
                    signal.scopes: [
                        {"scope": scope.scope, signal.records: list(scope.records)} for scope in block.scopes
                    ],
                }
                for block in blocks
            ]
        }
        return dumps(message)

    def bytes_of(self, raw: Any) -> bytes | None:
        # What was mended has its place in the message.
        return dumps(raw) if self._read.otherwise is None else None

    def resource(self, raw: Any) -> tuple[Attributes, tuple[str, ...]]:
        return attributes_of(object_of(raw), [0]), self._repaired(raw, "resource")

    def scope(self, raw: Any) -> InstrumentationScope:
        return InstrumentationScope(text_of(object_of(raw), "name"), text_of(object_of(raw), "version"))

    def log(self, raw: Any) -> LogRecord:
        node, budget = object_of(raw), [0]
        body = get(node, "body")
        return LogRecord(
            nanoseconds(node, "timeUnixNano"),
            nanoseconds(node, "observedTimeUnixNano"),
            enum_of(node, "severityNumber", _SEVERITY_NUMBERS),
            text_of(node, "severityText"),
            None if body is None else at("body", lambda: any_value(body, budget)),
            attributes_of(node, budget),
            id_of(node, "traceId"),
            id_of(node, "spanId"),
            text_of(node, "eventName"),
            self._repaired(raw, ""),
        )

    def span(self, raw: Any) -> SpanRecord:
        node, budget = object_of(raw), [0]
        status = at("status", lambda: object_of(get(node, "status")))
        return SpanRecord(
            id_of(node, "traceId"),
            id_of(node, "spanId"),
            id_of(node, "parentSpanId"),
            text_of(node, "traceState"),
            text_of(node, "name"),
            enum_of(node, "kind", _KINDS),
            nanoseconds(node, "startTimeUnixNano"),
            nanoseconds(node, "endTimeUnixNano"),
            attributes_of(node, budget),
            each_of(node, "events", lambda each: _span_event(each, budget), budget),
            each_of(node, "links", lambda each: _link(each, budget), budget),
            at("status", lambda: enum_of(status, "code", _STATUS_CODES)),
            at("status", lambda: text_of(status, "message")),
            self._repaired(raw, ""),
        )

    def _repaired(self, raw: Any, name: str) -> tuple[str, ...]:
        if not self._otherwise or id(raw) not in self._otherwise:
            return ()
        other = self._otherwise[id(raw)]
        if name:
            return mended_places(raw, other, name)
        if not isinstance(other, dict) or len(other) != len(raw):
            return ()
        pairs = zip(raw.items(), other.items(), strict=True)
        return bounded(place for (key, one), (_, two) in pairs for place in mended_places(one, two, key))


def _split(tree: Node, signal: Signal) -> list[ResourceBlock]:
    blocks: list[ResourceBlock] = []
    # Of resources and scopes, and of records.
    counts = [0, 0]
    for index, block in enumerate(list_of(tree, signal.blocks)):
        try:
            scopes = _scopes(object_of(block), signal, counts)
            blocks.append(ResourceBlock(get(object_of(block), "resource"), scopes))
        except Flaw as flaw:
            raise flaw.under(f"{signal.blocks}[{index}]") from None
        counts[0] += 1
        require_bounded(counts)
    return blocks


def _scopes(block: Node, signal: Signal, counts: list[int]) -> list[ScopeBlock]:
    scopes: list[ScopeBlock] = []
    for index, scope in enumerate(list_of(block, signal.scopes)):
        try:
            records = list_of(object_of(scope), signal.records)
        except Flaw as flaw:
            raise flaw.under(f"{signal.scopes}[{index}]") from None
        counts[0] += 1
        counts[1] += len(records)
        require_bounded(counts)
        scopes.append(ScopeBlock(get(object_of(scope), "scope"), records))
    return scopes


def _span_event(raw: Any, budget: list[int]) -> SpanEvent:
    node = object_of(raw)
    return SpanEvent(nanoseconds(node, "timeUnixNano"), text_of(node, "name"), attributes_of(node, budget))


def _link(raw: Any, budget: list[int]) -> Link:
    node = object_of(raw)
    return Link(id_of(node, "traceId"), id_of(node, "spanId"), attributes_of(node, budget))
