"""Groups of what was stored before there were groups, before their fingerprint was the one of now, or before the files
of symbols that there are now."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import orjson

from pipeline.clickhouse.store import Store
from pipeline.clickhouse.symbol_files import CrashSymbols
from pipeline.clickhouse.ungrouped import COLUMNS, Ungrouped
from pipeline.formats.stacks.asking import AppBuild
from pipeline.formats.stacks.crash_group import ATTRIBUTES, VERSION, kind_of
from pipeline.formats.stacks.symbolicate import READ
from pipeline.storage.crash_rows import StoredFailure, again
from pipeline.symbols.shelf import Shelf, stale_needs

_AT_ONCE = 1_000
"""Rows in one insert."""
_MOST_STALE = 2_000
"""Needs that one question names."""

Told = Callable[[int, int], None]
"""How many events are grouped, and of how many."""


def regroup(
    store: Store,
    run: str,
    tell: Told = lambda done, of: None,
    *,
    all: bool = False,
    shelf: Shelf | None = None,
    app_id: str = "",
) -> int:
    """Group all stored crashes, ANRs and exceptions without a group of this version, or all of them; and those of whose
    symbols there is another file than the one that their group was made by. How many.

    Any number of times, also while sinks write. `run` names this run: another name than that of every other. Without a
    shelf groups are made without symbols, and those that were made with some stay; symbols are looked at of `app_id`,
    or of all apps. Blocks; raises what the store raises, and goes on where it was if it is called again.
    """
    stale: list[list[str]] = []
    if shelf is not None and shelf.is_usable and not all:
        shelf.forget_lists()
        found = stale_needs(CrashSymbols(store).needs(app_id), shelf.digest_of)
        stale = [[app, *need, file] for app, need, file in found]
    done = 0
    for start in range(0, max(1, len(stale)), _MOST_STALE):
        some = stale[start : start + _MOST_STALE]
        done += _regroup(store, f"{run}-{start}", tell, all=all, stale=some, shelf=shelf)
    return done


def _regroup(
    store: Store, run: str, tell: Told, *, all: bool, stale: list[list[str]], shelf: Shelf | None
) -> int:
    work = Ungrouped(store, f"{VERSION}-", [*dict.fromkeys((*ATTRIBUTES, *READ))], all=all, stale=stale)
    days, done = work.days(), 0
    total = sum(day.failures for day in days)
    for day in days:
        rows = (_grouped(event, shelf) for event in work.of_day(day))
        while block := list(islice(rows, _AT_ONCE)):
            work.put(block, token=f"regroup-{run}-{done}")
            done += len(block)
            tell(done, total)
    return done


def _grouped(event: list[object], shelf: Shelf | None) -> bytes:
    name, kind, attributes, resource, *told = event
    assert isinstance(attributes, dict)
    key = dict(zip(COLUMNS, told, strict=True))
    app = AppBuild.of(str(key["app_id"]), orjson.loads(str(resource) or "{}"))
    failure = StoredFailure(app, kind_of(str(name), str(kind)), attributes, [], key)
    return again(failure, shelf)
