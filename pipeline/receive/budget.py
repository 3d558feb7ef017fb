"""How many bytes of bodies may be held at once."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.receive.refusal import busy


class Budget:
    """A bound on bytes, of all bodies together, from their arrival until Kafka has their records."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def lease(self) -> Lease:
        """A share of it, of no bytes yet."""
        return Lease(self)


class Lease:
    """What one request holds of the budget. To be closed in any case."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0
        self._is_handed_on = False

    def hold(self, size: int) -> None:
        """Hold so many bytes in all. Raises `NotTaken` (429) where there is no room for that."""
        more = size - self._bytes
        if self._budget.used + more > self._budget.total:
            raise busy()
        self._budget.used += more
        self._bytes = size

    def handed_on(self) -> Callable[[], None]:
        """What ends it from now on: whoever has the bytes calls it, and `close` does nothing."""
        self._is_handed_on = True
        return self._give_back

    def close(self) -> None:
        """Give back what it holds, unless it was handed on. Harmless twice."""
        if not self._is_handed_on:
            self._give_back()

    def _give_back(self) -> None:
        self._budget.used -= self._bytes
        self._bytes = 0
