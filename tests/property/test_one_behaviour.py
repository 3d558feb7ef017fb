"""One behaviour, told in several formats, comes to the same sessions, but for ids and what a format cannot say.

Lives are simulated; each is written down natively and as SDKs of other formats write it, cut into requests, sent in any
order and some of it twice, and read and folded again. What a format cannot say is listed in `LIMITS` of its writer
(`tests/support/writers`): a life is brought to what can be said, and that is told natively as well.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.policy import Policy
from tests.support.lives import NS_PER_MS, Deed, Life, around_bounds, simulated
from tests.support.told import events_of, sessions_of
from tests.support.writers import embrace, measure, native, otlp
from tests.support.writers.written import Record

Told = tuple[list[Deed], list[Record]]
"""What a format can say of a life, in native words; and the records in which it says it."""
Tell = Callable[[Life, Random], Told]

_LARGEST_BATCH = 20
_HOUR_MS = 3_600_000
BOUNDS = settings(max_examples=100)


def _batches(deeds: Sequence[Deed], chance: Random) -> Iterator[Sequence[Deed]]:
    at = 0
    while at < len(deeds):
        size = chance.randint(1, _LARGEST_BATCH)
        yield deeds[at : at + size]
        at += size


def _natively(life: Life, chance: Random, deeds: Sequence[Deed]) -> list[Record]:
    return [record for batch in _batches(deeds, chance) for record in native.write(life, batch)]


def _measure(life: Life, chance: Random) -> Told:
    deeds = [said for deed in life.deeds if (said := measure.sayable(life, deed))]
    return deeds, [record for batch in _batches(deeds, chance) for record in measure.write(life, batch)]


def _otlp(life: Life, chance: Random) -> Told:
    deeds = [said for deed in life.deeds for said in otlp.sayable(life, deed)]
    return deeds, [
        record
        for batch in _batches(life.deeds, chance)
        for record in otlp.write(life, batch, as_json=chance.random() < 0.5)
    ]


def _embrace(life: Life, chance: Random) -> Told:
    parts = embrace.parts_of(life)
    return embrace.natively(life, parts), [record for part in parts for record in embrace.write(life, part)]


FORMATS: dict[str, Tell] = {"measure": _measure, "otlp": _otlp, "embrace": _embrace}
BESIDES: dict[str, tuple[str, ...]] = {
    "measure": (),
    "otlp": (),
    # What its parts say of themselves is counted as well.
    "embrace": ("event_count",),
}
"""What is not compared."""


def _carried(records: list[Record], chance: Random) -> list[Record]:
    """In another order, some twice: what a network and retries make of it."""
    sent = list(records)
    if chance.random() < 0.7:
        chance.shuffle(sent)
    for _ in range(chance.randint(0, 4)):
        if sent:
            sent.insert(chance.randint(0, len(sent)), chance.choice(sent))
    return sent


def _agree(name: str, life: Life, chance: Random) -> list[dict[str, Any]]:
    """Fails unless a life comes to the same sessions in a format as natively; these sessions."""
    deeds, records = FORMATS[name](life, chance)
    if not deeds:
        return []
    now_ms = max(deed.ns for deed in deeds) // NS_PER_MS + _HOUR_MS
    expected = events_of(_natively(life, chance, deeds), now_ms)
    found = events_of(_carried(records, chance), now_ms)
    assert set(found) == set(expected) == {life.key}
    here, there = (
        [
            {key: value for key, value in row.items() if key not in BESIDES[name]}
            for row in sessions_of(life.key, events[life.key], life.policy)
        ]
        for events in (found, expected)
    )
    assert here == there
    return here


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_what_simulated_devices_do_is_the_same_in_every_format(name: str) -> None:
    ends: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for life in simulated(devices=60, seed=13, events=9_000, policy=Policy()):
        for row in _agree(name, life, Random(life.device_id)):
            ends[row["end_reason"]] += 1
            counted.update({key: value for key, value in row.items() if key.endswith("_count")})
            counted["cold"] += row["cold_start"]
            counted["stitched"] += row["stitched_index"] > 1
            counted["of users"] += bool(row["user_ids"])
    # It was a life in which something happened.
    assert not {"background", "crash", "unclean_exit", "inactivity"} - ends.keys(), ends
    names = ("exception", "network", "network_error", "tap", "view", "log_error")
    wanted = {f"{name}_count" for name in names} | {"cold", "stitched", "of users"}
    assert all(counted[each] for each in wanted), counted


@pytest.mark.parametrize("name", FORMATS)
@BOUNDS
@given(seed=st.integers(0, 2**32))
def test_what_lies_around_the_bounds_is_the_same_in_every_format(name: str, seed: int) -> None:
    _agree(name, around_bounds(seed), Random(seed))


@BOUNDS
@given(seed=st.integers(0, 2**32))
def test_many_devices_in_one_request_are_each_what_it_is_alone(seed: int) -> None:
    """As the batch processor of a Collector puts together what many devices sent, cut anew at each hop."""
    chance = Random(seed)
    lives = [around_bounds(seed + number, 16) for number in range(4)]
    told = [(life, batch) for life in lives for batch in _batches(life.deeds, chance)]
    chance.shuffle(told)
    cuts = sorted(chance.sample(range(len(told) + 1), min(2, len(told))))
    parts = [told[start:end] for start, end in itertools.pairwise([0, *cuts, len(told)])]
    records = [record for part in parts for record in otlp.write_all(part, as_json=chance.random() < 0.5)]
    now_ms = max(deed.ns for life in lives for deed in life.deeds) // NS_PER_MS + _HOUR_MS
    found = events_of(_carried(records, chance), now_ms)
    for life in lives:
        alone = events_of(otlp.write(life, life.deeds, as_json=True), now_ms)
        here, there = (
            sessions_of(life.key, events.get(life.key, []), life.policy) for events in (found, alone)
        )
        assert here == there
