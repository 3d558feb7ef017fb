"""One message says the same in protobuf and in JSON, and however it is cut; what is made of it is never refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.formats import native, otlp
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from tests.support.both_otlp import BothCores
from tests.support.otlp import LOGS_REQUEST, NOW_MS, NOW_NS, SPANS_REQUEST, any_value, json_of, pairs

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(max_size=6)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = texts | st.sampled_from(
    [
        *(
            "session.start",
            "session.end",
            "app.crash",
            "device.crash",
            "device.anr",
            "exception",
            "x.exception",
        ),
        *(
            "device.app.lifecycle",
            "app.screen.view",
            "browser.navigation",
            "browser.page_view",
            "log",
            "AppStart",
        ),
        *("metrickit.diagnostic.crash", "Resumed", "MXMetricPayload", "app.navigation.complete", "app.exit"),
    ]
)
keys = texts | st.sampled_from(
    [
        *(
            "session.id",
            "emb.session_part_id",
            "user.id",
            "enduser.id",
            "user.roles",
            "user.email",
            "event.name",
        ),
        *("app.installation.id", "service.name", "service.version", "log.record.uid", "app.crash.id", "body"),
        *("exception.type", "exception.message", "android.state", "ios.app.state", "url.full", "hash_change"),
        *("http.request.method", "http.method", "http.status_code", "start.type", "screen.name", "span_id"),
        *("emb.type", "emb.state", "emb.user_session_id", "emb.crash_id", "emb.heartbeat_time_unix_nano"),
        *("emb.terminated", "emb.private", "timestamp", "view.name", "tap.coords", "aei_session_part_id"),
        *("metrickit.diagnostic.name", "telemetry.sdk.language", "os.name", "fatal", "passive", "app.state"),
    ]
)
told = st.dictionaries(
    keys, values | st.sampled_from(["foreground", "GET", "cold", "u1", True, 404]), max_size=5
)
embrace_types = st.sampled_from(
    [
        *(
            "ux.session_part",
            "ux.session",
            "ux.view",
            "ux.tap",
            "perf.network_request",
            "state",
            "sys.low_power",
        ),
        *(
            "sys.log",
            "sys.exception",
            "sys.android.crash",
            "sys.ios.crash",
            "sys.exit",
            "sys.internal",
            "perf",
        ),
        "emb.otel_log",
    ]
)
attributes = told | st.tuples(told, embrace_types).map(lambda both: {**both[0], "emb.type": both[1]})
times = st.sampled_from(
    [*[NOW_NS, NOW_NS + 1, NOW_NS - 10**12, NOW_NS - 5] * 3, NOW_NS + 7_200 * 10**9, 0, NOW_MS, 2**64 - 1]
)
ids = st.sampled_from([b"", bytes(8), *[b"12345678", bytes(range(16)), b"1"] * 3])
resources = st.fixed_dictionaries(
    {}, optional={"service.name": st.just("a"), "app.installation.id": st.sampled_from(["d1", "d2"])}
).flatmap(lambda known: attributes.map(lambda more: {**more, **known}))


@st.composite
def log_messages(draw: st.DrawFn) -> Any:
    message = LOGS_REQUEST()
    for _ in range(draw(st.integers(1, 3))):
        block = message.resource_logs.add()
        block.resource.attributes.extend(pairs(draw(resources)))
        for _ in range(draw(st.integers(0, 2))):
            scope = block.scope_logs.add()
            scope.scope.name, scope.scope.version = draw(texts), draw(texts)
            for _ in range(draw(st.integers(0, 3))):
                record = scope.log_records.add(
                    time_unix_nano=draw(times), observed_time_unix_nano=draw(times), event_name=draw(names),
                    severity_text=draw(texts), trace_id=draw(ids), span_id=draw(ids),
                )  # fmt: skip
                record.severity_number = draw(st.sampled_from([0, 9, 17, 21, 24]))
                record.body.CopyFrom(any_value(draw(values | names)))
                record.attributes.extend(pairs(draw(attributes)))
    return message


@st.composite
def span_messages(draw: st.DrawFn) -> Any:
    message = SPANS_REQUEST()
    for _ in range(draw(st.integers(1, 2))):
        block = message.resource_spans.add()
        block.resource.attributes.extend(pairs(draw(resources)))
        scope = block.scope_spans.add()
        for _ in range(draw(st.integers(0, 3))):
            span = scope.spans.add(
                trace_id=draw(ids), span_id=draw(ids), parent_span_id=draw(ids), trace_state=draw(texts),
                name=draw(names), start_time_unix_nano=draw(times), end_time_unix_nano=draw(times),
            )  # fmt: skip
            span.kind = draw(st.integers(0, 5))
            span.attributes.extend(pairs(draw(attributes)))
            for _ in range(draw(st.integers(0, 2))):
                event = span.events.add(time_unix_nano=draw(times), name=draw(st.just("exception") | texts))
                event.attributes.extend(pairs(draw(attributes)))
            if draw(st.booleans()):
                link = span.links.add(trace_id=draw(ids), span_id=draw(ids))
                link.attributes.extend(pairs(draw(attributes)))
                span.status.code, span.status.message = draw(st.sampled_from([0, 1, 2])), draw(texts)
    return message


def translate(message: Any, raw: bytes | None = None) -> Translation | Rejected:
    format_ = otlp.LOGS if isinstance(message, LOGS_REQUEST) else otlp.SPANS
    assert format_.translate is not None
    return format_.translate(message.SerializeToString() if raw is None else raw, NOW_MS)


def events_of(found: Translation) -> dict[tuple[bytes, str], list[str]]:
    """The events by device and id, each as text."""
    events: dict[tuple[bytes, str], list[str]] = {}
    for record in found.records:
        envelope = json.loads(record.value)
        for event in envelope["events"]:
            said = json.dumps([envelope["resource"], envelope.get("user"), event], sort_keys=True)
            events.setdefault((record.key, event["id"]), []).append(said)
    return events


@QUICK
@given(log_messages() | span_messages())
def test_protobuf_and_json_say_the_same_and_it_is_never_refused(message: Any) -> None:
    found = translate(message)
    as_json = translate(message, json_of(message))
    if isinstance(found, Rejected):
        # An empty message is no list at all in JSON.
        assert isinstance(as_json, Rejected)
        return
    assert isinstance(as_json, Translation)
    assert as_json.records == found.records
    told = [[(each.reason, each.detail, each.event_index) for each in t.refused] for t in (found, as_json)]
    assert told[0] == told[1]
    for record in found.records:
        envelope = native.decode(record.value, record.key, NOW_MS)
        assert isinstance(envelope, native.Envelope) and envelope.refused == []
    for refused in found.refused:
        again = translate(message, refused.part)
        assert isinstance(again, Translation) and again.records == []
        assert {each.reason for each in again.refused} == {refused.reason}


@QUICK
@given(log_messages() | span_messages())
def test_the_compiled_core_gives_what_python_gives(both_cores: dict[bool, BothCores], message: Any) -> None:
    both = both_cores[isinstance(message, LOGS_REQUEST)]
    both.check(message.SerializeToString(), NOW_MS)
    assert "panic" not in both.left


@pytest.fixture(scope="module")
def both_cores() -> dict[bool, BothCores]:
    return {True: BothCores(otlp.LOGS), False: BothCores(otlp.SPANS)}


@QUICK
@given(log_messages() | span_messages())
def test_a_batch_that_is_cut_anew_gives_the_same_events(message: Any) -> None:
    """A record alone in a message comes to what it does among others, but for its clock, which goes by what came
    together."""
    whole = translate(message)
    if isinstance(whole, Rejected):
        return
    alone: dict[tuple[bytes, str], list[str]] = {}
    refused = 0
    is_late = False
    for part in single_records(message):
        found = translate(part)
        assert isinstance(found, Translation)
        refused += len(found.refused)
        for key, said in events_of(found).items():
            alone.setdefault(key, []).extend(said)
            is_late = is_late or "raw_time" in "".join(said)
    assert refused == len(whole.refused)
    together = events_of(whole)
    assert together.keys() == alone.keys()
    if not is_late:
        assert {key: sorted(said) for key, said in together.items()} == {
            k: sorted(said) for k, said in alone.items()
        }


def single_records(message: Any) -> list[Any]:
    parts = []
    blocks, scopes, records = (
        ("resource_logs", "scope_logs", "log_records")
        if isinstance(message, LOGS_REQUEST)
        else ("resource_spans", "scope_spans", "spans")
    )
    for block in getattr(message, blocks):
        for scope in getattr(block, scopes):
            for record in getattr(scope, records):
                part = type(message)()
                made = getattr(part, blocks).add()
                made.resource.CopyFrom(block.resource)
                inner = getattr(made, scopes).add()
                inner.scope.CopyFrom(scope.scope)
                getattr(inner, records).append(record)
                parts.append(part)
    return parts


@QUICK
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\n" + rest))
def test_any_bytes(value: bytes) -> None:
    for format_ in (otlp.LOGS, otlp.SPANS):
        assert format_.translate is not None
        assert format_.translate(value, NOW_MS) == format_.translate(value, NOW_MS)
