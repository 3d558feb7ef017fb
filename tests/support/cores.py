"""The compiled core, for tests that hold it to Python."""

from __future__ import annotations

from types import ModuleType

from pipeline import compiled
from tests.support.stack import unavailable


def core_or_skip() -> ModuleType:
    """The core that is installed. Skips the test where there is none; in CI, fails."""
    try:
        found = compiled.core(compiled.RUST)
    except compiled.CoreMissing as error:
        unavailable(str(error))
    assert found is not None
    return found
