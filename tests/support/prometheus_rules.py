"""The rules of deploy/prometheus/alerts.yaml, and the series that they can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from pipeline.receive.metrics import ReceiveMetrics
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.roles.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]


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
