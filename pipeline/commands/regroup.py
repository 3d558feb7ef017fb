"""`regroup`: groups of the crashes, ANRs and exceptions that are stored, made anew."""

from __future__ import annotations

import time

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.symbol_files import SymbolFiles
from pipeline.commands.failure import CommandFailed
from pipeline.roles.regroup import regroup
from pipeline.symbols import library
from pipeline.symbols.shelf import Shelf


def command() -> None:
    """Regroup all stored crashes, ANRs and exceptions with the symbol files that are stored. It is safe to run at any
    time; `migrate` does so for those without a group of this version, `symbols upload` for those that it affects.
    """
    store = wiring.store(wiring.settings())
    try:
        shelf = Shelf(SymbolFiles(store))
        if not shelf.is_usable and SymbolFiles(store).listed():
            raise CommandFailed(
                f"groups are to be made with the symbol files that are stored, but {library.MISSING}"
            )
        print(f"{regroup(store, _run(), all=True, shelf=shelf)} events are regrouped")
    finally:
        store.close()


def group_the_rest(store: Store) -> None:
    """Group what has no group of this version yet, and say how much it was. Blocks; raises what the store raises."""
    if grouped := regroup(store, _run(), shelf=Shelf(SymbolFiles(store))):
        print(f"{grouped} stored crashes, ANRs and exceptions are now grouped")


def _run() -> str:
    return str(time.time_ns())
