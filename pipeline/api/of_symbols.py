"""Files of symbols: which there are, and which are missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from msgspec import Struct

from pipeline.api.body import received
from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest
from pipeline.api.outside import Outside
from pipeline.api.parameters import ANY_APP, APP, Parameter, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Time, all_shaped
from pipeline.dashboard.reader import NotAnsweredNow
from pipeline.query import symbols

_DAYS = 7
_NAME = re.compile(r"(?!\.{1,2}$)[^/\\\0-\x1f]+")
_MOST_NAME_BYTES = 200
_FEWEST_DIGITS = 4
_AT_ONCE = 2
"""Uploads that come in."""
_T = TypeVar("_T")


class ApiSymbolFile(Struct, kw_only=True):
    """A file that says what addresses or short names are called in the source."""

    app_id: str
    kind: str
    app_version: str
    app_build: str
    id: str
    code_id: str
    arch: str
    name: str
    digest: str
    size: Count
    kept_bytes: Count
    uploaded_at: Time


class SymbolFileList(Struct, kw_only=True):
    """The stored files, newest uploads first."""

    items: list[ApiSymbolFile]


class MissingFile(Struct, kw_only=True):
    """A file without which stacks cannot be read."""

    kind: str
    id: str
    name: str
    arch: str
    app_version: str
    app_build: str
    crashes: Count
    devices: Count
    last_seen: Time


class MissingFiles(Struct, kw_only=True):
    """The most often needed first."""

    range: ApiRange
    items: list[MissingFile]


async def files(asked: ApiRequest) -> SymbolFileList:
    """Of an app, or of all that the key may see."""
    app = asked.values["app"]
    rows = await asked.reader.rows(symbols.files(asked.require_app(app) if app else ""))
    return SymbolFileList(
        items=all_shaped(ApiSymbolFile, [row for row in rows if asked.may_see(row["app_id"])])
    )


async def missing(asked: ApiRequest) -> MissingFiles:
    """Of the stacks in a range."""
    looked = await asked.looked(_DAYS)
    rows = await asked.reader.rows(symbols.missing(*looked.span))
    return MissingFiles(range=looked.range, items=all_shaped(MissingFile, rows))


class StoredSymbols(Struct, kw_only=True):
    """What an upload brought."""

    items: list[ApiSymbolFile]
    """What was there already counts as well."""
    grouped: Count
    """Crashes, ANRs and exceptions that are grouped anew."""


class DeletedSymbols(Struct, kw_only=True):
    """What was deleted."""

    items: list[ApiSymbolFile]
    grouped: Count
    """Crashes, ANRs and exceptions that are grouped anew."""


async def upload(asked: ApiRequest) -> StoredSymbols:
    """One file, or an archive of some."""
    outside, request, values = asked.outside, asked.request, asked.values
    changes, name = outside.changes, values["name"]
    app = asked.require_app(values["app"])
    if changes is None or request is None:
        raise RequestRefused("not-allowed", "Nothing can be changed here.")
    if not _NAME.fullmatch(name) or len(name.encode()) > _MOST_NAME_BYTES:
        raise RequestRefused(
            "bad-request", "`name` must be the name of a file, without folders.", {"parameter": "name"}
        )
    if outside.receiving >= _AT_ONCE:
        raise NotAnsweredNow("Other uploads are in progress; try again once one of them is done.")
    outside.receiving += 1
    try:
        async with received(request, name, changes.most_bytes) as file:
            told = await _alone(
                outside, changes.upload, file, app, values["version"] or "", values["build"] or ""
            )
    finally:
        outside.receiving -= 1
    if told.refused:
        why = "; ".join(f"{each.name}: {each.why}" for each in told.refused)
        raise RequestRefused(
            "refused-file", f"{why[:4_000]} ({len(told.stored)} others are stored)",
            {"refused": list(told.refused)},
        )  # fmt: skip
    return StoredSymbols(items=all_shaped(ApiSymbolFile, told.stored), grouped=told.grouped)


async def delete(asked: ApiRequest) -> DeletedSymbols:
    """By digest, or all of a version or build."""
    outside, values = asked.outside, asked.values
    app, digests = asked.require_app(values["app"]), values["digest"] or ()
    if outside.changes is None:
        raise RequestRefused("not-allowed", "Nothing can be changed here.")
    if not (digests or values["version"] or values["build"]):
        raise RequestRefused("bad-request", "Say which: `digest`, `version` or `build`.")
    if any(len(each) < _FEWEST_DIGITS for each in digests):
        raise RequestRefused(
            "bad-request", "`digest`: give at least four of its digits.", {"parameter": "digest"}
        )
    rows, grouped = await _alone(
        outside, outside.changes.delete, app, digests, values["version"] or "", values["build"] or ""
    )
    return DeletedSymbols(items=all_shaped(ApiSymbolFile, rows), grouped=grouped)


async def _alone(outside: Outside, work: Callable[..., _T], *given: object) -> _T:
    """What it gives, in a thread, one after the other: each may take much memory, and groups crashes anew."""
    # Once begun it goes on to its end, also if whoever asked is gone.
    outside.turns = outside.turns or CapacityLimiter(1)
    return await to_thread.run_sync(lambda: work(*given), limiter=outside.turns)


_VERSION = Parameter("version", "The app's version, as its events have it.", least=1)
_BUILD = Parameter("build", "The app's build, as its events have it.", least=1)
_OF_APP = Parameter("app", "The app's id, as its events have it.", least=1, is_required=True)
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/symbols", "listSymbols", "The symbol files that are stored", SymbolFileList, files, (ANY_APP,),
        group="Symbols",
    ),
    ApiEndpoint(
        "/symbols", "uploadSymbols", "Store a symbol file, and regroup the crashes that it makes readable",
        StoredSymbols, upload,
        (
            _OF_APP, _VERSION, _BUILD,
            Parameter("name", "Of the file: `mapping.txt`, `App.dSYM.zip`, `bundle.js.map`.", least=1,
                      most=_MOST_NAME_BYTES, is_required=True),
        ),
        "The body is the file, or a zip archive of several (a dSYM, scripts with their source maps). Its "
        "content says what it is. A mapping needs `version` or `build`; so does a source map, unless it has a debug "
        "id. The answer comes once crashes are regrouped, which takes some seconds or more. Sending the same file "
        "again changes nothing. Same as `session-pipeline symbols upload`.",
        "Symbols", method="POST", takes_file=True, problems=("too-large", "refused-file"),
    ),
    ApiEndpoint(
        "/symbols", "deleteSymbols", "Delete symbol files, and regroup the crashes that used them",
        DeletedSymbols, delete,
        (
            _OF_APP, _VERSION, _BUILD,
            Parameter("digest", "Digests of files, or the beginnings of digests.", "list"),
        ),
        "By digest, or all of a version or build.", "Symbols", method="DELETE",
    ),
    ApiEndpoint(
        "/symbols/missing", "listMissingSymbols", "Symbol files that the stacks of a range lack",
        MissingFiles, missing, (APP, *span(f"{_DAYS} days before the newest session")), group="Symbols",
    ),
)  # fmt: skip
