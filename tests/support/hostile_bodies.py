"""Strategies for envelopes and other bodies, good and broken."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

NOW = 1_764_000_000_000
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(max_size=12)
numbers = st.one_of(
    st.integers(), st.integers(NOW - 10**6, NOW + 10**6), st.floats(allow_nan=False, allow_infinity=False)
)
jsons = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
names = texts | st.sampled_from(
    ["app.crash", "app.exit", "app.anr", "exception", "log", "http.client.request", "device.app.lifecycle"]
)
steering = st.sampled_from(
    ["fatal", "app.exit.reason", "http.response.status_code", "error.type", "severity_number", "severity"]
)
attributes = st.dictionaries(texts | steering, jsons, max_size=4)
good_ids = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=128
)
stamps = st.integers(NOW - 10**9, NOW) | st.integers(NOW, NOW + 8 * 10**7)


def optional(**fields: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.none() | strategy for name, strategy in fields.items()}


good_events = st.fixed_dictionaries(
    {"id": good_ids, "name": names.filter(bool), "time": stamps},
    optional=optional(seq=st.integers(0, 2**63 - 1), session_id=good_ids, attributes=attributes),
)
users = st.fixed_dictionaries(
    {},
    optional=optional(
        id=good_ids,
        personas=st.lists(good_ids, max_size=3),
        properties=st.dictionaries(texts, jsons, max_size=4),
    ),
)
good_envelopes = st.fixed_dictionaries(
    {
        "v": st.just(1),
        "app_id": st.just("app"),
        "device_id": st.just("device"),
        "events": st.lists(good_events, min_size=1, max_size=5),
    },
    optional=optional(
        batch_id=good_ids,
        sent_at=st.integers(NOW - 10**7, NOW + 10**7),
        resource=st.dictionaries(texts, jsons, max_size=4),
        user=users,
    ),
)


def dumps(document: Any) -> bytes:
    """JSON with integers of any size, which the strategies make."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def broken(draw: st.DrawFn, documents: st.SearchStrategy[dict[str, Any]]) -> bytes:
    """A good document with fields replaced, dropped or added, and then perhaps bytes too."""
    document = draw(documents)
    for _ in range(draw(st.integers(0, 3))):
        node: Any = document
        while isinstance(node, dict | list) and node:
            keys = sorted(node) if isinstance(node, dict) else range(len(node))
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()):
                node[key] = draw(jsons)
                break
            node = node[key]
        if isinstance(node, dict) and draw(st.booleans()):
            node[draw(texts)] = draw(jsons)
    value = dumps(document)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(value)))
        cut = draw(st.integers(0, 3))
        insert = draw(
            st.binary(max_size=3) | st.sampled_from([b"NaN", b"1e999", b"\\ud800", b"\xff", b"[", b"9" * 400])
        )
        value = value[:at] + insert + value[at + cut :]
    return value


blocks = st.dictionaries(
    st.sampled_from(
        ["type", "name", "reason", "status_code", "failure_reason", "handled", "severity", "framework"]
    ),
    jsons | st.sampled_from(["fatal", "dart", "terminated", "foreground", 0, 404, True]),
    max_size=5,
) | st.fixed_dictionaries(
    {
        "exceptions": st.lists(
            st.fixed_dictionaries({}, optional={"type": jsons, "message": jsons, "frames": jsons}) | jsons,
            max_size=3,
        )
    }
)


@st.composite
def measure_events(draw: st.DrawFn) -> dict[str, Any]:
    kinds = ["exception", "anr", "http", "lifecycle_app", "app_exit", "gesture_click", "custom", "attribute"]
    kind = draw(st.sampled_from(kinds))
    event = {
        "id": draw(good_ids),
        "session_id": draw(st.none() | good_ids),
        "timestamp": draw(st.sampled_from(["2025-11-24T15:58:00.123456Z", "2025-11-24T15:58:00+01:00"])),
        "type": kind,
        kind: draw(blocks | jsons),
        "user_defined_attribute": draw(jsons),
    }
    facts = draw(
        st.dictionaries(texts | st.sampled_from(["os_name", "device_x", "user_id"]), jsons, max_size=4)
    )
    identity = {"app_unique_id": "app", "installation_id": draw(st.sampled_from(["device", "other"]))}
    event["attribute"] = {**facts, **identity}
    return event


@st.composite
def measure_spans(draw: st.DrawFn) -> dict[str, Any]:
    facts = draw(st.dictionaries(texts | st.sampled_from(["os_name", "thread_name"]), jsons, max_size=4))
    return {
        "name": draw(texts),
        "trace_id": draw(good_ids),
        "span_id": draw(good_ids),
        "session_id": draw(st.none() | good_ids),
        "start_time": draw(st.sampled_from(["2025-11-24T15:58:00.123456Z", "2025-11-24T15:58:00+01:00"])),
        "end_time": "2025-11-24T15:58:01Z",
        "attributes": {**facts, "app_unique_id": "app", "installation_id": "device"},
        **draw(
            st.dictionaries(texts | st.sampled_from(["duration", "status", "checkpoints"]), jsons, max_size=3)
        ),
    }


bodies = st.fixed_dictionaries(
    {"events": st.lists(measure_events(), min_size=1, max_size=5)},
    optional={"spans": st.lists(measure_spans(), max_size=3)},
)
