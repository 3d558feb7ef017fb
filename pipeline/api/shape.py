"""Rows of ClickHouse as the API gives them: whole numbers as such, times as RFC 3339 in UTC with milliseconds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

_T = TypeVar("_T", bound=Struct)

_TIME = Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-05T12:30:45.365Z"])
_ID = Meta(extra_json_schema={"format": "uuid"})
Time = Annotated[str, _TIME]
"""UTC, with milliseconds."""
Id = Annotated[str, _ID]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0)]
"""From 0 to 1."""


class Removal(Struct, kw_only=True):
    """What was removed."""

    name: str
    was_there: bool


_OF_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("String", "LowCardinality(String)"), str),
    "UUID": Id,
    "Bool": bool,
    "DateTime64(3, 'UTC')": Time,
    **dict.fromkeys(("UInt8", "UInt16", "UInt32", "UInt64"), Count),
    "Float64": Annotated[float, Meta(ge=0)],
    **dict.fromkeys(("Array(String)", "Array(LowCardinality(String))"), list[str]),
    "Map(LowCardinality(String), String)": dict[str, str],
}
"""How a value of a type of ClickHouse stands in the API."""


def struct_of(name: str, columns: Mapping[str, str], *, key: str, module: str) -> type[Struct]:
    """An object with columns of ClickHouse, by name and type. All but the key may be left out."""
    rest = [(column, _OF_TYPES[type] | UnsetType, UNSET) for column, type in columns.items() if column != key]
    return defstruct(name, [(key, _OF_TYPES[columns[key]]), *rest], kw_only=True, module=module)


def time_of(ms: int) -> str:
    """A time (Unix ms) as the API gives it."""
    return f"{datetime.fromtimestamp(ms // 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03}Z"


def shaped(type: type[_T], row: Mapping[str, Any], **more: object) -> _T:
    """A row, and what else belongs to it, as an object of the API; what the object does not have is left out."""
    values = {**row, **more}
    for name in _times(type):
        at = values.get(name)
        if isinstance(at, str) and not at.endswith("Z"):
            values[name] = _rfc3339(at)
    return msgspec.convert(values, type, strict=False)


def all_shaped(type: type[_T], rows: Sequence[Mapping[str, Any]]) -> list[_T]:
    """Each of some rows."""
    return [shaped(type, row) for row in rows]


def _rfc3339(text: str) -> str:
    """ClickHouse's `2026-01-05 08:12:00.967`, or without the fraction."""
    day, _, clock = text.partition(" ")
    whole, _, fraction = clock.partition(".")
    return f"{day}T{whole}.{fraction[:3]:0<3}Z"


@cache
def _times(type: type[Struct]) -> tuple[str, ...]:
    hints = get_type_hints(type, include_extras=True)
    return tuple(name for name, hint in hints.items() if _is_time(hint))


def _is_time(hint: Any) -> bool:
    return any(
        part is _TIME or _is_time(part) for part in (*get_args(hint), *getattr(hint, "__metadata__", ()))
    )
