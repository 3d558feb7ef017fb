"""Spans in a Faro body (`traces.resourceSpans`, OTLP JSON): what each says, of the sender that `meta` names.

The resource that a span came with repeats `meta`, and the page's session stands among its attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.formats.checks import rejected_time, time_is_plausible
from pipeline.formats.faro.meta import FaroMeta
from pipeline.formats.hashed_ids import bounded_id
from pipeline.formats.listed import Listed
from pipeline.formats.mending import MAX_PLACE_CHARS, Read, bounded
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.ids import of_exception
from pipeline.formats.otlp.json_form import Json
from pipeline.formats.otlp.json_values import Inexact
from pipeline.formats.otlp.message import SPANS, ResourceBlock, SpanRecord
from pipeline.formats.otlp.spans import Fact, facts_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps
from pipeline.formats.translation import Draft

TRACES = "traces"
_TIME_FIELD = "startTimeUnixNano"
_OF_SENDER = ("session.id", "session_id", "user.id")
"""Attributes that repeat what `meta` says."""


class SpanSource(NamedTuple):
    """A span as it came, and what it came with."""

    block: int
    scope: int
    record: int
    """Indexes in the body."""
    blocks: Sequence[ResourceBlock]
    span: Any


class SpanStep(NamedTuple):
    """One event of a span, or what is refused in its place."""

    listed: Listed
    outcome: Draft | Rejected
    source: SpanSource | None
    """None where the spans are refused as a whole."""


def span_steps(read: Read, meta: FaroMeta, first: int, record_ms: int) -> Iterator[SpanStep]:
    """What comes of the spans of a body, one after the other; `first` is the index of the first of it."""
    traces = read.tree.get(TRACES)
    if not traces:
        return
    if not isinstance(traces, dict):
        fault = Rejected(Reason.INVALID_TYPE, f"{TRACES}: an object with resourceSpans", first)
        yield SpanStep(Listed(TRACES, _TIME_FIELD), fault, None)
        return
    other = read.otherwise.get(TRACES) if read.otherwise else None
    message = Json(Read(dumps(traces), traces, other if isinstance(other, dict) else None), SPANS)
    yield from _steps(message, meta, first, record_ms)


def _steps(message: Json, meta: FaroMeta, first: int, record_ms: int) -> Iterator[SpanStep]:
    blocks = message.split()
    if isinstance(blocks, Rejected):
        fault = Rejected(blocks.reason, f"{TRACES}.{blocks.detail}", first)
        yield SpanStep(Listed(TRACES, _TIME_FIELD), fault, None)
        return
    index = first
    for number, block in enumerate(blocks):
        for place, scope in enumerate(block.scopes):
            for at, raw in enumerate(scope.records):
                path = f"{TRACES}.resourceSpans[{number}].scopeSpans[{place}].spans[{at}]"
                listed, source = Listed(path, _TIME_FIELD), SpanSource(number, place, at, blocks, raw)
                for outcome in _of_span(message, raw, meta, path, index, record_ms):
                    yield SpanStep(listed, outcome, source)
                    index += 1


def _of_span(
    message: Json, raw: Any, meta: FaroMeta, path: str, index: int, record_ms: int
) -> Iterator[Draft | Rejected]:
    try:
        span = message.span(raw)
    except Inexact:
        # SDKs write nanoseconds as texts.
        yield Rejected(
            Reason.INVALID_TYPE, f"{path}: whole numbers as such or as texts, not as doubles", index
        )
        return
    except Flaw as flaw:
        joint = "" if flaw.words.startswith(("[", ":")) else "."
        yield Rejected(flaw.reason, f"{path}{joint}{flaw.words}", index)
        return
    for field, id_ in (("traceId", span.trace_id), ("spanId", span.span_id)):
        if not id_:
            yield Rejected(Reason.MISSING_FIELD, f"{path}.{field}: required, and not of zeros alone", index)
            return
    told = {key: value for key, value in span.attributes.items() if key not in _OF_SENDER}
    for fact in facts_of(span, told, is_browser=True):
        yield _draft(fact, span, meta, path, index, record_ms)
        index += 1


def _draft(
    fact: Fact, span: SpanRecord, meta: FaroMeta, path: str, index: int, record_ms: int
) -> Draft | Rejected:
    time_ms, seq = divmod(fact.time_ns, 1_000_000)
    if not time_is_plausible(time_ms, record_ms):
        return rejected_time(time_ms, record_ms, f"{path}.{_TIME_FIELD}", index)
    attributes = {**fact.attributes, "trace_id": span.trace_id, "span_id": span.span_id}
    # A request has a URL of its own, and the page's is another thing.
    meta.add_to(attributes)
    id_ = (
        bounded_id(f"{span.trace_id}-{span.span_id}{fact.id}")
        if fact.id
        else of_exception(meta.sender, time_ms, span.trace_id, span.span_id, fact.attributes)
    )
    native: dict[str, Any] = {"id": id_, "name": fact.name, "time": time_ms}
    if seq:
        native["seq"] = seq
    if meta.client_session_id:
        native["session_id"] = meta.client_session_id
    if span.repaired:
        native["repaired"] = bounded(f"{path}.{place}"[:MAX_PLACE_CHARS] for place in span.repaired)
    native["attributes"] = attributes
    return Draft(index, meta.sender, time_ms, native)
