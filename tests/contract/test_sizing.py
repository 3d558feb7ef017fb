"""deploy/SIZING.md says what was measured: it is written by its command from the figures that are kept."""

from __future__ import annotations

import json
import re

from tests.bench.sizing import DOCUMENT, HERE, KEPT, render


def test_the_document_follows_from_the_figures() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(json.loads(KEPT.read_text(encoding="utf-8")))


def test_its_commands_exist() -> None:
    commands = re.findall(
        r"`python -m (tests\.bench[\w.]*)(?: --only (\w+))?", DOCUMENT.read_text(encoding="utf-8")
    )
    assert commands
    plan = (HERE / "__main__.py").read_text(encoding="utf-8")
    for module, only in commands:
        path = HERE.parents[1] / module.replace(".", "/")
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists(), module
        assert not only or f'"{only}":' in plan, only
