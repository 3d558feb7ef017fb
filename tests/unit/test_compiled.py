"""Which core a setting gives, where there is one and where there is none."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import compiled
from pipeline.compiled import AUTO, MODULE, PYTHON, RUST, CoreMissing, core

FITS = SimpleNamespace(INTERFACE=compiled.INTERFACE, __version__="1.2.3")
OF_ANOTHER = SimpleNamespace(INTERFACE=compiled.INTERFACE - 1, __version__="1.2.2")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nobody has asked yet."""
    core.cache_clear()
    yield
    core.cache_clear()


@pytest.mark.parametrize("choice", [AUTO, RUST])
def test_one_that_fits_is_used(
    choice: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, FITS)
    with caplog.at_level(logging.INFO):
        assert core(choice) is core(choice) is FITS  # type: ignore[comparison-overlap]
    assert caplog.messages == [f"the compiled core is used ({MODULE} 1.2.3)"]


@pytest.mark.parametrize("there", [FITS, None], ids=["there", "missing"])
def test_python_is_python(
    there: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, there)
    with caplog.at_level(logging.INFO):
        assert core(PYTHON) is None
    assert not caplog.messages


@pytest.mark.parametrize(
    ("there", "why"),
    [(None, "cannot be imported"), (OF_ANOTHER, r"\(1\.2\.2\) is for another version")],
    ids=["missing", "of another version"],
)
def test_without_one_auto_says_so_once_and_rust_is_an_error(
    there: Any, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, there)
    with caplog.at_level(logging.INFO):
        assert core(AUTO) is core(AUTO) is None
    [said] = caplog.messages
    assert said.startswith("everything runs in Python") and "pip install ./pipeline/core" in said
    with pytest.raises(CoreMissing, match=f"PIPELINE_CORE is rust, but .*{why}.*pip install ./pipeline/core"):
        core(RUST)
