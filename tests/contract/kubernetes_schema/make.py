"""Writes the schemas beside it: what Kubernetes, KEDA and the Prometheus operator take of the kinds in the chart.

    pip install kubernetes-validate==1.37.0
    pip install cloudcoil-models-keda==2.20.2.1 cloudcoil-models-prometheus-operator==0.93.1.1
    python tests/contract/kubernetes_schema/make.py

Those packages have 108 MB of schemas and models of all kinds and versions: too much for all who run the tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as monitoring

HERE = Path(__file__).parent
KUBERNETES = "1.36"
KINDS = {
    "ConfigMap": "configmap-v1",
    "Deployment": "deployment-apps-v1",
    "HorizontalPodAutoscaler": "horizontalpodautoscaler-autoscaling-v2",
    "Ingress": "ingress-networking-v1",
    "Job": "job-batch-v1",
    "NetworkPolicy": "networkpolicy-networking-v1",
    "PersistentVolumeClaim": "persistentvolumeclaim-v1",
    "PodDisruptionBudget": "poddisruptionbudget-policy-v1",
    "Service": "service-v1",
    "ServiceAccount": "serviceaccount-v1",
    "StatefulSet": "statefulset-apps-v1",
}


def bare(schema: Any) -> Any:
    """Without descriptions, and with references into this document."""
    if isinstance(schema, list):
        return [bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        return {"$ref": "#/definitions/" + schema["$ref"].rpartition("/")[2]}
    if "properties" in schema and isinstance(schema["properties"], dict):
        kept = {name: bare(each) for name, each in schema["properties"].items()}
        return {
            **{
                key: bare(each)
                for key, each in schema.items()
                if key not in ("description", "properties", "$schema", "$id")
            },
            "properties": kept,
        }
    return {key: bare(each) for key, each in schema.items() if key not in ("description", "$schema", "$id")}


def references(schema: Any) -> set[str]:
    """The definitions that it refers to."""
    if isinstance(schema, list):
        return set().union(*map(references, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    found = set().union(*map(references, schema.values())) if schema else set()
    if isinstance(schema.get("$ref"), str):
        found.add(schema["$ref"].rpartition("/")[2])
    return found


def of_kubernetes() -> dict[str, Any]:
    """The kinds above, strictly: a field that is unknown is refused."""
    folder = (
        Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
    )
    known = json.loads((folder / "_definitions.json").read_text())["$defs"]
    definitions = {
        kind: bare(json.loads((folder / f"{name}.json").read_text())) for kind, name in KINDS.items()
    }
    wanted = references(definitions)
    while wanted - definitions.keys():
        for name in wanted - definitions.keys():
            definitions[name] = bare(known[name])
        wanted = references(definitions)
    return {"definitions": definitions}


def strict(schema: Any) -> Any:
    """A field that is unknown is refused; what may be left out may not be null."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: strict(each) for key, each in schema.items() if key not in ("title", "default", "description")
    }
    if {"type": "null"} in made.get("anyOf", ()):
        others = [each for each in made["anyOf"] if each != {"type": "null"}]
        made = others[0] if len(others) == 1 else {"anyOf": others}
    if "pattern" in made:
        # Python takes flags at the start alone.
        made["pattern"] = made["pattern"].replace("^(?i)", "(?i)^")
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
        made.setdefault("additionalProperties", False)
    return made


def of_operators() -> dict[str, Any]:
    """ScaledObject, ServiceMonitor and PrometheusRule, made of the definitions of their authors."""
    definitions: dict[str, Any] = {}
    for kind, model in (
        ("ScaledObject", keda.ScaledObject),
        ("ServiceMonitor", monitoring.ServiceMonitor),
        ("PrometheusRule", monitoring.PrometheusRule),
    ):
        definitions[kind] = strict(
            model.model_json_schema(by_alias=True, ref_template=f"#/definitions/{kind}/$defs/{{model}}")
        )
    return {"definitions": definitions}


if __name__ == "__main__":
    for name, made in (("kubernetes", of_kubernetes), ("operators", of_operators)):
        text = json.dumps(made(), sort_keys=True, separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
