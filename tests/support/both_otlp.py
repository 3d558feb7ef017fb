"""Records of a format by the compiled core and by Python: the same envelopes, the same refusals."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

from pipeline.formats.format import NOTHING_BESIDE, Beside, Format
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from tests.support.cores import core_or_skip


class BothCores:
    """One format, translated in both ways. Skips the test where there is no core; in CI, fails."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self.left: Counter[str] = Counter()
        """How many records the core left to Python, by why."""
        self.by_core = self.with_core(core_or_skip())

    def with_core(self, core: ModuleType) -> Any:
        """What translates with the core; what it leaves is counted here."""
        assert self._format.with_core is not None
        return self._format.with_core(core, lambda why, count: self.left.update({why: count}))

    def check(
        self, value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE
    ) -> Translation | Rejected:
        """What both make of it. Raises `AssertionError` where they differ."""
        assert self._format.translate is not None
        by_python = self._format.translate(value, record_ms, beside)
        by_core = self.by_core(value, record_ms, beside)
        assert by_core == by_python, "the core translates as Python does"
        return by_python
