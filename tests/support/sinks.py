"""A sink whose rows go nowhere: for what it makes of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.formats.edge import Edge
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds
from pipeline.roles.sink.sink import Sink

PARTITIONS = 8


def swallowing_sink(edge: Edge) -> Sink:
    """It stores nothing, and says that all was stored."""

    async def insert(table: str, rows: bytes, *, token: str) -> Sequence[Any]:
        return ()

    async def dead_letter(refused: Sequence[Any]) -> None:
        return None

    return Sink(insert, dead_letter, Metrics(), bounds=Bounds(max_rows=0), partitions=PARTITIONS, edge=edge)
