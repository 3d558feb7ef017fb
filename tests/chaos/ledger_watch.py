"""The ledger, read over and over while everything goes wrong: it has to balance at all times, not in the end alone."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import Store
from pipeline.errors import PipelineError

_EVERY_S = 2.0
_MOST_TOLD = 5
_SQL = (
    "SELECT topic, partition, first_offset, last_offset, records, received, events, duplicates, refused, sampled_out,"
    " erased, expired FROM ledger"
)
PARTS = ("events", "duplicates", "refused", "sampled_out", "erased", "expired")
"""What becomes of what was received."""


class LedgerWatch:
    """Reads in a thread of its own, as someone would who has the ledger open. ClickHouse itself is never away."""

    def __init__(self, url: str) -> None:
        self.looks = 0
        """How often there was something to balance."""
        self.problems: list[str] = []
        self._store = Store(url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> LedgerWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._store.close()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            try:
                rows = rows_of(self._store, _SQL)
            except PipelineError as failure:
                self._note(f"the ledger could not be read: {failure}")
                continue
            self.looks += any(int(row["received"]) for row in rows)
            for row in rows:
                if wrong := unbalanced(row):
                    self._note(wrong)

    def _note(self, problem: str) -> None:
        if len(self.problems) < _MOST_TOLD:
            self.problems.append(f"ledger, look {self.looks}: {problem}")


def unbalanced(row: dict[str, Any]) -> str:
    """What is wrong with a row of the ledger; '' if nothing is."""
    counts = {name: int(row[name]) for name in PARTS}
    if negative := [name for name, count in counts.items() if count < 0]:
        return f"fewer than no {', '.join(negative)}: {row}"
    if int(row["received"]) != sum(counts.values()):
        return f"does not balance: {row}"
    return ""
