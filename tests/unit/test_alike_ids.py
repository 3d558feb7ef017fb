"""Ids that somebody chose so that their checksums are alike: a device that sends them costs what others cost."""

from __future__ import annotations

from zlib import crc32

import pytest

from pipeline.domain.event import Event, Kind, make_event
from pipeline.state.tail import Strings, Tail, mark_of
from tests.support.alike_ids import IDS, MARK

START_MS = 1_800_000_000_000


def event(number: int, event_id: str) -> Event:
    return make_event(START_MS + number, Kind.ACTIVITY, event_id)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The places at which ids were looked at."""
    seen: list[int] = []
    real = Tail._at

    def at(tail: Tail, index: int) -> tuple[int, str]:
        seen.append(index)
        return real(tail, index)

    monkeypatch.setattr(Tail, "_at", at)
    return seen


def test_few_of_them_are_looked_at(looks: list[int]) -> None:
    assert {crc32(event_id.encode()) for event_id in IDS} == {MARK}
    tail = Tail(Strings())
    for number, event_id in enumerate(IDS):
        assert not tail.has(event_id, mark_of(event_id))
        tail.append(event(number, event_id), mark_of(event_id))
        if number % 50 == 49:
            tail.packed()
    assert len(looks) < 50


def test_they_are_told_apart_whatever_becomes_of_the_tail() -> None:
    tail = Tail(Strings())
    for number, event_id in enumerate(IDS[:100]):
        tail.append(event(2 * number, event_id), mark_of(event_id))
    mark = mark_of(IDS[0])
    assert tail.has(IDS[99], mark) and not tail.has(IDS[100], mark)
    tail.append(event(1_000, IDS[100]), mark)
    tail.insert(event(1, IDS[101]))
    assert tail.has(IDS[100], mark) and tail.has(IDS[101], mark) and not tail.has(IDS[102], mark)
    gone = [taken.id for taken in tail.take(2)]
    assert gone == [IDS[0], IDS[101]]
    assert not any(tail.has(event_id, mark) for event_id in gone)
    tail.packed()
    assert tail.has(IDS[100], mark) and not tail.has(IDS[0], mark)
