"""What an OTLP message holds, whichever way it is encoded.

Values of attributes and bodies are as JSON has them: text, booleans, integers of 64 bits, finite doubles, lists,
objects, None. What is not a number (NaN, infinities) is its text, bytes are base64 text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.rejected import Reason, Rejected

Attributes = dict[str, Any]

MAX_RECORDS = 100_000
"""Of a message, log records or spans; resources and scopes, together, are bounded by the same number. A Collector that
does not bound its batches makes some ten thousand of what it gets at once."""
MAX_ATTRIBUTES = 1_024
"""Of a record, of a span event, of a resource."""
MAX_VALUES = 10_000
"""In the arrays and maps of one record, so that none takes longer than it may."""
MAX_VALUE_LEVELS = 100
"""Of arrays and maps in a value, as protobuf's own readers have it."""

NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""What Python calls them, and protobuf's JSON."""


def require_bounded(counts: Sequence[int]) -> None:
    """Raises Flaw where a message has too many resources and scopes, together, or records."""
    if max(counts) > MAX_RECORDS:
        raise Flaw(Reason.TOO_MANY_EVENTS, "", f"at most {MAX_RECORDS} records, and resources and scopes")


class LogRecord(NamedTuple):
    """Of opentelemetry/proto/logs/v1."""

    time_ns: int
    """0 if it is not there; so all that is a number."""
    observed_ns: int
    severity_number: int
    severity_text: str
    body: Any
    attributes: Attributes
    trace_id: str
    """Lower-case hex; empty for none, or for one of zeros."""
    span_id: str
    event_name: str
    repaired: tuple[str, ...] = ()
    """The places of what was not text, as `repaired` of an event."""
    is_flat: bool = False
    """Whether the attributes are known to be single values, none of them an array or a map."""


class SpanEvent(NamedTuple):
    """Of opentelemetry/proto/trace/v1."""

    time_ns: int
    name: str
    attributes: Attributes


class Link(NamedTuple):
    """To another span."""

    trace_id: str
    span_id: str
    attributes: Attributes


class SpanRecord(NamedTuple):
    """Of opentelemetry/proto/trace/v1."""

    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    """0 while it is not ended."""
    attributes: Attributes
    events: Sequence[SpanEvent]
    links: Sequence[Link]
    status_code: int
    status_message: str
    repaired: tuple[str, ...] = ()


class InstrumentationScope(NamedTuple):
    """What instrumented the app."""

    name: str = ""
    version: str = ""


class ScopeBlock(NamedTuple):
    """The records of one scope, as they came: bytes of protobuf, or what JSON was parsed to."""

    scope: Any
    records: Sequence[Any]


class ResourceBlock(NamedTuple):
    """The records of one resource."""

    resource: Any
    scopes: Sequence[ScopeBlock]


class Encoding(Protocol):
    """How messages are written. What reads a part of one raises `Flaw` where it cannot."""

    def split(self) -> Sequence[ResourceBlock] | Rejected:
        """The message, not looked at further than to find its records."""

    def joined(self, blocks: Sequence[ResourceBlock]) -> bytes:
        """A message of these blocks."""

    def resource(self, raw: Any) -> tuple[Attributes, tuple[str, ...]]:
        """Its attributes, and what was repaired of them."""

    def scope(self, raw: Any) -> InstrumentationScope: ...

    def log(self, raw: Any) -> LogRecord: ...

    def span(self, raw: Any) -> SpanRecord: ...


class Signal(NamedTuple):
    """One of the two kinds of messages, by the names of OTLP JSON."""

    blocks: str
    scopes: str
    records: str
    topic: str


LOGS = Signal("resourceLogs", "scopeLogs", "logRecords", "otlp_logs")
SPANS = Signal("resourceSpans", "scopeSpans", "spans", "otlp_spans")
