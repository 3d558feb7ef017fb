"""Groups of what was stored before there were groups, or before their fingerprint was the one of now."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from pipeline.clickhouse.store import Store
from pipeline.clickhouse.ungrouped import Ungrouped, row_of
from pipeline.formats.stacks.crash_group import ATTRIBUTES, VERSION, group_of, kind_of
from pipeline.formats.strict_json import dumps

_AT_ONCE = 1_000
"""Rows in one insert."""

Told = Callable[[int, int], None]
"""How many events are grouped, and of how many."""


def regroup(store: Store, run: str, tell: Told = lambda done, of: None, *, all: bool = False) -> int:
    """Group all stored crashes, ANRs and exceptions without a group of this version, or all of them; how many.

    Any number of times, also while sinks write. `run` names this run: another name than that of every other. Blocks;
    raises what the store raises, and goes on where it was if it is called again.
    """
    work = Ungrouped(store, f"{VERSION}-", ATTRIBUTES, all=all)
    days, done = work.days(), 0
    total = sum(day.failures for day in days)
    for day in days:
        rows = map(_grouped, work.of_day(day))
        while block := list(islice(rows, _AT_ONCE)):
            work.put(block, token=f"regroup-{run}-{done}")
            done += len(block)
            tell(done, total)
    return done


def _grouped(event: list[object]) -> bytes:
    name, kind, attributes, *told = event
    group = group_of(str(told[0]), kind_of(str(name), str(kind)), dumps(attributes))
    return row_of(told, kind=group.kind, crash_group=group.id, title=group.title, culprit=group.culprit)
