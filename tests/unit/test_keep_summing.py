"""The loop that sums the ledger: every hour or so, all that is due, and an hour later again if ClickHouse is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.clickhouse.store import StatementFailed, Unreachable
from pipeline.roles import ledger_sums


class Ended(Exception):
    """Stands for the end of the sink."""


def test_it_sums_all_that_is_due_and_outlives_what_clickhouse_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two ranges are due, then ClickHouse is away, then it refuses, then nothing is due."""
    answers: list[Any] = [
        True,
        True,
        False,
        Unreachable("away"),
        True,
        StatementFailed("no such table"),
        False,
    ]
    slept: list[tuple[float, int]] = []

    async def sleep(seconds: float) -> None:
        slept.append((seconds, len(answers)))
        if not answers:
            raise Ended

    def sum_some(store: object) -> bool:
        assert store == "store"
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    monkeypatch.setattr(ledger_sums, "sum_some", sum_some)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(Ended):
        asyncio.run(ledger_sums.keep_summing("store"))  # type: ignore[arg-type]
    # It sleeps first, and whenever there is nothing left or ClickHouse does not answer.
    assert [left for _, left in slept] == [7, 4, 3, 1, 0]
    assert all(1_800 <= seconds <= 5_400 for seconds, _ in slept)
    assert len({seconds for seconds, _ in slept}) > 1, "sinks that were started together part"
    assert [record.getMessage() for record in caplog.records] == [
        "the ledger's sums of yesterday have to wait for an hour: away",
        "the ledger's sums of yesterday have to wait for an hour: no such table",
    ]
