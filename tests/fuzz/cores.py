"""The target `cores`: a record through a partition in Python and one with the compiled core, which must not differ.

What this is for is strictness: whatever the core takes for JSON, and for whatever value, Python's readers have to take
for the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from pipeline import compiled
from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.formats.edge import Edge
from pipeline.state.compiled_partition import CompiledPartition
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from tests.fuzz.records import NativeTarget
from tests.fuzz.target import Escaped, Seen, require
from tests.support.two_cores import told


class CoresTarget(NativeTarget):
    """One record of a device that nobody knows, and then the same again."""

    def __init__(self) -> None:
        super().__init__()
        core = compiled.core(compiled.RUST)
        assert core is not None
        edge = Edge(Privacy(), Samplings())
        self._python = functools.partial(Partition, 0, Policies(), edge=edge)
        self._compiled = functools.partial(CompiledPartition, core, 0, Policies(), edge=edge)

    def prepared(self, data: bytes) -> Callable[[], object]:
        value, key, record_ms = self._record(data)
        return functools.partial(self._compiled().apply, [SourceRecord(0, record_ms, key, value)])

    def check(self, data: bytes) -> Seen:
        value, key, record_ms = self._record(data)
        partitions = (self._python(), self._compiled())
        seen = []
        for offset in (0, 1):
            record = SourceRecord(offset, record_ms, key, value)
            python, by_core = (partition.apply([record]) for partition in partitions)
            expected, found = told(python), told(by_core)
            for name, each in expected.items():
                if found[name] != each:
                    raise Escaped(f"{name}: the core gives {found[name]!r}, Python {each!r}")
            for partition, effects in zip(partitions, (python, by_core), strict=True):
                partition.commit(effects)
            require("panic" not in by_core.handed_over, "the core fails")
            require(not python.set_aside, "no record sets a device aside")
            seen.append((by_core.compiled, tuple(by_core.handed_over), len(python.states), python.refused))
        return Seen(bool(seen[0][0]), tuple(seen))
