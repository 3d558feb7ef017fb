"""The quick lane of the suite: a test in it that is not quick fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest


def test_a_quick_test_that_is_not_quick_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(marker: object) -> None:
        clock = iter([1.0, 1.0 + conftest.QUICK_CPU_S + 0.1])
        item: Any = SimpleNamespace(get_closest_marker=lambda name: marker)
        # Not until the end of the test: this one is measured by the same clock.
        with monkeypatch.context() as patch:
            patch.setattr(conftest, "_cpu_s", lambda: next(clock))
            steps = conftest._kept_quick(item)
            next(steps)
            steps.send(None)

    with pytest.raises(pytest.fail.Exception, match=r"took 10\.1 s of CPU"):
        run(None)
    with pytest.raises(StopIteration):
        run(pytest.mark.slow)
