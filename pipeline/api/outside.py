"""What the API needs from outside, beyond answers of ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from anyio import CapacityLimiter

from pipeline.api.problem import FileRefusal
from pipeline.dashboard.exports import Exports
from pipeline.query.operations import Ask
from pipeline.query.symbols import Symbols

Row = Mapping[str, Any]
AppsOf: TypeAlias = Callable[[str, bytes | None, bytes], frozenset[str]]
"""The apps that a refused record of a topic names, by its key and value; none where that cannot be read."""


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """What became of an upload."""

    stored: Sequence[Row]
    """Rows as those of the view `symbol_files`."""
    refused: Sequence[FileRefusal]
    grouped: int
    """Crashes, ANRs and exceptions that are grouped anew."""


class Changes(Protocol):
    """What takes more than one statement. Methods block, raise `NotAnswered`, and `Refused` for what cannot be."""

    @property
    def most_bytes(self) -> int:
        """Of one upload."""

    def mute(self, rule: str, group: str | None, duration_ms: int, reason: str) -> Row:
        """Mute a rule, or one group of it, from now on; for no time ends it. The row, as of `alert_mutes`."""

    def upload(self, path: Path, app_id: str, version: str, build: str) -> UploadOutcome:
        """Store what is in a file, and group anew what it concerns."""

    def delete(
        self, app_id: str, digests: Sequence[str], version: str, build: str
    ) -> tuple[Sequence[Row], int]:
        """Take symbol files out: which, and how many crashes were grouped anew."""


@dataclass(slots=True)
class Outside:
    """What is not there cannot be asked for."""

    symbols: Symbols | None = None
    """Which stacks are read with; blocks, raises `NotAnswered`."""
    exports: Exports | None = None
    write: Ask | None = None
    """Runs a statement that saves; blocks, raises `NotAnswered`."""
    changes: Changes | None = None
    apps_of: AppsOf | None = None
    receiving: int = 0
    """Uploads that are coming in."""
    turns: CapacityLimiter | None = None
    """Of work on symbols; it belongs to the event loop that made it."""
