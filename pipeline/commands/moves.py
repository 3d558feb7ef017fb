"""`migrate` with its progress, and `--status`, `--back`, `--forward`, `--finish`: what becomes of older tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from pipeline import wiring
from pipeline.clickhouse.codes import ACCESS_DENIED, code_of
from pipeline.clickhouse.comments import comment
from pipeline.clickhouse.for_people import database_for_people, show_views
from pipeline.clickhouse.migrations import alone, migrate
from pipeline.clickhouse.move import Move, Told
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.clickhouse.versions import versions_in_one_partition
from pipeline.commands.regroup import group_the_rest
from pipeline.settings import Settings

_LINE_EVERY_S = 30.0


def bring_up_to_date(store: Store) -> list[str]:
    """Migrate a database, tell how far the move of its events is, write its comments, and show what is for people in a
    database of its own, where the user may make that; the files applied now.

    Blocks. Raises as `migrate` does.
    """
    with _telling() as tell:
        applied = migrate(store, move=Move(store, tell))
    group_the_rest(store)
    comment(store)
    try:
        show_views(store)
    except StatementFailed as error:
        if code_of(error) != ACCESS_DENIED:
            raise
        people = database_for_people(store.database)
        print(f"no views for BI tools in {people}, see deploy/clickhouse-users.sql: {error}", flush=True)
    return applied


def run(settings: Settings, *, back: bool = False, forward: bool = False, finish: bool = False) -> None:
    """Do what was asked for, and print how far the move is.

    Blocks. Raises MigrationError where it cannot be done, and what the store raises.
    """
    store = wiring.store(settings)
    try:
        move = Move(store)
        if back:
            move.back()
        elif forward:
            move.again()
        elif finish:
            move.finish()
            with alone(store):
                versions_in_one_partition(store)
        print_state(move, is_asked_for=True)
    finally:
        store.close()


def print_state(move: Move, *, is_asked_for: bool = False) -> None:
    """Say how far the events are moved and what can be done now; nothing where there is nothing to do, unless asked."""
    state = move.state()
    if state.phase == "moved":
        print(
            "all events are in the new tables, and the views show them; the older tables still get what comes:"
            " session-pipeline migrate --back shows them again, --finish drops them"
        )
    elif state.phase == "moved back":
        print(
            "the views show the older tables of events, as --back asked for; the new ones still get what comes:"
            " session-pipeline migrate --forward shows them again"
        )
    elif state.phase == "moving":
        print(f"about {state.rows} rows of events are to be moved; the views show the older tables")
        for step, rows in state.done.items():
            if rows:
                print(f"  {step}: about {rows} rows")
        print("session-pipeline migrate goes on")
    elif is_asked_for:
        print("all events are in the tables of this version")


@contextmanager
def _telling() -> Iterator[Told]:
    """What tells of the progress of a move on stderr: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        last_s = time.monotonic()

        def tell_line(doing: str, done: int, of: int) -> None:
            nonlocal last_s
            if time.monotonic() - last_s >= _LINE_EVERY_S:
                last_s = time.monotonic()
                print(f"moving events, {doing}: about {done} of {of} rows", file=sys.stderr, flush=True)

        yield tell_line
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        def tell_bar(doing: str, done: int, of: int) -> None:
            if doing not in tasks:
                tasks[doing] = progress.add_task(f"moving events: {doing}", total=of)
            progress.update(tasks[doing], completed=done, total=of)

        yield tell_bar
