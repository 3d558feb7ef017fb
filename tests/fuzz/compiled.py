"""Targets: event rows, and bodies of Measure, by the compiled core, which are those of Python."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pipeline.domain.privacy import Privacy, Samplings
from pipeline.formats import measure
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.rejected import Rejected
from tests.bench.corpus import Fetched
from tests.fuzz.records import MeasureTarget, NativeTarget
from tests.fuzz.target import Seen, check_rejected, require
from tests.support.both_otlp import BothCores
from tests.support.both_rows import made_by
from tests.support.cores import core_or_skip

_EDGES = (OPEN_EDGE, Edge(Privacy(), Samplings()))


class CompiledRowsTarget(NativeTarget):
    """Rows, ledger and refusals are the same; what counts as accepted is what the core takes."""

    def __init__(self) -> None:
        super().__init__()
        self._core = core_or_skip()

    def check(self, data: bytes) -> Seen:
        value, key, record_ms = self._record(data)
        records = [Fetched(2**40, record_ms, key, value)]
        compiled, shape = 0, frozenset[object]()
        for edge in _EDGES:
            by_core, by_python = (made_by(core, records, edge=edge) for core in (self._core, None))
            require(by_core.rows == by_python.rows, "the core makes the rows that Python makes")
            require(by_core.ledger == by_python.ledger, "the core accounts for what Python accounts for")
            require(by_core.refused == by_python.refused, "the core refuses nothing")
            compiled += by_core.compiled
            shape |= {
                (row["kind"], row["counters"], row["exit_reason"], row["stated"]) for row in by_core.rows
            }
        return Seen(bool(compiled), (compiled, shape))


class MeasureCoresTarget(MeasureTarget):
    """Envelopes and refusals are the same; what counts as accepted is a body of which the core takes something."""

    def __init__(self) -> None:
        super().__init__()
        self._both = BothCores(measure.FORMAT)

    def prepared(self, data: bytes) -> Callable[[], object]:
        """By the core: `measure` has the time of Python."""
        return functools.partial(self._both.by_core, data[1:], self._record_ms(data))

    def check(self, data: bytes) -> Seen:
        left = self._both.left
        left.clear()
        found = self._both.check(data[1:], self._record_ms(data))
        require("panic" not in left, "the core fails")
        if isinstance(found, Rejected):
            return Seen(False, check_rejected(found))
        names = {part[:14] for each in found.records for part in each.value.split(b'"name":')[1:]}
        taken = len(self.ids_of(data[1:])) - left.total()
        return Seen(taken > 0, (frozenset(left), min(taken, 2), tuple(sorted(names)[:4])))
