"""deploy/METRICS.md has every metric with its labels and meaning, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.receive.metrics import ReceiveMetrics
from pipeline.roles.alert_metrics import AlertMetrics
from pipeline.roles.metrics import Metrics

DOCUMENT = (Path(__file__).resolve().parents[2] / "deploy" / "METRICS.md").read_text()
_ENDINGS = {"counter": "_total", "info": "_info"}


@pytest.mark.parametrize(
    ("title", "registry"),
    [
        ("Workers", Metrics().registry),
        ("`receive`", ReceiveMetrics().registry),
        ("`alerts run`", AlertMetrics().registry),
    ],
    ids=["workers", "receive", "alerts"],
)
def test_every_metric_is_told_of(title: str, registry: CollectorRegistry) -> None:
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S)
    told = set(re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*?) ?\| (.*) \|$", section, re.M))
    there = set()
    for family in registry.collect():
        if family.name.startswith("pipeline"):
            labels = getattr(registry._names_to_collectors[family.name], "_labelnames", ())
            name = family.name + _ENDINGS.get(family.type, "")
            there.add((name, family.type, ", ".join(labels), family.documentation))
    assert told == there
