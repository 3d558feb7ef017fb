"""What a question answers, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.clickhouse.store import Store


def rows_of(store: Store, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All rows, each by the names of its columns. Blocks; raises what the store raises."""
    return [orjson.loads(line) for line in store.query(sql, parameters).splitlines()]
