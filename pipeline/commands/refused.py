"""How many records and events are refused, counted before they are sent or as they are kept; and this in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.formats import native
from pipeline.formats.format import Beside, Format
from pipeline.formats.native.partitioner import REMEDY
from pipeline.formats.options import DEFAULTS, Options
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from pipeline.kafka.produce import RecordToSend
from pipeline.query.operations import RefusedTotals, WrongPartition

Judged = native.Envelope | Translation | Rejected

_SEE = "session-pipeline dead-letters list"


@dataclass(slots=True)
class RefusedOnArrival:
    """How much the workers are going to refuse of records that come now."""

    options: Options = DEFAULTS
    records: int = 0
    events: int = 0
    spans: int = 0

    def count(self, format: Format, record: RecordToSend, now_ms: int) -> Judged:
        """Judge a record of a format as the worker will that reads it; returns what that worker gets of it."""
        value, beside = record.value, Beside(record.headers, self.options, record.key)
        translate = format.translate
        judged = translate(value, now_ms, beside) if translate else native.decode(value, record.key, now_ms)
        if isinstance(judged, Rejected):
            self.records += 1
            return judged
        for fault in judged.refused:
            if fault.event_index is None:
                self.spans += 1
            else:
                self.events += 1
        return judged

    @property
    def totals(self) -> RefusedTotals:
        return RefusedTotals(self.records, self.events, self.spans)

    @property
    def words(self) -> str:
        return words_of(self.totals)


def words_of(totals: RefusedTotals, see: str = f" ({_SEE})") -> str:
    """What is refused, and where to see it: for the end of a line."""
    parts = [
        _many(totals.records, "record"),
        _many(totals.events, "single event"),
        _many(totals.spans, "list") + " of spans",
    ]
    said = [part for part in parts if not part.startswith("0 ")]
    if not said:
        return "nothing refused"
    *most, last = said
    return f"{', '.join(most)}{' and ' if most else ''}{last} refused{see}"


def words_of_early(totals: RefusedTotals) -> str:
    """What is in no line of the ledger, since it never was in `sdk-events`, as a line."""
    return f"before sdk-events, so not in the ledger: {words_of(totals)}"


def words_of_misplaced(found: WrongPartition) -> str:
    """What is wrong with the producers of records that were refused as `wrong_partition`, and what to do, as a line."""
    last = datetime.fromtimestamp(found.last_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"wrong_partition: {_many(found.records, 'record')} of {_many(found.keys, 'device')} refused, the last at"
        f" {last} UTC: a producer does not use Kafka's default partitioner: {REMEDY}; then"
        " session-pipeline dead-letters replay --reason wrong_partition"
    )


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
