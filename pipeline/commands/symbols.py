"""`symbols`: files that say what addresses and shortened names are called in the source, and which are missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.symbol_files import StoredFile, SymbolFiles
from pipeline.commands.analyse import show
from pipeline.commands.failure import CommandFailed
from pipeline.commands.rebuild import unix_ms
from pipeline.errors import path_of
from pipeline.query import symbols as questions
from pipeline.roles.regroup import regroup
from pipeline.settings import Settings
from pipeline.symbols import library
from pipeline.symbols.library import NoSymbolLibrary
from pipeline.symbols.reading import RefusedFile, SymbolFile, read_files
from pipeline.symbols.shelf import LIST_AGE_S, Shelf

_WEEK_MS = 7 * 86_400_000
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
App = Annotated[str, typer.Option("--app", help="The app's id, as its events have it.")]
Version = Annotated[str, typer.Option("--version", help="The app's version, as its events have it.")]
Build = Annotated[str, typer.Option("--build", help="The app's build, as its events have it.")]
Format = Annotated[
    str, typer.Option("--format", help="Any ClickHouse format; a table on a terminal by default.")
]

app = typer.Typer(
    help="Files that turn addresses and shortened names into those of the source: mappings of ProGuard and R8, dSYMs, "
    "ELF files with symbols, source maps.",
    no_args_is_help=True,
)


@app.command("upload")
def upload_command(
    files: Annotated[list[Path], typer.Argument(help="Files, folders (as a dSYM is one) and zip archives.")],
    app: App,
    version: Version = "",
    build: Build = "",
) -> None:
    """Store files of symbols, and group the crashes anew that they make readable.

    What a file is, is seen in it. A mapping needs --version or --build; so does a source map, unless it has a debug id.
    Debug files are found by their own ids. A source map takes its script along, which lies beside it: without that it
    tells lines, but no functions. The same again changes nothing.
    """
    upload(wiring.settings(), files, app, version, build)


@app.command("list")
def list_command(app: App = "", format: Format = "") -> None:
    """Which files there are, those that were uploaded last first."""
    found = questions.files(app)
    show(wiring.settings(), found.sql, found.parameters, format)


@app.command("missing")
def missing_command(
    app: App,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=_TIMES, help="UTC; a week ago by default.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=_TIMES, help="UTC; now by default.")] = None,
    format: Format = "",
) -> None:
    """Which files the stacks of crashes, ANRs and exceptions cannot be read without, the most often needed first."""
    end_ms = int(time.time() * 1_000) if end is None else unix_ms(end)
    start_ms = end_ms - _WEEK_MS if start is None else unix_ms(start)
    found = questions.missing(app, start_ms, end_ms)
    show(wiring.settings(), found.sql, found.parameters, format)


@app.command("delete")
def delete_command(
    app: App,
    digest: Annotated[
        list[str] | None, typer.Option("--digest", help="A file by its digest, or the beginning of it.")
    ] = None,
    version: Version = "",
    build: Build = "",
) -> None:
    """Take out files of an app by digest, or all of a version or build, and group anew the crashes that used them."""
    delete(wiring.settings(), app, digest or (), version, build)


def upload(settings: Settings, paths: Sequence[Path], app_id: str, version: str, build: str) -> None:
    """Store what is in the paths, and group anew what it concerns.

    Blocks. Raises `CommandFailed`, once all others are stored, with the files that are refused; `NoSymbolLibrary`, and
    what the store raises.
    """
    _require_library()
    store = wiring.store(settings)
    try:
        refused = _stored(SymbolFiles(store), settings, paths, app_id, version, build)
        _group(store, app_id)
    finally:
        store.close()
    if refused:
        raise CommandFailed("; ".join(f"{each.name}: {each.why}" for each in refused))


def delete(settings: Settings, app_id: str, digests: Sequence[str], version: str, build: str) -> None:
    """Take files out, and group anew what was grouped by them. Blocks; raises as `upload`."""
    if not digests and not version and not build:
        raise CommandFailed("say which: --digest, --version or --build")
    if any(len(each) < 4 for each in digests):
        raise CommandFailed("--digest: at least four digits of it")
    _require_library()
    store = wiring.store(settings)
    try:
        files = SymbolFiles(store)
        chosen = [
            file
            for file in files.listed(app_id)
            if file.app_id == app_id
            and (not digests or file.digest.startswith(tuple(digests)))
            and version in ("", file.app_version)
            and build in ("", file.app_build)
        ]
        if not chosen:
            raise CommandFailed(f"{app_id} has no such file: session-pipeline symbols list --app {app_id}")
        files.delete(chosen, now_ms=_now_ms())
        for file in chosen:
            print(f"deleted  {_named(file)}")
        _group(store, app_id)
    finally:
        store.close()


def _stored(
    files: SymbolFiles, settings: Settings, paths: Sequence[Path], app_id: str, version: str, build: str
) -> list[RefusedFile]:
    there = files.listed()
    known = {file.key for file in there}
    room = settings.symbols_bytes - sum({file.digest: file.kept_bytes for file in there}.values())
    refused, count = [], 0
    for found in _read(paths):
        why = _fault(found, version, build)
        if why:
            refused.append(RefusedFile(found.name, why))
            continue
        assert isinstance(found, SymbolFile)
        file = _listed(found, app_id, version, build)
        if file.key not in known:
            room -= file.kept_bytes
        if room < 0:
            refused.append(
                RefusedFile(
                    found.name,
                    f"there is no room for it: PIPELINE_SYMBOLS_BYTES is {settings.symbols_bytes}. Take out what is not"
                    " needed any more (symbols delete), or raise it",
                )
            )
            break
        files.add(file, found.parts, now_ms=_now_ms())
        print(f"{'is there' if file.key in known else 'stored'}  {_named(file)}", flush=True)
        count += 1
    if not count and not refused:
        raise CommandFailed("there is no file of symbols in it")
    files.sweep()
    return refused


def _read(paths: Sequence[Path]) -> Iterator[SymbolFile | RefusedFile]:
    for path in paths:
        with path_of("FILE", path):
            path.stat()
    # Together: a script and its source map may be named one by one.
    with path_of("FILE", ", ".join(map(str, paths))):
        yield from read_files(paths)


def _fault(found: SymbolFile | RefusedFile, version: str, build: str) -> str:
    if isinstance(found, RefusedFile):
        return found.why
    if found.kind == "proguard" and not version and not build:
        return "say --version or --build: a crash tells by these which mapping it needs"
    if found.kind == "sourcemap" and not (version or build or found.id):
        return "say --version or --build: the map has no debug id, and another version has a script of the same name"
    return ""


def _listed(found: SymbolFile, app_id: str, version: str, build: str) -> StoredFile:
    return StoredFile(
        app_id, found.kind, version, build, found.id, found.code_id, found.arch, found.name, found.digest, found.size,
        sum(map(len, found.parts)), len(found.parts),
    )  # fmt: skip


def _group(store: Store, app_id: str) -> None:
    """Group anew by the files that there are now; and once more what came from sinks that did not know of them yet."""
    shelf = Shelf(SymbolFiles(store))
    grouped = regroup(store, str(time.time_ns()), shelf=shelf, app_id=app_id)
    time.sleep(LIST_AGE_S + 1)
    grouped += regroup(store, str(time.time_ns()), shelf=shelf, app_id=app_id)
    print(f"{grouped} stored crashes, ANRs and exceptions are grouped anew")


def _named(file: StoredFile) -> str:
    parts = (file.kind, file.name, file.arch, file.id or file.code_id, file.digest)
    return "  ".join(part for part in parts if part)


def _require_library() -> None:
    if not library.is_there():
        raise NoSymbolLibrary(library.MISSING)


def _now_ms() -> int:
    return int(time.time() * 1_000)
