"""`symbols`: files that say what addresses and shortened names are called in the source, and which are missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline import wiring
from pipeline.clickhouse.symbol_files import StoredFile
from pipeline.commands.analyse import show
from pipeline.commands.failure import CommandFailed
from pipeline.commands.symbol_changes import SymbolChanges
from pipeline.commands.times import TIMES, unix_ms
from pipeline.errors import path_of
from pipeline.query import symbols as questions
from pipeline.settings import Settings
from pipeline.symbols.reading import RefusedFile, SymbolFile, read_files

_WEEK_MS = 7 * 86_400_000
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
    add_completion=False,
)


@app.command("upload")
def upload_command(
    files: Annotated[list[Path], typer.Argument(help="Files, folders (such as a dSYM) and zip archives.")],
    app: App,
    version: Version = "",
    build: Build = "",
) -> None:
    """Store symbol files, and regroup the crashes that they make readable.

    The content of a file says what kind it is. A mapping needs --version or --build; so does a source map, unless it
    has a debug id. Debug files are found by their own ids. Keep a source map beside its script: without the script it
    gives lines, but no functions. Uploading the same again changes nothing.
    """
    upload(wiring.settings(), files, app, version, build)


@app.command("list")
def list_command(app: App = "", format: Format = "") -> None:
    """List the stored files, newest uploads first."""
    found = questions.files(app)
    show(wiring.settings(), found.sql, found.parameters, format)


@app.command("missing")
def missing_command(
    app: App,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="UTC; a week ago by default.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=TIMES, help="UTC; now by default.")] = None,
    format: Format = "",
) -> None:
    """List the files that stacks of crashes, ANRs and exceptions lack, the most often needed first."""
    end_ms = int(time.time() * 1_000) if end is None else unix_ms(end)
    start_ms = end_ms - _WEEK_MS if start is None else unix_ms(start)
    found = questions.missing(app, start_ms, end_ms)
    show(wiring.settings(), found.sql, found.parameters, format)


@app.command("delete")
def delete_command(
    app: App,
    digest: Annotated[
        list[str] | None, typer.Option("--digest", help="The digest of a file, or the beginning of it.")
    ] = None,
    version: Version = "",
    build: Build = "",
) -> None:
    """Delete files of an app by digest, or all of a version or build, and regroup the crashes that used them."""
    delete(wiring.settings(), app, digest or (), version, build)


def upload(settings: Settings, paths: Sequence[Path], app_id: str, version: str, build: str) -> None:
    """Store what is in the paths, and group anew what it concerns.

    Blocks. Raises `CommandFailed`, once all others are stored, with the files that are refused; `NoSymbolLibrary`, and
    what the store raises.
    """
    store = wiring.store(settings)
    try:
        work = SymbolChanges(store, settings.symbols_bytes)
        with path_of("FILE", ", ".join(map(str, paths))):
            refused = work.store(_read(paths), app_id, version, build, _told)
        _group(work, app_id)
    finally:
        store.close()
    if refused:
        raise CommandFailed("; ".join(f"{each.name}: {each.why}" for each in refused))


def delete(settings: Settings, app_id: str, digests: Sequence[str], version: str, build: str) -> None:
    """Take files out, and group anew what was grouped by them. Blocks; raises as `upload`."""
    store = wiring.store(settings)
    try:
        work = SymbolChanges(store, settings.symbols_bytes)
        for file in work.delete(app_id, digests, version, build):
            print(f"deleted  {_named(file)}")
        _group(work, app_id)
    finally:
        store.close()


def _read(paths: Sequence[Path]) -> Iterator[SymbolFile | RefusedFile]:
    for path in paths:
        with path_of("FILE", path):
            path.stat()
    # Together: a script and its source map may be named one by one.
    yield from read_files(paths)


def _told(file: StoredFile, *, is_new: bool) -> None:
    print(f"{'stored' if is_new else 'is there'}  {_named(file)}", flush=True)


def _group(work: SymbolChanges, app_id: str) -> None:
    print(f"{work.group(app_id)} stored crashes, ANRs and exceptions are regrouped")


def _named(file: StoredFile) -> str:
    parts = (file.kind, file.name, file.arch, file.id or file.code_id, file.digest)
    return "  ".join(part for part in parts if part)
