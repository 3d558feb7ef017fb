"""`retention`: for how many days what is stored is kept, and changing that for what is stored already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline import wiring
from pipeline.clickhouse.retention import (
    DEAD_LETTERS,
    EVENTS,
    SESSIONS,
    Days,
    KeptRows,
    Stored,
    StoredRetention,
)
from pipeline.domain.retention import Retention, Retentions
from pipeline.settings import Settings


def command(
    apply: Annotated[
        bool, typer.Option("--apply", help="Keep what is stored already for as long as the settings say now.")
    ] = False,
) -> None:
    """Show for how many days what is stored is kept, and what would go under the present settings."""
    retention(wiring.settings(), apply=apply)


def retention(settings: Settings, *, apply: bool) -> None:
    """Print what is stored and for how many days it is kept. With `apply`, keep all of it as the settings say now.

    Safe to run at any time, also while workers run, and again after it was cut off. Raises `ChangeFailed`, and what the
    store raises.
    """
    store = wiring.store(settings)
    console = Console()
    try:
        work, wanted = StoredRetention(store), days_of(wiring.in_force(settings, store))
        found = [each for kind, days in wanted.items() for each in work.stored(kind, days)]
        console.print(_table(found))
        others = sum(each.otherwise for each in found)
        if not others:
            print("everything is kept for as long as the settings say")
        elif not apply:
            print(
                f"{others} rows are kept for another number of days than the settings say, and "
                f"{sum(each.going for each in found)} of them would go: session-pipeline retention --apply"
            )
        if apply:
            for kind, days in wanted.items():
                dropped = work.apply(kind, days, lambda line: print(line, flush=True))
                print(f"{kind.name}: done; {dropped} parts were dropped whole")
    finally:
        store.close()


def days_of(settings: Settings) -> dict[KeptRows, Days]:
    """For how many days the settings say that rows of each kind are kept."""
    kept = settings.retentions
    return {
        EVENTS: _days(kept, lambda retention: retention.retention_days),
        SESSIONS: _days(kept, lambda retention: retention.session_retention_days),
        DEAD_LETTERS: Days(settings.dead_letter_retention_days, {}),
    }


def _days(kept: Retentions, of: Callable[[Retention], int]) -> Days:
    return Days(of(kept.default), {app: of(own) for app, own in kept.by_app.items()})


def _table(found: list[Stored]) -> Table:
    table = Table("what", "app", title="what is stored, and for how long")
    for name in ("days (0: ever)", "rows", "stored since", "expired", "kept otherwise", "would go"):
        table.add_column(name, justify="right")
    for each in found:
        counts = (each.rows, each.first_day, each.expired, each.otherwise, each.going)
        table.add_row(each.kind, each.app_id, str(each.wanted_days), *(str(count) for count in counts))
    return table
