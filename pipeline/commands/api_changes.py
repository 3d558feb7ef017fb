"""What the HTTP API changes beyond single statements: mutes of alert rules, and symbol files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.api.outside import Row, UploadOutcome
from pipeline.api.problem import FileRefusal, RequestRefused
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.symbol_files import StoredFile
from pipeline.commands.alerts import muted
from pipeline.commands.answering import answered
from pipeline.commands.failure import CommandFailed
from pipeline.commands.symbol_changes import SymbolChanges
from pipeline.query.session_range import time_text
from pipeline.settings import Settings
from pipeline.symbols.apart import read_apart
from pipeline.symbols.library import NoSymbolLibrary


class ApiChanges:
    """Does what the commands do, on the dashboard's connection."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._room = settings.symbols_bytes
        self.most_bytes = settings.api_upload_bytes

    def mute(self, rule: str, group: str | None, duration_ms: int, reason: str) -> Row:
        """As `alerts mute` and `alerts unmute`."""
        with answered():
            row = muted(self._store, rule, group, duration_ms, reason)
        return {**row, "is_of_group": row["is_group"]}

    def upload(self, path: Path, app_id: str, version: str, build: str) -> UploadOutcome:
        """As `symbols upload`."""
        stored: list[Row] = []

        def tell(file: StoredFile, *, is_new: bool) -> None:
            del is_new
            stored.append(_row(file))

        try:
            work = SymbolChanges(self._store, self._room)
            found = read_apart(path)
            with answered():
                refused = work.store(found, app_id, version, build, tell)
                grouped = work.group(app_id) if stored else 0
        except (CommandFailed, NoSymbolLibrary) as error:
            raise RequestRefused("refused-file", str(error)) from error
        return UploadOutcome(stored, [FileRefusal(each.name, each.why) for each in refused], grouped)

    def delete(
        self, app_id: str, digests: Sequence[str], version: str, build: str
    ) -> tuple[Sequence[Row], int]:
        """As `symbols delete`."""
        try:
            with answered():
                work = SymbolChanges(self._store, self._room)
                deleted = work.delete(app_id, digests, version, build)
                return [_row(file) for file in deleted], work.group(app_id)
        except (CommandFailed, NoSymbolLibrary) as error:
            raise RequestRefused("not-found", str(error)) from error


def _row(file: StoredFile) -> Row:
    # What was stored just now has no time yet.
    return {**asdict(file), "uploaded_at": file.uploaded_at or time_text(int(time.time() * 1_000))}
