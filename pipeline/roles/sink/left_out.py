"""Records of `sdk-events` of which nothing but a row of the ledger is stored."""

from __future__ import annotations

from typing import Any

from pipeline.formats.edge import Edge, events_in
from pipeline.formats.erasure import erasure_of, is_control
from pipeline.formats.native import app_of
from pipeline.formats.record_time import sampled_out_of
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Source
from pipeline.storage.kept import EVER, Keeping
from pipeline.storage.rows import ledger_row


class LeftOut:
    """Finds them, and counts what is in them. Pure, but for the counters and what was erased."""

    def __init__(self, edge: Edge, keeping: Keeping, metrics: Metrics) -> None:
        self._edge = edge
        self._keeping = keeping
        self._metrics = metrics

    @property
    def may_be_some(self) -> bool:
        """Whether there can be any but those that `told` knows."""
        return self._edge.samples or bool(self._edge.erasures)

    def row(self, source: Source, record: Any, offset: int, came_ms: int) -> bytes | None:
        """The ledger row of a record whose device is sampled out, or that was erased and comes again; None for the
        others, and for what asks for something to be erased."""
        is_out = self._edge.is_out(record.key)
        if not is_out and (
            record.key is None
            or is_control(record.value)
            or not self._edge.erasures.takes(record.key, record.value, came_ms)
        ):
            return None
        if is_out:
            return self._sampled_out(source, record, offset)
        count = events_in(record.value)
        self._metrics.erased.labels(source.topic).inc(count)
        return self._counted(source, record, offset, count, is_out=False)

    def told(self, source: Source, record: Any, offset: int) -> bytes | None:
        """The ledger row of what is refused as an envelope since it is none: of a record that asks for a device to be
        erased, which from now on is; or in which the router tells how much it sampled out. None for others."""
        if record.value is None and record.key is not None and sampled_out_of(record.headers):
            # Of a device that is in by these settings: the router's are others.
            return self._sampled_out(source, record, offset)
        asked = erasure_of(record.key, record.value, record.timestamp, offset)
        if asked is None:
            return None
        self._edge.erasures.add(asked)
        return ledger_row(*source, offset, received=0, refused=0, kept=EVER)

    def _sampled_out(self, source: Source, record: Any, offset: int) -> bytes:
        told = sampled_out_of(record.headers) if record.value is None else 0
        count = told or events_in(record.value)
        self._metrics.sampled_out.labels(source.topic).inc(count)
        return self._counted(source, record, offset, count, is_out=True)

    def _counted(self, source: Source, record: Any, offset: int, count: int, *, is_out: bool) -> bytes:
        app_id = app_of(record.key)
        kept = self._keeping.events_of(app_id, record.timestamp)
        out, erased = (count, 0) if is_out else (0, count)
        return ledger_row(
            *source,
            offset,
            received=count,
            refused=0,
            sampled_out=out,
            erased=erased,
            app_id=app_id,
            kept=kept,
        )
