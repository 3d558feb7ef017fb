"""What a broker that is busy says of rights is asked again: it was taken for one that does not tell."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.kafka import allowed

_READ, _LOADS, _NOT_AVAILABLE, _MOVED, _DENIED = 1 << 3, 14, 15, 16, 30
_NOT_TOLD = -(1 << 31)


class BusyClient:
    """Answers with these codes one after the other, and then with the operations."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)

    async def coordinator_lookup(self, kind: int, group: str) -> int:
        del kind, group
        return 1

    async def send(self, node: int, request: Any) -> Any:
        del node, request
        code = self._codes.pop(0) if self._codes else 0
        return SimpleNamespace(groups=[(code, "group", "", _NOT_TOLD if code else _READ)])


@pytest.mark.parametrize(
    ("codes", "operations"),
    [
        ((), {"Read"}),
        ((_LOADS, _LOADS), {"Read"}),
        ((_NOT_AVAILABLE, _MOVED), {"Read"}),
        ((_LOADS, _DENIED), set()),
    ],
)
def test_a_group_whose_broker_is_busy_is_asked_again(
    codes: tuple[int, ...], operations: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowed, "_RETRY_S", 0.0)
    assert asyncio.run(allowed._of_group(BusyClient(*codes), "group")) == operations


def test_it_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowed, "_PATIENCE_S", 0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(allowed._of_group(BusyClient(*[_LOADS] * 10_000), "group"))
