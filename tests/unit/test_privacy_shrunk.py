"""A native envelope that the privacy rules make small enough is taken on whichever way it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.formats import native
from pipeline.formats.edge import Edge
from pipeline.formats.envelope import Envelope
from pipeline.formats.rejected import Reason, Rejected
from pipeline.receive.judging import SentWith, envelopes
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Routed, Router
from pipeline.settings import load
from pipeline.storage.dead_letter import DeadLetter

AT_MS = 1_795_000_000_000
KEY = b"a/d"

TOO_MUCH: dict[str, tuple[dict[str, Any], Reason]] = {
    "resource": ({"resource": {"dump": "x" * 70_000, "service.version": "1"}}, Reason.RESOURCE_TOO_LARGE),
    "property": ({"user": {"id": "u", "properties": {"dump": "x" * 2_000}}}, Reason.PROPERTY_TOO_LONG),
    "properties": (
        {"user": {"id": "u", "properties": {f"dump.{number}": "x" for number in range(150)}}},
        Reason.TOO_MANY_PROPERTIES,
    ),
}


def edge(folder: Path, rules: str) -> Edge:
    file = folder / "pipeline.toml"
    file.write_text(f"[privacy]\n{rules}\n", encoding="utf-8")
    settings = load({"PIPELINE_CONFIG": str(file)})
    return Edge(settings.privacy, settings.samplings)


def envelope(more: dict[str, Any], count: int = 1) -> bytes:
    events = [{"id": f"e{number}", "name": "x", "time": AT_MS} for number in range(count)]
    return json.dumps({"v": 1, "app_id": "a", "device_id": "d", "events": events, **more}).encode()


def routed(edge: Edge, value: bytes) -> tuple[list[Routed], list[DeadLetter]]:
    sent: list[Routed] = []
    dead: list[DeadLetter] = []

    async def send(items: Sequence[Routed]) -> None:
        sent.extend(items)

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        dead.extend(refused)

    record = SimpleNamespace(offset=0, timestamp=AT_MS, key=None, value=value, headers=())
    asyncio.run(Router(send, dead_letter, Metrics(), edge=edge).handle("native-events", 0, [record]))
    return sent, dead


@pytest.mark.parametrize("name", TOO_MUCH)
@pytest.mark.parametrize("count", [1, 600], ids=["as-it-is", "to-be-split"])
def test_what_the_rules_drop_refuses_nothing(name: str, count: int, tmp_path: Path) -> None:
    rules = edge(tmp_path, 'drop = ["dump*"]')
    value = envelope(TOO_MUCH[name][0], count)
    sent, dead = routed(rules, value)
    assert not dead and b"dump" not in b"".join(bytes(part) for _, part, _ in sent if part)
    decoded = [native.decode(part, key, AT_MS, rules.cleaner_of(key)) for key, part, _ in sent]
    assert [event.id for each in decoded if isinstance(each, Envelope) for event in each.events] == [
        f"e{number}" for number in range(count)
    ]
    verdict = envelopes(value, SentWith((), AT_MS, edge=rules))
    assert (verdict.accepted, verdict.faults, verdict.is_refused) == (count, [], False)
    assert [each.value for each in verdict.records] == [value], "the router is what cleans it"
    if count == 1:
        straight = native.decode(value, KEY, AT_MS, rules.cleaner_of(KEY))
        assert isinstance(straight, Envelope) and straight == decoded[0]


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_they_leave_is_refused_as_before(name: str, tmp_path: Path) -> None:
    rules, (more, reason) = edge(tmp_path, 'drop = ["other"]'), TOO_MUCH[name]
    value = envelope(more)
    sent, (letter,) = routed(rules, value)
    assert sent == [] and (letter.rejected.reason, letter.value) == (reason, value)
    verdict = envelopes(value, SentWith((), AT_MS, edge=rules))
    assert verdict.is_refused and [fault.reason for fault in verdict.faults] == [str(reason)]
    straight = native.decode(value, KEY, AT_MS, rules.cleaner_of(KEY))
    assert isinstance(straight, Rejected) and straight.reason is reason
