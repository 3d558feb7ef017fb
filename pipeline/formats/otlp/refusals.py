"""What of a message is refused, each with its own bytes: a message has the records of many devices."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import Encoding, ResourceBlock, ScopeBlock, Signal
from pipeline.formats.rejected import Reason, Rejected

MAX_PARTS = 200
"""Refusals of a message that are cut out each by itself; beyond them, all of one reason are one part. So are those that
would be more than MAX_PART_BYTES together: each has the whole resource with it."""
MAX_PART_BYTES = 16_000_000
OF_RESOURCE = "resource"
"""Begins the path of a flaw that is one of the resource."""


class RecordPlace(NamedTuple):
    """Where a record is: indexes of resource, scope and record."""

    block: int
    scope: int
    record: int


class Places:
    """Where the records of a message are, by their index in it."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._scopes: list[tuple[int, int]] = []

    def go_on(self, first: int, block: int, scope: int) -> None:
        """The records from this one on are those of the next scope."""
        self._firsts.append(first)
        self._scopes.append((block, scope))

    def of(self, at: int) -> RecordPlace:
        """The place of a record."""
        index = bisect_right(self._firsts, at) - 1
        return RecordPlace(*self._scopes[index], at - self._firsts[index])


class RefusedRecord(NamedTuple):
    """A record that is refused."""

    at: int
    """Of all records of the message, from 0."""
    place: RecordPlace
    flaw: Flaw


def rejected(
    refused: Sequence[RefusedRecord], blocks: Sequence[ResourceBlock], encoding: Encoding, signal: Signal
) -> list[Rejected]:
    """One for each record; those of one dead letter have the same part."""
    units: dict[tuple[Reason, int, int], list[RefusedRecord]] = {}
    rest: dict[Reason, list[RefusedRecord]] = {}
    for each in refused:
        alone = -1 if each.flaw.path.startswith(OF_RESOURCE) else each.at
        key = each.flaw.reason, each.place.block, alone
        unit = units.get(key)
        if unit is not None:
            unit.append(each)
        elif len(units) < MAX_PARTS:
            units[key] = [each]
        else:
            rest.setdefault(each.flaw.reason, []).append(each)
    made: list[Rejected] = []
    size = 0
    for (reason, _, _), unit in units.items():
        if size < MAX_PART_BYTES:
            part = encoding.joined(_cut(unit, blocks))
            size += len(part)
            made += _worded(unit, signal, part)
        else:
            rest.setdefault(reason, []).extend(unit)
    for unit in rest.values():
        unit.sort(key=lambda each: each.at)
        made += _worded(unit, signal, encoding.joined(_cut(unit, blocks)))
    return sorted(made, key=lambda each: each.event_index or 0)


def _cut(unit: Iterable[RefusedRecord], blocks: Sequence[ResourceBlock]) -> list[ResourceBlock]:
    """The blocks with nothing but these records."""
    records: dict[int, dict[int, list[int]]] = {}
    for each in unit:
        place = each.place
        records.setdefault(place.block, {}).setdefault(place.scope, []).append(place.record)
    return [
        ResourceBlock(
            blocks[block].resource,
            [
                ScopeBlock(
                    blocks[block].scopes[scope].scope, [blocks[block].scopes[scope].records[i] for i in some]
                )
                for scope, some in scopes.items()
            ],
        )
        for block, scopes in records.items()
    ]


def _worded(unit: Iterable[RefusedRecord], signal: Signal, part: bytes) -> Iterable[Rejected]:
    blocks, scopes, records, *_ = signal
    for index, (block, scope, record), flaw in unit:
        inner = flaw.path
        if inner.startswith(OF_RESOURCE):
            path = f"{blocks}[{block}]"
        elif inner.startswith("scope"):
            path = f"{blocks}[{block}].{scopes}[{scope}]"
        else:
            path = f"{blocks}[{block}].{scopes}[{scope}].{records}[{record}]"
        yield Rejected(flaw.reason, flaw.words_under(path), index, part)
