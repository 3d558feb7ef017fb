"""Files of symbols: which there are, and which are missing."""

from __future__ import annotations

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest
from pipeline.api.parameters import ANY_APP, APP, span
from pipeline.api.shape import Count, Time, all_shaped
from pipeline.query import symbols

_DAYS = 7


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
    """Those that were uploaded last first."""

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


ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/symbols", "listSymbols", "Files of symbols that there are", SymbolFileList, files, (ANY_APP,),
        group="Symbols",
    ),
    ApiEndpoint(
        "/symbols/missing", "listMissingSymbols", "Files that the stacks of a range cannot be read without",
        MissingFiles, missing, (APP, *span(f"{_DAYS} days before the newest session")), group="Symbols",
    ),
)  # fmt: skip
