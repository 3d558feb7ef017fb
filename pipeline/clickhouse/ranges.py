"""A table in ranges of its key, so that all of it can be read in bounded memory, and on from where it was left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from pipeline.clickhouse.store import Store

Key = tuple[str, ...]
"""Values of the first columns of a table's order, as texts; none is the beginning, or the end."""


class Range(NamedTuple):
    """The rows of a partition whose keys are above `since` and not above `upto`."""

    place: str
    """The id of the partition."""
    since: Key
    upto: Key
    sql: str
    """A condition that holds for them alone, and that the table's index understands."""
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ordered:
    """A table and the columns that its ranges are bounded by: expressions and types, the first of its order.

    Methods block and raise what the store raises.
    """

    store: Store
    table: str
    columns: tuple[tuple[str, str], ...]

    def places(self) -> list[str]:
        """The ids of the partitions that have rows, in order."""
        rows = self.store.query(
            "SELECT DISTINCT partition_id FROM system.parts WHERE database = currentDatabase()"
            " AND table = {table:String} AND active ORDER BY partition_id",
            {"table": self.table},
        )
        return [orjson.loads(line)["partition_id"] for line in rows.splitlines()]

    def ranges(self, place: str, since: Key, rows: int) -> Iterator[Range]:
        """The ranges of a partition in order, from a key on, each found once the one before was taken.

        A range holds about `rows` rows, more where so many share a key. The last one has no end: whatever is inserted
        meanwhile is in one of them, or in the table before its range is read.
        """
        while True:
            upto = self._end(place, since, rows)
            yield Range(place, since, upto, *self._condition(place, since, upto))
            if not upto:
                return
            since = upto

    def _end(self, place: str, since: Key, rows: int) -> Key:
        condition, parameters = self._condition(place, since, ())
        names = ", ".join(expression for expression, _ in self.columns)
        texts = ", ".join(f"toString({expression})" for expression, _ in self.columns)
        found = self.store.query(
            f"SELECT {texts} FROM {self.table} WHERE {condition} ORDER BY {names} LIMIT 1 OFFSET {rows}",
            parameters,
            format="JSONCompactEachRow",
        )
        return tuple(orjson.loads(found)) if found.strip() else ()

    def _condition(self, place: str, since: Key, upto: Key) -> tuple[str, dict[str, str]]:
        parameters = {"place": place}
        parts = ["_partition_id = {place:String}"]
        for name, sign, key in (("since", ">", since), ("upto", "<", upto)):
            if key:
                parts.append(self._compared(name, sign, 0, or_equal=name == "upto"))
                parameters |= {f"{name}{number}": value for number, value in enumerate(key)}
        return " AND ".join(parts), parameters

    def _compared(self, name: str, sign: str, number: int, *, or_equal: bool) -> str:
        """Columns from the given one on, compared in order. Spelled out: tuples do not reach every server's index."""
        expression, type = self.columns[number]
        value = f"{{{name}{number}:{type}}}"
        if number == len(self.columns) - 1:
            return f"{expression} {sign}{'=' if or_equal else ''} {value}"
        rest = self._compared(name, sign, number + 1, or_equal=or_equal)
        return f"({expression} {sign} {value} OR ({expression} = {value} AND {rest}))"


def after(done: Sequence[Key]) -> Key | None:
    """Where to go on after ranges whose ends are given in order; None if the last one had no end."""
    if not done:
        return ()
    return done[-1] or None
