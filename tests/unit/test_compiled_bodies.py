"""Bodies of Measure with the compiled core: what it takes is what Python makes of it, and all else is Python's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import orjson
import pytest

from pipeline.formats import measure
from pipeline.formats.limits import MAX_BODY_EVENTS, MAX_CONTAINERS, MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from tests.bench.foreign import measure_body
from tests.support.both_otlp import BothCores
from tests.support.measure import NOW_MS, event, recorded_bodies, span


@pytest.fixture(scope="module")
def shared() -> BothCores:
    return BothCores(measure.FORMAT)


@pytest.fixture
def both(shared: BothCores) -> BothCores:
    shared.left.clear()
    return shared


def body(*events: Any, **more: Any) -> bytes:
    return orjson.dumps({"events": list(events), **more})


def taken(both: BothCores, value: bytes, *, left: Mapping[str, int] | None = None) -> Translation:
    """What both make of a body, of which the core leaves so much to Python."""
    both.left.clear()
    found = both.check(value, NOW_MS)
    assert isinstance(found, Translation)
    assert both.left == (left or {})
    return found


def test_what_the_demo_apps_sent_is_all_taken(both: BothCores) -> None:
    for value in recorded_bodies()[::7]:
        taken(both, value)
    found = both.check(measure_body(1, 100), 1_795_737_400_000)
    assert isinstance(found, Translation) and not both.left


FRAMES: Sequence[Any] = (
    {"class_name": "a.B", "method_name": "m", "file_name": "B.kt", "line_num": 7, "module_name": ""},
    {"class_name": "a.B", "method_name": "m", "file_name": "B.kt", "line_num": -2, "col_num": 5},
    {"method_name": "m", "module_name": "lib", "line_num": 0},
    {"binary_name": "App", "binary_address": "0x1", "symbol_address": "", "instruction_address": "0x2"},
    {"symbol_address": "0x3", "instruction_address": "0x2"},
    {"class_name": "ä€𝄞\n"},
    {},
)
CHAIN: Sequence[Any] = (
    {"type": "E", "message": 'm\n"\\\x01\x7f\u2028ä€𝄞', "frames": FRAMES, "thread_name": "main"},
    {"type": "", "signal": "SIGABRT", "frames": None},
    {"signal": None, "frames": list(FRAMES) * 3},
)
WORDS: Sequence[Any] = (
    *("resumed", "viewDidAppear", "on_appear", "terminated", "fore\"ground", "created", ""),
    *("FOREGROUND", "Service", "Cached", "perceptible", "TRIM_MEMORY_COMPLETE", "TRIM_MEMORY_UI_HIDDEN"),
    *("UIAlertController", "_UIA", "UIHostingController<A>", "a.b.NavHostFragment", "ios", "Fatal", "fatal"),
    *("dart", "js", "post", "µ", 404, 0, 0.0, 1.5, -1, -0.0, 1e300, True, False, None, [], {}, [1], {"a": 1}),
)  # fmt: skip
TYPES: Mapping[str, Mapping[str, Any]] = {
    "lifecycle_app": {"type": "foreground"},
    "lifecycle_activity": {"type": "resumed", "class_name": "a.B", "saved": False},
    "lifecycle_fragment": {"type": "resumed", "class_name": "F", "parent_fragment": "a.NavHostFragment"},
    "lifecycle_view_controller": {"type": "viewDidAppear", "class_name": "MineController"},
    "lifecycle_swift_ui": {"type": "on_appear", "class_name": "View"},
    "cold_launch": {
        "process_start_uptime": 0, "process_start_requested_uptime": 5, "content_provider_attach_uptime": 7,
        "on_next_draw_uptime": 700,
    },
    "warm_launch": {"app_visible_uptime": 5, "on_next_draw_uptime": 60_005, "app.launch.type": "x"},
    "hot_launch": {"app_visible_uptime": 5, "on_next_draw_uptime": 60_006},
    "app_exit": {"reason": "ANR", "importance": "CACHED"},
    "http": {"url": "https://a.b", "method": "Get", "status_code": 200, "failure_reason": "r"},
    "gesture_click": {"target": "t", "target_id": "i", "x": 1.50, "y": 2e1, "width": 3},
    "log": {"severity_number": 9, "severity_text": "info", "body": "b", "other": "o"},
    "string": {"severity_text": "info", "string": "s"},
    "navigation": {"to": "cart", "from": None},
    "screen_view": {"name": "cart"},
    "session_start": {"previous_id": "a", "previous_session_id": "b", "previous_session": "c"},
    "network_change": {"network_type": "wifi"},
    "low_memory": {"rss": 1},
    "trim_memory": {"level": "TRIM_MEMORY_COMPLETE"},
    "cpu_usage": {"percentage_usage": 29.5, "num_cores": 3},
    "memory_usage": {"rss": 5, "java_total_heap": 7, "java_free_heap": 3},
    "memory_usage_absolute": {"used_memory": 5, "max_memory": 9},
    "exception": {
        "handled": False, "severity": "fatal", "framework": "dart", "foreground": True, "exceptions": CHAIN,
        "type": "said",
    },
    "anr": {"handled": True, "foreground": False, "exceptions": CHAIN[1:], "threads": []},
    "custom": {"name": "n"},
    "app": {"state": "s", "launch.type": "t"},
    "": {},
    'q"': {"a": 1},
}  # fmt: skip


def changed(block: Mapping[str, Any]) -> Iterator[Any]:
    """A block, without each of its fields, with each of them another, and with that alone."""
    yield from (block, {}, None, "text", [], 5, {**block, "more": {"a": [1, {"b": None}]}})
    for gone in block:
        yield {name: value for name, value in block.items() if name != gone}
        yield from ({**block, gone: word} for word in WORDS)
        yield from ({gone: word} for word in WORDS)


@pytest.mark.parametrize("type_", TYPES)
def test_each_type_with_whatever_its_rules_go_by(both: BothCores, type_: str) -> None:
    blocks = list(changed(TYPES[type_]))
    for system in ({"platform": "android"}, {"platform": "Flutter", "os_name": "iPadOS"}):
        for at in range(0, len(blocks), MAX_BODY_EVENTS):
            events = [
                event(f"e{n}", type_, block, **system)
                for n, block in enumerate(blocks[at:][:MAX_BODY_EVENTS])
            ]
            both.check(body(*events), NOW_MS)
            assert both.left.total() < len(events) or type_ in ("", 'q"')
            both.left.clear()


def test_systems(both: BothCores) -> None:
    systems = ("ios", "iPadOS", "tvos", "watchOS", "visionos", "Android", "flutter", "", "\u0131os", None, 5)
    events = [
        event("e", "lifecycle_app", {"type": "foreground"}, platform=platform, os_name=system)
        for platform in systems
        for system in systems
    ]
    taken(both, body(*events))


def test_texts_of_failures_are_cut_at_the_same_place(both: BothCores) -> None:
    """By characters, whatever they have in bytes."""
    sizes = [*range(7_890, 8_010), 1, 100]
    for sign in ("x", "ä"):
        frames = [{"class_name": sign * 50}] * 200
        events = [
            event("e", "exception", {"exceptions": [{"type": "E", "message": sign * size, "frames": frames}]})
            for size in sizes
        ]
        taken(both, body(*events))


SPANS: Sequence[Any] = (
    *({}, {"duration": 998}, {"duration": -1}, {"duration": True}, {"duration": "7"}, {"duration": 0.5}),
    *({"status": status} for status in (0, 1, 2, 3, True, 1.0, "1", None)),
    *({"name": name} for name in ("Activity TTID a.B", "Fragment TTID ", "Fragment TTID F", "Created", "")),
    {"name": "emb-app-startup-cold"},
    *({"name": 5}, {"session_id": "s"}, {"session_id": ""}, {"session_id": 5}, {"session_id": "s" * 129}),
    *({"trace_id": "t" * 126}, {"trace_id": "\0"}, {"trace_id": ""}, {"span_id": 7}, {"parent_id": "p"}),
    *({"checkpoints": []}, {"checkpoints": [{"a": 1}]}, {"end_time": "2025-11-24T15:57:59Z"}),
    {"end_time": "2025-11-24T15:57:59Z", "name": "Activity TTID A"},
    *({"user_defined_attribute": {"a": 1}, "attachments": False, "own": ""}, {"end_time": None}, {"attributes": 5}),
)  # fmt: skip


def test_spans(both: BothCores) -> None:
    spans = [span(number, **said) for number, said in enumerate(SPANS)]
    found = both.check(body(event("e"), spans=spans), NOW_MS)
    assert isinstance(found, Translation) and found.refused and both.left.total() < len(spans) / 2
    for each in spans:
        both.check(orjson.dumps({"spans": [each]}), NOW_MS)


ODD = {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (5, "json"),
        ({}, "field"),
        (event(""), "id"),
        (event("\0"), "id"),
        (event("e" * 129), "id"),
        ({**event("e"), "session_id": 5}, "json"),
        ({**event("e"), "session_id": "s" * 129}, "id"),
        (event("e", "exception", {"handled": []}), "type"),
        (event("e", "custom", "text"), "type"),
        ({**event("e"), "type": "timestamp"}, "type"),
        (event("e", "http", {"method": "\u017f"}), "rule"),
        (event("e", "cpu_usage", {"percentage_usage": 1e-4}), "number"),
        (event("e", "memory_usage", {"rss": 1.5}), "number"),
        (event("e", "exception", {"exceptions": [{"type": 5}]}), "stack"),
        (event("e", "exception", {"exceptions": [{"frames": 5}]}), "stack"),
        (event("e", "exception", {"exceptions": [{"frames": [{"line_num": 1.5}]}]}), "stack"),
        (event("e", "exception", {"exceptions": [{"type": "t" * 900_000}]}), "size"),
        (event("e", app_unique_id="a/b"), "id"),
        (event("e", installation_id="\0"), "id"),
        (event("e", user_id="u" * 129), "id"),
        (event("e", user_id=5), "id"),
        (event("e", os_flags=ODD), "resource"),
        (event("e", os_flags="f" * 66_000), "resource"),
        ({**event("e", "log", {"body": "b"}), "body": 1}, "twice"),
        (event("e", "log", {"body": "b"}, body="c"), "twice"),
        (event("e", **{"thread.name": "b", "thread_name": "c"}), "twice"),
        ({**event("e"), "timestamp": "2025-11-24T15:58:00+05:30"}, "time"),
        ({**event("e"), "timestamp": "2025-02-29T15:58:00Z"}, "time"),
        ({**event("e"), "timestamp": "1999-12-31T15:58:00Z"}, "time"),
        ({**event("e"), "timestamp": "2099-12-31T15:58:00Z"}, "time"),
    ],
    ids=lambda odd: str(odd)[:60],
)  # fmt: skip
def test_what_there_is_a_doubt_about_is_left_to_python(both: BothCores, odd: Any, why: str) -> None:
    """That event alone: those before it and behind it are not."""
    found = taken(both, body(event("a"), odd, event("b"), spans=[span(1)]), left={why: 1})
    assert sum(record.value.count(b'"time":') for record in found.records) >= 3


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"id":"a"', b'"id":"a","id":"c"', "twice"),
        (b'"other":5', b'"other":5,"other":6', "twice"),
        (b'"platform":', b'"platform":"ios","platform":', "twice"),
        (b'"log":{', b'"log":null,"log":{', "twice"),
        (b'"body":', b'"b":null,"b":7,"body":', "twice"),
        (b'"id":"a"', b'"\\u0069d":"a"', "escaped_name"),
        (b'"body":', b'"b\\u006fdy":', "escaped_name"),
    ],
)  # fmt: skip
def test_names_that_are_written_otherwise_are_left_to_python(
    both: BothCores, old: bytes, new: bytes, why: str
) -> None:
    value = body({**event("a", "log", {"body": "b"}), "other": 5}, event("b"))
    assert old in value
    taken(both, value.replace(old, new, 1), left={why: 1})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", ""),
        (b"{", "json"),
        (b"[]", "json"),
        (b"\xef\xbb\xbf" + body(event("e")), "json"),
        (body(event("e?")).replace(b"?", b"\\ud800"), "json"),
        (body(event("e?")).replace(b"?", b"\xff"), "json"),
        (body(event("e", x="?")).replace(b'"?"', b"NaN"), "json"),
        (body(event("e", x="?")).replace(b'"?"', b"1e999"), "number"),
        (body(event("e", x="?")).replace(b'"?"', b"[" * 70 + b"]" * 70), "shape"),
        (body(event("e")) + b"{}", "json"),
        (body(event("e"), events=5), "json"),
        (body(), "field"),
        (b'{"spans":[]}', "field"),
        (b'{"events":[],"events":[]}', "twice"),
        (body(event("e"), spans=5), "json"),
        (body(*[event("e")] * (MAX_BODY_EVENTS + 1)), "size"),
        (body(*[event("e")] * MAX_BODY_EVENTS, spans=[span(1)]), "field"),
        (body(*[event("e", x=[[]] * 20_000)] * 3), "shape"),
        (body(event("e"), {**event("f"), "timestamp": "2025-11-24T18:00:00Z"}), "time"),
    ],
    ids=lambda value: str(value[:40]),
)  # fmt: skip
def test_bodies_that_are_left_altogether(both: BothCores, value: bytes, why: str) -> None:
    both.check(value, NOW_MS)
    assert both.left == ({why: 1} if why else {})


def test_a_late_time_of_an_event_that_is_left_moves_back_the_others(both: BothCores) -> None:
    late = {**event("e", user_id=5), "timestamp": "2025-11-24T18:00:00Z"}
    taken(both, body(event("a"), late), left={"id": 1})
    late = {**event("e", "custom", "text"), "timestamp": "2025-11-24T18:00:00Z"}
    found = taken(both, body(event("a"), late), left={"type": 1})
    assert found.records[0].value.count(b'"raw_time"') == 2


def test_bodies_of_several_envelopes(both: BothCores) -> None:
    who = ({"installation_id": f"d{n % 3}", "thread_name": f"t{n % 20}"} for n in range(MAX_BODY_EVENTS))
    assert len(taken(both, body(*(event(f"e{n}", **each) for n, each in enumerate(who)))).records) == 3
    many = taken(both, body(*[event("e")] * (2 * MAX_EVENTS + 1)))
    assert [record.value.count(b'"time":') for record in many.records] == [MAX_EVENTS, MAX_EVENTS, 1]
    large = taken(both, body(*[event("e", "custom", {"x": "y" * 300_000})] * 7))
    assert len(large.records) == 3
    users = [event("e", user_id=user) for user in ("u", "", None, 'ä"\n', "u")]
    assert len(taken(both, body(*users)).records) == 3


def test_what_python_has_to_pack(both: BothCores) -> None:
    """An event too large for a record; and more arrays and objects than a record may hold."""
    large = event("e", "custom", {"x": "y" * MAX_RECORD_BYTES})
    assert taken(both, body(event("a"), large, spans=[span(1)])).refused[0].event_index == 1
    brackets = event("e", "custom", {"x": "[" * MAX_CONTAINERS})
    assert len(taken(both, body(brackets, event("b"))).records) == 2


def test_numbers_are_written_as_python_writes_them(both: BothCores) -> None:
    random = Random(3)
    shares = [random.uniform(0, 400) for _ in range(300)] + [
        round(random.uniform(0, 400), 3) for _ in range(300)
    ]
    # Right between two numbers of six digits; and numbers that are written otherwise.
    shares += [random.getrandbits(12) / 2**14 * 100 for _ in range(200)] + [
        0.78125,
        0,
        0.0,
        1e-4,
        1e15,
        7,
        2**60,
    ]
    for system in ("android", "ios"):
        events = [
            event(f"e{n}", "cpu_usage", {"percentage_usage": each, "num_cores": 3}, platform=system)
            for n, each in enumerate(shares)
        ]
        found = both.check(body(*events), NOW_MS)
        assert isinstance(found, Translation) and both.left.total() < 50
        both.left.clear()


@pytest.mark.parametrize(
    "fraction", ["", ".1", ".123456789", ".1234567891", ".000000001", ".", "." + "1" * 30, "." + "1" * 31]
)
def test_times(both: BothCores, fraction: str) -> None:
    days = [f"2025-{month:02}-{day:02}" for month in range(14) for day in (0, 1, 28, 29, 30, 31, 32)]
    days += ["2024-02-29", "2000-02-29", "2100-02-28", "2100-03-01", "1970-01-01", "0000-01-01", "2025-1-01"]
    clocks = ["00:00:00", "23:59:59", "24:00:00", "12:60:00", "12:00:60", "1:00:00"]
    moments = [f"{day}T00:00:00{fraction}Z" for day in days] + [
        f"2025-11-23T{at}{fraction}Z" for at in clocks
    ]
    moments += [
        f"2025-11-23{t}12:00:00{fraction}{z}" for t in "Tt " for z in ("Z", "z", "+01:00", "-00:00", "")
    ]
    found = both.check(body(*({**event("e"), "timestamp": each} for each in moments)), 5_000_000_000_000)
    assert not isinstance(found, Rejected) and found.refused


def test_what_says_nothing_and_white_space_and_the_order_of_fields(both: BothCores) -> None:
    nothing = {"n": None, "f": False, "l": [], "o": {}, "t": "", "z": 0}
    assert taken(both, body(event("e") | nothing)).records[0].value.endswith(b'{"t":"","z":0}}]}')
    turned = dict(reversed(event("e", "log", {"body": "b", "more": [1, {"a": 2.50}]}).items()))
    value = json.dumps({"more": 1, "spans": [span(1)], "events": [turned, event("f")]}, indent=1).encode()
    assert b"2.5\n" in taken(both, value).records[0].value
