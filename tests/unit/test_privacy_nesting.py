"""What privacy rules do to records at and beyond the bounds of size and nesting: the same, whatever the stack holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats import native
from pipeline.formats.edge import Edge
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.native.cleaner import AS_IT_CAME
from pipeline.formats.native.events import arrivals_of
from pipeline.formats.registry import routed_topics
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Router
from pipeline.storage.dead_letter import DeadLetter, let_in

NOW = 1_767_600_000_000
KEY = b"app/device"
SECRET = "a secret of more than thirty-two characters"
DEPTHS = (200, *range(250, 259), 600, 1_024, 1_025)
"""Around what orjson writes (254), what is taken (256), what Python's stack holds and what orjson reads (1,024)."""
OWN = (
    Rules(drop=("zz*",), emails="mask"),
    Rules(hash=("b", "*a*"), mask=("p*",), user_id="hash", emails="mask", addresses="hash", queries="hash"),
    Rules(emails="drop", addresses="drop", drop=("zz*",)),
)
RULES = (Rules(), *OWN)


def edge(rules: Rules) -> Edge:
    return Edge(Privacy(rules), Samplings(), SECRET)


def deep(depth: int, begin: bytes = b'{"b":"x@y.zz","user.email":"x@y.zz","a":', end: bytes = b"}") -> bytes:
    return begin * depth + b'"x@y.zz"' + end * depth


def record(place: str, inner: bytes) -> bytes:
    parts = {"resource": b"{}", "properties": b"{}", "attributes": b"{}", "dropped": b"1"}
    parts[place] = b'{"user":{"name":"x@y.zz","a":%b}}' % inner if place != "dropped" else inner
    return (
        b'{"v":1,"app_id":"app","device_id":"device","resource":%b,"user":{"id":"u","properties":%b},'
        b'"events":[{"id":"e","name":"n","time":%d,"attributes":{"zz":%b,"more":%b}}]}'
    ) % (parts["resource"], parts["properties"], NOW, parts["dropped"], parts["attributes"])


def at(frames: int, call: Callable[[], Any]) -> Any:
    return call() if not frames else at(frames - 1, call)


@pytest.mark.parametrize("place", ["resource", "properties", "attributes", "dropped"])
@pytest.mark.parametrize("rules", RULES)
def test_deep_records_are_taken_or_refused_alike_by_all(rules: Rules, place: str) -> None:
    at_edge = edge(rules)
    cleaner = at_edge.cleaner_of(KEY)
    for depth in DEPTHS:
        value = record(place, deep(depth))
        bare = native.decode(value, KEY, NOW)
        reads = [
            at(frames, lambda value=value: native.decode(value, KEY, NOW, cleaner)) for frames in (0, 400)
        ]
        assert reads[0] == reads[1], depth
        _, refused, _ = at(400, lambda value=value: arrivals_of(KEY, [0, NOW, value, None], cleaner))
        assert refused == isinstance(reads[0], Rejected), depth
        # What is too deep is so for whoever knows no rules, too.
        is_deep = [isinstance(read, Rejected) and read.reason is Reason.TOO_DEEP for read in (bare, *reads)]
        assert len(set(is_deep)) == 1, depth
        at_edge.cleaned(KEY, value)
        kept = at(400, lambda value=value: at_edge.refused("sdk-events", KEY, value))
        if rules.emails != "keep":
            assert b"x@y.zz" not in (kept or b"")


@pytest.mark.parametrize("rules", OWN)
def test_a_record_that_is_too_large_is_refused_before_any_rule_looks_at_it(rules: Rules) -> None:
    cleaner = edge(rules).cleaner_of(KEY)
    head = b'{"v":1,"app_id":"app","device_id":"device","events":[{"id":"e","name":"n","time":%d,' % NOW
    for inner in (b'"zz":"' + b"a@b.co " * 1_200_000 + b'"', b'"zz":[' + b"[]," * 300_000 + b"[]]"):
        value = head + b'"attributes":{' + inner + b"}}]}"
        began = time.process_time()
        assert cleaner.first(value) is value
        read = native.decode(value, KEY, NOW, cleaner)
        assert read == native.decode(value, KEY, NOW, AS_IT_CAME)
        assert isinstance(read, Rejected)
        assert read.reason is (
            Reason.RECORD_TOO_LARGE if len(value) > MAX_RECORD_BYTES else Reason.TOO_MANY_VALUES
        )
        assert time.process_time() - began < 0.5


BODIES = (
    lambda depth: b'{"user":{"email":"x@y.zz"},"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}",
    lambda depth: b'{"user":{"email":"x@y.zz"},"a":' + deep(depth - 1) + b"}",
    lambda depth: b'{"resourceLogs":[{"key":"user.email","value":%b}],"b":%b}' % (deep(9), deep(depth - 1)),
)


@pytest.mark.parametrize("topic", ["sdk-events", "embrace-events", "otlp_logs"])
@pytest.mark.parametrize("rules", RULES)
def test_a_refused_body_never_stops_a_worker_however_deep_it_is(topic: str, rules: Rules) -> None:
    at_edge = edge(rules)
    for depth in DEPTHS:
        for body in BODIES:
            value = body(depth)
            made = at(400, lambda value=value: at_edge.refused(topic, None, value))
            # What can be read is cleaned and kept, what is too deep to be read is left out.
            assert bool(made) == (depth <= 256), depth
            if made and topic not in ("sdk-events", "native-events"):
                assert b'"email":"x@y.zz"' not in made
                assert orjson.loads(made)


@pytest.mark.parametrize("topic", routed_topics())
def test_the_router_gets_over_them(topic: str) -> None:
    at_edge, kept = edge(Rules()), list[DeadLetter]()

    async def send(_: object) -> None: ...

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        kept.extend(let_in(letter, at_edge) for letter in refused)

    router = Router(send, dead_letter, Metrics(), edge=at_edge)
    records = [
        SimpleNamespace(headers=(), timestamp=NOW, value=BODIES[0](depth), key=None, offset=depth)
        for depth in DEPTHS
    ]
    asyncio.run(router.handle(topic, 0, records))
    # To Sentry it is the header of an envelope without items, as long as it can be read.
    first = 257 if topic == "sentry-envelopes" else 0
    assert {letter.offset for letter in kept} == {depth for depth in DEPTHS if depth >= first}


def test_a_tree_of_any_depth_that_is_read_is_written() -> None:
    for levels in (2, 16, 18, 254, 256, 258):
        value = deep(levels // 2, b'{"a":[1,"x",', b"]}")
        assert at(400, lambda value=value: dumps(orjson.loads(value))) == value, levels
    with pytest.raises(TypeError):
        dumps({"a": object()})
