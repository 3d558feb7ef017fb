"""Bodies of Measure by both cores, whatever is in them."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.formats import measure
from tests.support.both_otlp import BothCores
from tests.support.measure import NOW_MS

texts = st.text(max_size=6) | st.sampled_from(
    [
        *("resumed", "foreground", "terminated", "fatal", "dart", "viewDidAppear", "UIView", "GET", "ios"),
        *("TRIM_MEMORY_COMPLETE", "cached", "Activity TTID A", "2025-11-24T15:58:00.12Z"),
    ]
)
numbers = st.integers(-2, 1_000) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
singles = st.none() | st.booleans() | numbers | texts
values: st.SearchStrategy[Any] = st.recursive(
    singles,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
types = st.sampled_from(
    [
        *(
            "lifecycle_app",
            "lifecycle_activity",
            "lifecycle_fragment",
            "lifecycle_view_controller",
            "http",
            "anr",
        ),
        *(
            "cold_launch",
            "warm_launch",
            "app_exit",
            "gesture_click",
            "log",
            "string",
            "navigation",
            "screen_view",
        ),
        *("session_start", "trim_memory", "cpu_usage", "memory_usage", "memory_usage_absolute", "exception"),
        *("custom", "app", "body", "exceptions", "id"),
    ]
)
fields = st.sampled_from(
    [
        *(
            "type",
            "class_name",
            "parent_fragment",
            "url",
            "method",
            "status_code",
            "failure_reason",
            "foreground",
        ),
        *(
            "on_next_draw_uptime",
            "process_start_uptime",
            "app_visible_uptime",
            "reason",
            "importance",
            "target",
        ),
        *("severity_text", "body", "to", "name", "previous_id", "previous_session_id", "level", "severity"),
        *(
            "percentage_usage",
            "num_cores",
            "rss",
            "java_total_heap",
            "java_free_heap",
            "used_memory",
            "handled",
        ),
        *("framework", "state", "app.state", "exception.type"),
    ]
)
frames = st.dictionaries(
    st.sampled_from(
        ["class_name", "method_name", "module_name", "file_name", "line_num", "symbol_address", "binary_name"]
    ),
    texts | st.integers(-1, 5),
    max_size=4,
)
chains = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"type": texts, "message": texts, "signal": texts, "frames": st.lists(frames, max_size=4)},
    ),
    max_size=3,
)
blocks = st.dictionaries(fields | texts, values, max_size=6) | st.tuples(
    st.dictionaries(fields, singles, max_size=3), chains
).map(lambda both: {**both[0], "exceptions": both[1]})
whose = st.fixed_dictionaries(
    {"app_unique_id": st.just("a"), "installation_id": st.sampled_from(["d1", "d2"])},
    optional={
        "user_id": texts, "platform": texts, "os_name": texts, "app_version": singles, "device_x": singles,
        "thread_name": texts, "network_type": texts, "body": texts, "other": values,
    },
)  # fmt: skip
times = st.sampled_from(
    [*["2025-11-24T15:58:00.123456789Z", "2025-11-24T15:00:00Z"] * 4, "2025-11-24T18:00:00Z", "1970-01-01T00:00:00Z"]
) | texts  # fmt: skip
events = st.tuples(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["e1", "e2", 'é"']), "timestamp": times, "type": types, "attribute": whose},
        optional={"session_id": singles, "user_triggered": values, "attachments": values, "body": values},
    ),
    blocks | values,
).map(lambda both: {**both[0], both[0]["type"]: both[1]})
spans = st.fixed_dictionaries(
    {
        "name": texts, "trace_id": st.just("t"), "span_id": st.sampled_from(["1", "2"]), "start_time": times,
        "end_time": times, "attributes": whose,
    },
    optional={
        "session_id": singles, "duration": singles, "status": singles, "parent_id": singles, "checkpoints": values,
        "user_defined_attribute": values,
    },
)  # fmt: skip
bodies = st.fixed_dictionaries(
    {"events": st.lists(events | values, min_size=1, max_size=4)},
    optional={"spans": st.lists(spans | values, max_size=3), "more": values},
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies)
def test_both_cores_translate_alike(body: Any) -> None:
    both = BothCores(measure.FORMAT)
    both.check(orjson.dumps(body), NOW_MS)
    assert "panic" not in both.left
