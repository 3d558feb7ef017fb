"""The compiled core (`pipeline/core`, a distribution of its own): the one place that imports it.

Without it everything is done in Python, which is the definition. With it the same bytes come out, sooner.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

from pipeline.errors import Terminal

MODULE = "session_pipeline_core"
INTERFACE = 8
"""Of what is called of the core: one that was built for another version of this program is not used."""
AUTO, PYTHON, RUST = "auto", "python", "rust"

log = logging.getLogger(__name__)


class CoreMissing(Terminal):
    """The compiled core is asked for, and is not there."""


@cache
def core(choice: str = AUTO) -> ModuleType | None:
    """The core for a choice (the setting `core`); None: Python does it all. Said once in the log. Raises
    `CoreMissing`."""
    if choice == PYTHON:
        return None
    found, why = _found()
    if found is not None:
        log.info("the compiled core is used (%s %s)", MODULE, found.__version__)
        return found
    remedy = "`pip install ./pipeline/core`, in a checkout of the sources, builds one that fits (Rust 1.88 or later)"
    if choice == RUST:
        raise CoreMissing(f"PIPELINE_CORE is rust, but {why}: {remedy}; or set PIPELINE_CORE=auto")
    log.info("everything runs in Python, since %s. It does the same more slowly: %s", why, remedy)
    return None


def _found() -> tuple[ModuleType | None, str]:
    """The core that fits, or why there is none."""
    try:
        found = import_module(MODULE)
    except ImportError as error:
        return None, f"the compiled core cannot be imported ({error})"
    if getattr(found, "INTERFACE", None) != INTERFACE:
        said = getattr(found, "__version__", "of no version")
        return None, f"the compiled core that is installed ({said}) is for another version of this program"
    return found, ""
