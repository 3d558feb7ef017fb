"""The compiled core, for tests that hold it to Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import cycle
from types import ModuleType
from typing import Any

import pytest

from pipeline import compiled
from pipeline.state.compiled_partition import partitions_by
from pipeline.state.partition import Partition


def core_or_skip() -> ModuleType:
    """The core that is installed. Skips the test where there is none; in CI, fails."""
    try:
        found = compiled.core(compiled.RUST)
    except compiled.CoreMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        # There are hundreds of these tests, with a line each.
        pytest.skip("There is no compiled core.")
    assert found is not None
    return found


def by_turns() -> Callable[..., Partition]:
    """Makes partitions with the compiled core and in Python by turns, so that each goes on from what the other left.
    (Where there is no core all are in Python; in CI that fails.)"""
    try:
        core = compiled.core(compiled.RUST)
    except compiled.CoreMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        return Partition
    makes = cycle((partitions_by(core), Partition))

    def made(*given: Any, **named: Any) -> Partition:
        return next(makes)(*given, **named)

    return made


def both_cores(module: str) -> Any:
    """A fixture for a module of tests: each of them runs with the `Partition` that it imported, and once more with one
    that has the compiled core. (Where there is none that is skipped; in CI it fails.)"""

    @pytest.fixture(params=["python", "rust"], autouse=True)
    def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param == "rust":
            monkeypatch.setattr(sys.modules[module], "Partition", partitions_by(core_or_skip()))

    return core
