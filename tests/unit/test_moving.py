"""States of devices on their way to other partitions: which go where, what stays, and what is said meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.errors import Terminal
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.record_time import SAMPLED_OUT, WAS_REFUSED, record_time_ms
from pipeline.state.grouping import CutOfSource, grouped, take_misplaced
from pipeline.state.marker import MARKER_KEY, Marker, marker_item
from pipeline.state.moving import (
    PLAN_KEY,
    OtherLayout,
    Plan,
    RepartitionUnderWay,
    lifted,
    marker_in,
    of_new_partition,
    plan_item,
    plan_of,
    require_layout,
    require_whole,
)
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord

PLAN = Plan(12, 8, 50_000, 10_000)


def test_a_partition_whose_states_are_on_their_way_is_not_begun() -> None:
    items = dict([plan_item(PLAN), marker_item(Marker(7))])
    assert plan_of(items) == PLAN
    with pytest.raises(
        RepartitionUnderWay, match=r"from 8 partitions to 12: run `session-pipeline repartition --part"
    ):
        require_whole(3, items)
    del items[PLAN_KEY]
    require_whole(3, items)
    assert marker_in(items) == Marker(7) and plan_of(items) is None


def test_a_program_of_before_does_not_begin_there_either() -> None:
    with pytest.raises(Terminal):
        Partition(0, Policies()).restore(dict([plan_item(PLAN)]))


def test_settings_that_the_states_were_not_made_for_are_named() -> None:
    marker = Marker(60_000, partitions=12, offset_base=50_000)
    require_layout(0, marker, 12, 50_000)
    require_layout(0, marker, 12, 90_000)
    require_layout(0, Marker(7), 12, 0)
    with pytest.raises(
        OtherLayout, match=r"split for 12 partitions, but there are 16: .* repartition --partitions 16"
    ):
        require_layout(0, marker, 16, 50_000)
    with pytest.raises(OtherLayout, match="PIPELINE_OFFSET_BASE is 10000: set it to 50000"):
        require_layout(0, marker, 12, 10_000)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (10_007, 50_007),
        (10_000, 50_000),
        (9_999, 49_999),
        (-1, 49_999),
        (3, 49_999),
        (49_999, 49_999),
        (51_000, 51_000),
    ],
)
def test_what_was_done_stays_done_and_is_lifted_once(before: int, after: int) -> None:
    """Below the base of before the offset is of a topic that is no more: nothing of this one is done."""
    marker = lifted(Marker(before, 5, "1", "2"), PLAN)
    assert marker == Marker(after, 5, "1", "2", 12, 50_000, 8)
    assert lifted(marker, PLAN) == marker
    assert not after < PLAN.offset_base - 1, "no offset is below what a new partition begins at"


def test_a_new_partition_begins_with_the_least_clock_of_the_others() -> None:
    markers = {0: Marker(3, 900, "1", "2"), 1: Marker(), 2: Marker(9, 700, "1", "2")}
    assert of_new_partition(markers, PLAN) == Marker(49_999, 700, "1", "2", 12, 50_000, 8)
    assert of_new_partition({}, PLAN) == Marker(49_999, 0, "", "", 12, 50_000, 8)


# -- records of producers that go by an earlier number


def key_with(now: int, before: int) -> bytes:
    """A device's key that belongs in one partition of 3, and belonged in another of 2."""
    return next(
        key
        for key in (f"app/device-{number}".encode() for number in range(1_000))
        if (partition_of(key, 3), partition_of(key, 2)) == (now, before)
    )


def taken(
    records: list[SourceRecord], place: CutOfSource, edge: Edge = OPEN_EDGE
) -> tuple[int, list[Any], set[Any]]:
    by_key, _, _ = grouped(records, 0, 0)
    refused, moved = take_misplaced(by_key, place, edge)
    return refused, moved, set(by_key)


HERE, LATE, STRAY = key_with(0, 0), key_with(2, 0), key_with(1, 1)
RECORDS = [
    SourceRecord(0, 1_000, HERE, b"here"),
    SourceRecord(1, 2_000, LATE, b"first"),
    SourceRecord(2, 3_000, STRAY, b"stray"),
    SourceRecord(3, 4_000, LATE, b"second", ((WAS_REFUSED, b"1"), ("replayed_record_ms", b"1500"))),
    SourceRecord(4, 5_000, LATE, None, ((SAMPLED_OUT, b"3"),)),
]


def test_what_belonged_here_before_is_moved_with_its_time_and_all_else_is_refused() -> None:
    refused, moved, left = taken(RECORDS, CutOfSource(0, 3, (2,)))
    assert (refused, left) == (1, {HERE})
    assert [(key, value) for key, value, *_ in moved] == [(LATE, b"first"), (LATE, b"second")]
    assert [record_time_ms(headers, 9_000) for _, _, *headers in moved] == [2_000, 1_500]
    assert (WAS_REFUSED, b"1") in moved[1]


def test_without_an_earlier_number_all_of_it_is_refused() -> None:
    assert taken(RECORDS, CutOfSource(0, 3)) == (4, [], {HERE})


def test_of_devices_that_are_sampled_out_nothing_is_moved() -> None:
    class Out(Edge):
        def is_out(self, key: bytes | None) -> bool:
            return key == LATE

    edge = Out(Privacy(), Samplings())
    assert taken(RECORDS, CutOfSource(0, 3, (2,)), edge) == (1, [], {HERE})


def test_a_partition_gives_what_is_moved_before_anything_else() -> None:
    partition = Partition(0, Policies(), partitions=3, before=(2,))
    effects = partition.apply(RECORDS[1:3])
    assert [value for _, value, *_ in effects.moved] == [b"first"]
    assert effects.refused == 1 and not effects.rows
    assert MARKER_KEY in dict(effects.states), "the partition is done with it"
