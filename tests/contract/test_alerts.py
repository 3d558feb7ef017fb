"""Alerts name metrics, labels and places of the runbook that exist; `promtool` runs their test."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.prometheus_rules import ALERTS, ROOT, RULES, SERIES
from tests.support.promtool import run_promtool

TEST = ROOT / "tests" / "prometheus" / "alerts.test.yaml"
_ADDED = {"instance", "alertname", "alertstate"}
"""Labels that Prometheus itself adds."""


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_what_an_alert_names_is_there(alert: dict[str, Any]) -> None:
    expression = alert["expr"]
    named = set(re.findall(r"\bpipeline_\w+", expression))
    assert named and named <= SERIES.keys()
    labels = set().union(*(SERIES[name] for name in named)) | _ADDED
    used = set(re.findall(r"(\w+)=~?\"", expression)) | {
        label.strip()
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression)
        for label in group.split(",")
        if label.strip()
    }
    texts = " ".join(alert["annotations"].values())
    assert used | set(re.findall(r"\$labels\.(\w+)", texts)) <= labels
    for name in re.findall(r"PIPELINE_[A-Z_]+", texts):
        assert f"`{name}`" in (ROOT / "deploy" / "SETTINGS.md").read_text()
    assert alert["labels"]["severity"] in ("page", "warning")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_runbook_goes_on(alert: dict[str, Any]) -> None:
    document, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    titles = re.findall(r"^## (.+)$", (ROOT / "deploy" / document).read_text(), re.M)
    assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_alert_is_set_off_by_its_test_and_not_by_good_order() -> None:
    tests = yaml.safe_load(TEST.read_text())["tests"]
    names = {alert["alert"] for alert in ALERTS}
    assert {case["alertname"] for case in tests[0]["alert_rule_test"]} == names
    fired = " ".join(
        case["expr"] for test in tests[1:] for case in test["promql_expr_test"] if case["exp_samples"]
    )
    assert {name for name in names if f'"{name}"' not in fired} == set()


@pytest.mark.slow
def test_promtool_agrees() -> None:
    run_promtool("check", "rules", str(RULES))
    run_promtool("test", "rules", str(TEST))
