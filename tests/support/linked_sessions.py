"""How many sessions a link of the dashboard leads to."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from pipeline.dashboard.address import SessionChoice
from pipeline.query.filters.text_form import parse
from pipeline.query.sessions import choose
from tests.dashboard.stage import Stage

RANGE = {"from": "2026-01-01", "to": "2026-03-01"}


def counted(stage: Stage, address: str) -> int:
    """The sessions that an address lists."""
    told = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    choice = SessionChoice.of(told)
    assert choice.start_ms is not None and choice.end_ms is not None and choice.filter
    chosen = choose(choice.app, parse(choice.filter), choice.start_ms, choice.end_ms)
    (row,) = stage.query(f"SELECT count() AS sessions {chosen.found}", **chosen.parameters)
    return int(row["sessions"])
