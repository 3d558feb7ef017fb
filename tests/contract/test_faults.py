"""What `python -m tests.faults` recorded: what is said of each fault, the alerts that it fires, and the document."""

from __future__ import annotations

import re

import pytest

from tests.faults import document
from tests.faults.recording import Recording, ask_promtool, load_all, rule_test
from tests.faults.scenarios import SCENARIOS
from tests.support.prometheus_rules import ALERTS
from tests.support.services import Unavailable
from tests.support.stack import unavailable

PLAN = {scenario.name: place for place, scenario in enumerate(SCENARIOS)}
RECORDINGS = sorted(load_all(), key=lambda each: PLAN[each.name])
NAMES = [each.name for each in RECORDINGS]
HARMLESS = {"normal", "scale", "kill-router", "kill-sessionizer", "kill-sink"}
"""Nobody is to be woken by them."""


def test_every_fault_was_recorded() -> None:
    assert list(PLAN) == NAMES


@pytest.mark.parametrize("recording", RECORDINGS, ids=NAMES)
def test_cause_and_remedy_are_named(recording: Recording) -> None:
    assert recording.remedy or recording.name == "normal"
    assert re.search(recording.cause, recording.words)
    assert re.search(recording.remedy, recording.words)


def test_each_alert_is_fired_by_a_recording_and_none_by_what_is_harmless() -> None:
    fired = {name for recording in RECORDINGS for name in recording.alerts}
    assert fired == {alert["alert"] for alert in ALERTS}
    assert {each.name: each.alerts for each in RECORDINGS if each.name in HARMLESS and each.alerts} == {}


@pytest.mark.parametrize("recording", RECORDINGS, ids=NAMES)
def test_promtool_fires_these_alerts_and_no_others(recording: Recording) -> None:
    try:
        done = ask_promtool(rule_test(recording))
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_document_says_what_was_recorded() -> None:
    assert document.FILE.read_text(encoding="utf-8") == document.render(RECORDINGS)
