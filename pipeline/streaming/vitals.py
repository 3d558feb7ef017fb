"""How an app is: what of its work is done, and how far it is behind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.streaming.assignment import Assignment
from pipeline.topics import TP


class Behind(NamedTuple):
    """What is left of a topic, of the partitions that an app reads."""

    records: int
    seconds: float
    """How long ago the latest record came that is done; 0 if nothing is left."""


class Vitals:
    """Of one app, since it began. For the event loop of the app."""

    def __init__(self) -> None:
        self.rebalances = 0
        """How often partitions were assigned."""
        self.progressed_s = time.time()
        """When something was last done; Unix seconds."""
        self.records = 0
        """How many are done."""
        self._done_s: dict[TP, float] = {}

    def done(self, tp: TP, count: int, record_s: float) -> None:
        """A chunk of so many records is done, the last of which has this record time, Unix seconds."""
        self.progressed_s = time.time()
        self.records += count
        self._done_s[tp] = record_s

    def behind(self, assignment: Assignment | None, ends: Mapping[TP, int]) -> dict[str, Behind]:
        """By topic. `ends` are the offsets after the last records, where they are known. Where nothing of a partition
        has been done yet, its seconds count from the beginning of this app's last progress."""
        found: dict[str, Behind] = {}
        now_s = time.time()
        for tp, progress in (assignment.sources if assignment else {}).items():
            left = max(0, ends.get(tp, progress.next_offset) - progress.next_offset)
            late_s = max(0.0, now_s - self._done_s.get(tp, self.progressed_s)) if left else 0.0
            before = found.get(tp.topic, Behind(0, 0.0))
            found[tp.topic] = Behind(before.records + left, max(before.seconds, late_s))
        return found
