"""All sessions that pass a filter, for files: as CSV, as a JSON object a line, and as Parquet.

Columns are those of the view `sessions` but for the resource. Times are UTC and say so: as `2026-01-31T08:30:00.000Z`,
in Parquet as timestamps. In CSV, lists and maps are JSON, and a text that a spreadsheet takes for a formula has a `'`
before it (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pipeline.query.choice import LISTED, Choice
from pipeline.query.session_order import Order
from pipeline.query.statement import Statement

Format = Literal["csv", "ndjson", "parquet"]

_TEXT, _LIST, _PLAIN = "text", "list", "plain"
_KINDS = {"String": _TEXT, "LowCardinality": _TEXT, "Array": _LIST, "Map": _LIST}
COLUMNS: Mapping[str, str] = {
    name: _KINDS.get(type.partition("(")[0], _PLAIN) for name, type in LISTED.items()
}
"""In the order of the view: names, and how their values are written in CSV."""
SETTINGS: Mapping[str, object] = {
    "readonly": 1,
    "date_time_output_format": "iso",
    # Bounds of its own: all that match, however many, for as long as a slow reader may take. (0 would be no bound: a
    # user's profile may forbid that.)
    "max_execution_time": 3_600,
    "max_result_rows": 1_000_000_000,
    "max_result_bytes": 1_000_000_000_000,
    "cancel_http_readonly_queries_on_client_close": 1,
    # So much is written at a time, and held until then.
    "output_format_parquet_row_group_size": 50_000,
    "output_format_parquet_row_group_size_bytes": 32_000_000,
    "output_format_parquet_parallel_encoding": 0,
}
"""What ClickHouse is asked with, besides the bound on its memory (`bounded_by`)."""
FORMATS: Mapping[Format, str] = {"csv": "JSONCompactEachRow", "ndjson": "JSONEachRow", "parquet": "Parquet"}
"""In which format ClickHouse gives the rows. Those of CSV are texts, one a row, in which no error can hide."""
_FORMULA = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
"""With the wide forms, which spreadsheets of East Asia take for the same."""


def bounded_by(memory: int) -> dict[str, object]:
    """Settings for a question that may take so many bytes of memory: what is to be ordered goes to the disk before."""
    return {
        **SETTINGS,
        "max_memory_usage": memory,
        "max_bytes_before_external_sort": memory // 8,
        # By themselves they wait for 100 MB, of each thread.
        "min_external_sort_block_bytes": memory // 64,
        "max_block_size": 2_048,
    }


def export(chosen: Choice, order: Order, format: Format, limit: int | None = None) -> Statement:
    """All of the chosen sessions in this order, or the first ones; FORMATS says how to read the rows.

    In CSV each is one text, a line.
    """
    parameters = dict(chosen.parameters)
    ordered = f"FROM ({chosen.selected} {chosen.found}) ORDER BY {order.sql}"
    if limit is not None:
        ordered += " LIMIT {limit:UInt64}"
        parameters["limit"] = limit
    if format != "csv":
        return Statement(f"SELECT {', '.join(COLUMNS)} {ordered}", parameters)
    cells = ", ".join(_CELLS[kind].format(name=name) for name, kind in COLUMNS.items())
    sql = f"SELECT formatRow('CSV', {cells}) AS line {ordered}"
    return Statement(sql, {**parameters, "formula": _FORMULA})


_CELLS: Mapping[str, str] = {
    _TEXT: "if(match({name}, {{formula:String}}), concat(char(39), {name}), toString({name}))",
    _LIST: "toJSONString({name})",
    _PLAIN: "{name}",
}


def header() -> bytes:
    """The first line of CSV."""
    return ",".join(f'"{name}"' for name in COLUMNS).encode() + b"\n"
