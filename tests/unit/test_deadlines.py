"""When silence next has something to say: earlier ones at once, later ones when they come up, each key once."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.state.deadlines import Deadlines


def test_a_deadline_may_move_either_way() -> None:
    due: dict[bytes, int | None] = {b"a": 10, b"b": 20}
    deadlines = Deadlines(due.get)
    for key, at_ms in ((b"a", 10), (b"b", 20)):
        deadlines.note(key, at_ms)
    assert deadlines.due(9, 9) == []
    assert deadlines.due(10, 9) == deadlines.due(10, 9) == [b"a"], "they stay noted"
    due[b"a"] = 30
    deadlines.note(b"a", 30)
    assert deadlines.due(19, 9) == []
    due[b"a"] = 15
    deadlines.note(b"a", 15)
    assert deadlines.due(15, 9) == [b"a"]
    assert deadlines.due(20, 9) == [b"a", b"b"]
    assert deadlines.due(20, 1) == [b"a"]
    due[b"a"] = None
    assert deadlines.due(20, 9) == [b"b"]
    del due[b"b"]
    assert deadlines.due(1_000, 9) == []


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_is_due(seed: int) -> None:
    rng, due, deadlines, now_ms = Random(seed), dict[bytes, int | None](), None, 0
    deadlines = Deadlines(due.get)
    for _ in range(500):
        key = b"%d" % rng.randrange(20)
        at_ms = now_ms + rng.randint(-5, 60)
        due[key] = at_ms if rng.random() < 0.9 else None
        if (noted := due[key]) is not None:
            deadlines.note(key, noted)
        now_ms += rng.choice((0, 0, 1, 9))
        expected = {each for each, each_ms in due.items() if each_ms is not None and each_ms <= now_ms}
        assert set(deadlines.due(now_ms, 100)) == expected
        assert len(deadlines.due(now_ms, 3)) == min(3, len(expected))
        # A device that is busy costs no entry an input.
        assert len(deadlines._heap) < 200


def test_a_busy_device_costs_no_entry_an_input() -> None:
    deadlines = Deadlines({b"a": 1_000}.get)
    for at_ms in range(1_000):
        deadlines.note(b"a", 500 + at_ms)
    assert len(deadlines._heap) == 1
    assert deadlines.due(999, 9) == []
    assert len(deadlines._heap) == 1
