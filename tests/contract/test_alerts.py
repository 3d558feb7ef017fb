"""Alerts name metrics, labels and places of the runbook that exist; `promtool` runs their test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from pipeline.receive.metrics import ReceiveMetrics
from pipeline.roles.alert_metrics import AlertMetrics
from pipeline.roles.metrics import Metrics
from tests.contract.test_grafana import run_promtool

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
TEST = ROOT / "tests" / "prometheus" / "alerts.test.yaml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
_ADDED = {"instance", "alertname", "alertstate"}
"""Labels that Prometheus itself adds."""


def series(*registries: CollectorRegistry) -> dict[str, set[str]]:
    """The names of all series, with their labels."""
    found = {}
    for registry in registries:
        for family in registry.collect():
            if not family.name.startswith("pipeline"):
                continue
            labels = set(getattr(registry._names_to_collectors[family.name], "_labelnames", ()))
            found[family.name] = labels
            if family.type == "counter":
                found[f"{family.name}_total"] = labels
            if family.type == "histogram":
                found |= {f"{family.name}_{part}": labels | {"le"} for part in ("bucket", "sum", "count")}
    return found


SERIES = series(Metrics().registry, ReceiveMetrics().registry, AlertMetrics().registry)


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
