"""The compiled core, for tests that hold it to Python."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from pipeline import compiled
from pipeline.state.compiled_partition import partitions_by
from tests.support.stack import unavailable


def core_or_skip() -> ModuleType:
    """The core that is installed. Skips the test where there is none; in CI, fails."""
    try:
        found = compiled.core(compiled.RUST)
    except compiled.CoreMissing as error:
        unavailable(str(error))
    assert found is not None
    return found


def both_cores(module: str) -> Any:
    """A fixture for a module of tests: each of them runs with the `Partition` that it imported, and once more with one
    that has the compiled core. (Where there is none that is skipped; in CI it fails.)"""

    @pytest.fixture(params=["python", "rust"], autouse=True)
    def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param == "rust":
            monkeypatch.setattr(sys.modules[module], "Partition", partitions_by(core_or_skip()))

    return core
