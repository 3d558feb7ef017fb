"""The Helm chart as Helm itself renders it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.support.deploy_tools import helm

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "session-pipeline"
VALUES = tuple(
    sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
)
RELEASE = "try"
KUBERNETES = "1.36.0"
"""That of the schemas; what Helm takes for given by default is as old as its build."""

Manifest = Mapping[str, Any]


class Refused(RuntimeError):
    """Helm does not render it; the text says why."""


@cache
def rendered(name: str, *options: str) -> Sequence[Manifest]:
    """The manifests with the values of ci/NAME-values.yaml, hooks among them. Blocks. Raises Unavailable, Refused."""
    return template("--values", str(CHART / "ci" / f"{name}-values.yaml"), *options)


def template(*options: str, release: str | None = RELEASE) -> Sequence[Manifest]:
    """The manifests; without a release `options` name one. Blocks. Raises Unavailable, Refused."""
    done = run(
        "template", *([release] if release else []), str(CHART), "--kube-version", KUBERNETES, *options
    )
    if done.returncode:
        raise Refused(done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `helm` does and says; blocks. Raises Unavailable."""
    return subprocess.run(
        [str(helm()), *arguments], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in kinds]


def component(manifest: Manifest) -> str:
    found: str = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
    return found


def pods(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """Component to what its pods are made of: `metadata` and `spec`."""
    made = {component(each): each for each in of_kind(manifests, "Pod")}
    owners = of_kind(manifests, "StatefulSet", "Deployment", "Job")
    return {**made, **{component(each): each["spec"]["template"] for each in owners}}


def container(pod: Manifest) -> Manifest:
    """The one container of a pod."""
    (found,) = pod["spec"]["containers"]
    result: Manifest = found
    return result


def environment(pod: Manifest, secrets: Mapping[str, str], pod_name: str = "pod-0") -> dict[str, str]:
    """The variables in the container, where a Secret's value is that of `secrets` under the variable's own name."""
    found = {}
    for each in container(pod)["env"]:
        if "value" in each:
            found[each["name"]] = each["value"]
        elif "secretKeyRef" in each["valueFrom"]:
            found[each["name"]] = secrets[each["name"]]
        else:
            assert each["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
            found[each["name"]] = pod_name
    return found


def value(path: str, values: Mapping[str, Any]) -> Any:
    """What stands at a path like `sink.autoscaling.max` in values; KeyError if nothing does."""
    here: Any = values
    for part in re.split(r"\.", path):
        here = here[part]
    return here
