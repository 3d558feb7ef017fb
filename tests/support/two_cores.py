"""The same input through a partition in Python and one with the compiled core: every effect has to be the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Any

from pipeline.domain.policy import Policies
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.state.compiled_partition import CompiledPartition
from pipeline.state.effects import Effects
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord

Entries = dict[bytes, bytes]
_VERSION = re.compile(rb'"policy_version":(\d+),')


def told(part: Partition, effects: Effects) -> dict[str, Any]:
    """All that a step asks for, but for the traces of who folded."""
    by_core = part.touched_by_core(effects) if isinstance(part, CompiledPartition) else ()
    touched = [*effects.touched, *by_core]
    return {
        "owed": list(effects.owed),
        "rows": list(effects.rows),
        "copies": effects.copies,
        "states": effects.states,
        "moved": list(effects.moved),
        "counts": effects.counts,
        "refused": effects.refused,
        "set_aside": effects.set_aside,
        "marker": effects.marker,
        # Of devices in any order: that means nothing.
        "touched": sorted(touched, key=lambda each: each[0]),
        "folded": _folded(effects, {key for key, *_ in touched}),
        "rest": _rest(effects),
        "later": effects.later,
    }


def _folded(effects: Effects, touched: set[bytes]) -> dict[bytes, list[Any]]:
    found = dict(effects.folded)
    if effects.groups is not None:
        keys = touched - found.keys()
        found |= {key: effects.groups.fields_of(key) for key in keys if effects.groups.folded(key)}
    return {key: _plain(fields) for key, fields in found.items()}


def _rest(effects: Effects) -> list[tuple[bytes | None, list[Any]]]:
    """What waits, with what the core has grouped and not come to one by one."""
    waiting: list[tuple[bytes | None, Any]] = []
    for key, fields in effects.rest:
        grouped = type(fields) is not list
        waiting += [(each, fields[each]) for each in list(fields)[::-1]] if grouped else [(key, fields)]
    return [(key, _plain(fields)) for key, fields in waiting]


def _plain(fields: Sequence[Any]) -> list[Any]:
    """Headers as one kind of sequence."""
    return [[tuple(each) for each in part] if isinstance(part, list | tuple) else part for part in fields]


@dataclass
class TwoCores:
    """Two partitions that get the same, and what the changelog of either holds."""

    core: ModuleType
    policies: Policies
    edge: Edge = OPEN_EDGE
    number: int = 0
    handed_over: Counter[str] = field(default_factory=Counter)
    compiled: int = 0
    versions: set[int] = field(default_factory=set)
    """Of the policies, in rows."""
    changelog: Entries = field(default_factory=dict)
    """The same of both."""

    def __post_init__(self) -> None:
        self.begin()

    def begin(self, *, swapped: bool = False) -> None:
        """Two new owners, which recover what the changelog has; `swapped` or not makes no difference, since there is
        one changelog: each reads what the other wrote."""
        self.python = Partition(self.number, self.policies, edge=self.edge)
        self.rust = CompiledPartition(self.core, self.number, self.policies, edge=self.edge)
        if self.changelog:
            self.python.restore(self.changelog)
            self.rust.restore(self.changelog)

    def take(self, records: Sequence[SourceRecord], *, dropped: bool = False) -> None:
        """A chunk; `dropped` effects are never committed, as where the partition was lost."""
        pair = [self.python.apply(records), self.rust.apply(records)]
        while True:
            self.compare(pair)
            if dropped:
                return
            self.commit(pair)
            if not pair[0].rest and not pair[0].later:
                return
            pair = [part.go_on(effects) for part, effects in zip((self.python, self.rust), pair, strict=True)]

    def tick(self, now_ms: int, *, caught_up: bool = True) -> None:
        """What silence decides."""
        while True:
            pair = [part.tick(now_ms, caught_up=caught_up) for part in (self.python, self.rust)]
            if pair[0] is None or pair[1] is None:
                assert pair == [None, None]
                return
            self.compare([each for each in pair if each is not None])
            self.commit([each for each in pair if each is not None])

    def compare(self, pair: Sequence[Effects]) -> None:
        """What both ask for."""
        python, rust = map(told, (self.python, self.rust), pair)
        for name, expected in python.items():
            assert rust[name] == expected, f"{name} differ"
        self.versions |= {int(found) for _, row in rust["rows"] for found in _VERSION.findall(row)}
        self.handed_over.update(pair[1].handed_over)
        self.compiled += pair[1].compiled

    def commit(self, pair: Sequence[Effects]) -> None:
        """It is durable."""
        for part, effects in zip((self.python, self.rust), pair, strict=True):
            part.commit(effects)
        for key, value in pair[0].states:
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value


def chunks(records: Iterable[SourceRecord], rng: Random, longest: int) -> Iterable[list[SourceRecord]]:
    """Records cut at random."""
    at, known = 0, list(records)
    while at < len(known):
        size = rng.randint(1, longest)
        yield known[at : at + size]
        at += size
