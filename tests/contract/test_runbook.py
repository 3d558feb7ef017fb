"""What the runbook names is there: alerts, sections, files, commands with their options, settings and metrics."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from pipeline.cli import app
from pipeline.settings import PREFIX
from tests.support.prometheus_rules import ALERTS, SERIES
from tests.support.runbook import DOCUMENT, ROOT, sections

SECTIONS = sections()
TEXT = DOCUMENT.read_text(encoding="utf-8")
SCREEN_LINES = 45
"""Of what is read at night before something is done."""


def anchor_of(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", [alert["alert"] for alert in ALERTS])
def test_an_alert_has_its_screen(name: str) -> None:
    text = SECTIONS[name]
    assert text.lstrip().startswith("**Cause.**"), "the cause comes first"
    assert "**Do.**" in text
    assert len(text.splitlines()) <= SCREEN_LINES
    assert f"(#{name.lower()})" in SECTIONS["Alerts"]


def test_links_lead_somewhere() -> None:
    anchors = {anchor_of(heading) for heading in SECTIONS}
    links = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        assert (ROOT / "deploy" / file).exists() if file else anchor in anchors, link


def commands() -> list[str]:
    """Each `session-pipeline …` in a block or in a sentence."""
    found = re.findall(r"`session-pipeline ([^`]+)`", TEXT.replace("\n", " "))
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL):
        found += re.findall(r"^session-pipeline (.+)$", block.replace("\\\n", " "), re.MULTILINE)
    return sorted({" ".join(each.split()) for each in found})


@pytest.mark.parametrize("command", commands())
def test_a_command_and_its_options_exist(command: str) -> None:
    if command.startswith("query"):
        command = command.partition('"')[0]  # its SQL is run by tests/integration/test_backup.py
    found: Any = typer.main.get_command(app)
    options: set[str] = set()
    for word in shlex.split(command.replace("…", ""), comments=True):
        if word.startswith("-"):
            options.add(word)
        elif isinstance(found, TyperGroup):
            inner = found.get_command(None, word)
            assert inner, f"{command}: there is no command {word}"
            found = inner
    known = {name for parameter in found.params for name in parameter.opts}
    assert options <= known, command


def test_settings_and_metrics_exist() -> None:
    settings = (ROOT / "deploy" / "SETTINGS.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"{PREFIX}\w+", TEXT))
    assert named and {name for name in named if f"`{name}`" not in settings} == set()
    metrics = set(re.findall(r"\bpipeline_[a-z_]+", TEXT))
    assert metrics and {name for name in metrics if name not in SERIES} == set()


def test_tests_that_are_named_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert named and all((ROOT / Path(name)).exists() for name in named)
