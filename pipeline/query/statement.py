"""SQL with its values apart: nothing that a user types is ever pasted into a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Statement:
    """One query, or a part of one (a condition)."""

    sql: str
    """With ClickHouse's placeholders, `{name:Type}`."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """By placeholder name, Python values as clickhouse-connect binds them."""
