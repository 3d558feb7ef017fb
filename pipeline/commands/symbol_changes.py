"""Taking symbol files in and out, and grouping anew what they concern: for the command, and for the API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from pipeline.clickhouse.store import Store
from pipeline.clickhouse.symbol_files import StoredFile, SymbolFiles
from pipeline.commands.failure import CommandFailed
from pipeline.roles.regroup import regroup
from pipeline.symbols import library
from pipeline.symbols.library import NoSymbolLibrary
from pipeline.symbols.reading import RefusedFile, SymbolFile
from pipeline.symbols.shelf import LIST_AGE_S, Shelf


class TellStored(Protocol):
    """Is told of each file that is stored, or was there already."""

    def __call__(self, file: StoredFile, *, is_new: bool) -> None: ...


class SymbolChanges:
    """Of one database. Methods block, and raise what the store raises."""

    def __init__(self, store: Store, most_bytes: int) -> None:
        """`most_bytes` is what all files may take together. Raises `NoSymbolLibrary`."""
        if not library.is_there():
            raise NoSymbolLibrary(library.MISSING)
        self._store = store
        self._files = SymbolFiles(store)
        self._most_bytes = most_bytes

    def store(
        self,
        found: Iterable[SymbolFile | RefusedFile],
        app_id: str,
        version: str,
        build: str,
        tell: TellStored,
    ) -> list[RefusedFile]:
        """Store those that can be, and give the others. Raises `CommandFailed` where there are none of either."""
        there = self._files.listed()
        known = {file.key for file in there}
        room = self._most_bytes - sum({file.digest: file.kept_bytes for file in there}.values())
        refused, count = [], 0
        for each in found:
            why = _fault(each, version, build)
            if why:
                refused.append(RefusedFile(each.name, why))
                continue
            assert isinstance(each, SymbolFile)
            file = _listed(each, app_id, version, build)
            if file.key not in known:
                room -= file.kept_bytes
            if room < 0:
                refused.append(
                    RefusedFile(
                        each.name,
                        f"there is no room for it: PIPELINE_SYMBOLS_BYTES is {self._most_bytes}. Take out what is not"
                        " needed any more (symbols delete), or raise it",
                    )
                )
                break
            self._files.add(file, each.parts, now_ms=_now_ms())
            tell(file, is_new=file.key not in known)
            count += 1
        if not count and not refused:
            raise CommandFailed("it contains no symbol file")
        self._files.sweep()
        return refused

    def delete(self, app_id: str, digests: Sequence[str], version: str, build: str) -> list[StoredFile]:
        """Take out files of an app by digest, or all of a version or build. Raises `CommandFailed` for none."""
        if not digests and not version and not build:
            raise CommandFailed("say which: --digest, --version or --build")
        if any(len(each) < 4 for each in digests):
            raise CommandFailed("--digest: give at least four of its digits")
        chosen = [
            file
            for file in self._files.listed(app_id)
            if file.app_id == app_id
            and (not digests or file.digest.startswith(tuple(digests)))
            and version in ("", file.app_version)
            and build in ("", file.app_build)
        ]
        if not chosen:
            raise CommandFailed(f"{app_id} has no such file: session-pipeline symbols list --app {app_id}")
        self._files.delete(chosen, now_ms=_now_ms())
        return chosen

    def group(self, app_id: str) -> int:
        """Group anew by the files that there are now; and once more what came from sinks that did not know of them yet.
        How many crashes, ANRs and exceptions."""
        shelf = Shelf(self._files)
        grouped = regroup(self._store, str(time.time_ns()), shelf=shelf, app_id=app_id)
        time.sleep(LIST_AGE_S + 1)
        return grouped + regroup(self._store, str(time.time_ns()), shelf=shelf, app_id=app_id)


def _fault(found: SymbolFile | RefusedFile, version: str, build: str) -> str:
    if isinstance(found, RefusedFile):
        return found.why
    if found.kind == "proguard" and not version and not build:
        return "give --version or --build: they tell which mapping a crash needs"
    if found.kind == "sourcemap" and not (version or build or found.id):
        return "give --version or --build: the map has no debug id, and another version has a script of the same name"
    return ""


def _listed(found: SymbolFile, app_id: str, version: str, build: str) -> StoredFile:
    return StoredFile(
        app_id, found.kind, version, build, found.id, found.code_id, found.arch, found.name, found.digest, found.size,
        sum(map(len, found.parts)), len(found.parts),
    )  # fmt: skip


def _now_ms() -> int:
    return int(time.time() * 1_000)
