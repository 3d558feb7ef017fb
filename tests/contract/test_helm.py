"""The Helm chart: rendered by Helm, held to Kubernetes' own schemas, to the program, and to what is beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import typer
import yaml  # type: ignore[import-untyped]

from pipeline import __version__, cli
from pipeline.commands.dashboard import hosts_of
from pipeline.dashboard.guard import OPEN_PATHS
from pipeline.kafka import writer as kafka_writer
from pipeline.query.alerts.rules import read_rules
from pipeline.receive import server
from pipeline.receive.app import _HEALTH
from pipeline.roles import pages, topology
from pipeline.roles.health import Health
from pipeline.roles.metrics import Metrics
from pipeline.roles.topology import ROLES
from pipeline.settings import Settings, load, variables
from pipeline.streaming import faust_app
from tests.support import chart
from tests.support.chart import CHART, VALUES, Manifest, component, container, of_kind, pods
from tests.support.compose import DOCKERFILE
from tests.support.services import Unavailable
from tests.support.stack import unavailable

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "kubernetes_schema"
SERVING = (*ROLES, "receive", "dashboard")
ALERTS = "alerts"
"""A pod of its own where there are rules, as in `everything`."""
SECRETS = {
    "PIPELINE_CLICKHOUSE_URL": "https://user:secret@clickhouse:8443/app_sessions",
    "PIPELINE_DASHBOARD_PASSWORD": "secret",
    "PIPELINE_KAFKA_USERNAME": "user",
    "PIPELINE_KAFKA_PASSWORD": "secret",
}


def rendered(name: str, *options: str) -> Sequence[Manifest]:
    try:
        return chart.rendered(name, *options)
    except Unavailable as reason:
        unavailable(str(reason))
        raise


def refused(*options: str) -> str:
    """What Helm says against these values, over the minimal ones."""
    with pytest.raises(chart.Refused) as said:
        rendered("minimal", *options)
    return str(said.value)


@cache
def schemas() -> dict[str, jsonschema.Draft202012Validator]:
    """Kind to what it has to be."""
    found = {}
    for name in ("kubernetes", "operators"):
        document = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
        for kind in document["definitions"]:
            found[kind] = jsonschema.Draft202012Validator({**document, "$ref": f"#/definitions/{kind}"})
    return found


def walked(value: Any) -> Iterator[Mapping[str, Any]]:
    """All mappings in it, at any depth."""
    if isinstance(value, Mapping):
        yield value
        for each in value.values():
            yield from walked(each)
    elif isinstance(value, list):
        for each in value:
            yield from walked(each)


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_no_fault(name: str) -> None:
    rendered(name)
    done = chart.run(
        "lint",
        "--strict",
        "--kube-version",
        chart.KUBERNETES,
        str(CHART),
        "--values",
        str(CHART / "ci" / f"{name}-values.yaml"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_takes_it(name: str) -> None:
    kinds = schemas()
    for manifest in rendered(name):
        kind = manifest["kind"]
        # A Pod of its own is a hook of `helm test`.
        validator = kinds["io.k8s.api.core.v1.PodSpec"] if kind == "Pod" else kinds[kind]
        errors = list(validator.iter_errors(manifest["spec"] if kind == "Pod" else manifest))
        assert not errors, (
            kind,
            manifest["metadata"]["name"],
            [(e.json_path, e.message[:200]) for e in errors],
        )


def test_the_schemas_see_a_field_that_is_unknown_and_a_wrong_type() -> None:
    """Else the test above could not fail."""
    for kind in ("StatefulSet", "NetworkPolicy", "ScaledObject", "ServiceMonitor", "PrometheusRule"):
        (manifest, *_) = of_kind(rendered("everything"), kind)
        assert not list(schemas()[kind].iter_errors(manifest))
        assert list(schemas()[kind].iter_errors({**manifest, "spec": {**manifest["spec"], "unknown": 1}})), (
            kind
        )
        assert list(schemas()[kind].iter_errors({**manifest, "spec": "text"})), kind


@pytest.mark.parametrize("name", VALUES)
def test_names_are_taken_once_and_are_short_enough(name: str) -> None:
    longest = rendered(name, "--set", f"fullnameOverride={'long' * 20}")
    for manifests in (rendered(name), longest):
        names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
        assert len(set(names)) == len(names)
        # A label of its pods is its name and a hash.
        assert all(len(each) <= (52 if kind == "StatefulSet" else 63) for kind, each in names)


def test_what_is_not_wanted_is_not_there() -> None:
    assert [(each["kind"], component(each)) for each in rendered("least")] == [
        ("Service", "sink"),
        ("StatefulSet", "sink"),
        ("Pod", "sink-check"),
    ]


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_restricted(name: str) -> None:
    """The Pod Security Standard `restricted`, and more: nothing is writable but what has to be."""
    (user,) = (line.split()[1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("USER "))
    for who, pod in pods(rendered(name)).items():
        spec, own = pod["spec"], container(pod)
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == int(user)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"memory"} <= own["resources"]["limits"].keys() and own["resources"]["requests"]
        mounts = {each["name"]: each for each in own["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in spec["volumes"]}
        writable = {each["mountPath"] for each in mounts.values() if not each.get("readOnly")}
        assert writable <= {"/tmp", *(["/var/lib/session-pipeline"] if who == "dashboard" else [])}
        assert len({each["mountPath"] for each in mounts.values()}) == len(mounts)


@pytest.mark.parametrize("name", VALUES)
def test_secrets_are_named_and_not_told(name: str) -> None:
    assert not of_kind(rendered(name), "Secret")
    for pod in pods(rendered(name)).values():
        for each in container(pod)["env"]:
            if re.search(r"PASSWORD|_KEY$|SECRET|TOKEN", each["name"]):
                assert "secretKeyRef" in each["valueFrom"]


def test_the_schema_lets_no_secret_into_the_open() -> None:
    told = [each for each in variables() if re.search(r"_(PASSWORD|KEY|SECRET|TOKEN)$", each)]
    assert "PIPELINE_KAFKA_PASSWORD" in told and "PIPELINE_PRIVACY_KEY" in told
    for variable in told:
        assert variable in refused("--set-string", f"settings.{variable}=secret")
    url = "http://user:secret@clickhouse:8123/app_sessions"
    assert "PIPELINE_CLICKHOUSE_URL" in refused(
        "--set-string", f"sink.settings.PIPELINE_CLICKHOUSE_URL={url}"
    )


@pytest.mark.parametrize("name", VALUES)
def test_the_program_understands_its_environment(name: str, tmp_path: Path) -> None:
    manifests = rendered(name)
    values = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    seen: dict[str, Settings] = {}
    for who, pod in pods(manifests).items():
        seen[who] = settings = settings_of(manifests, pod, tmp_path)
        assert settings.partitions == values.get("partitions", 8)
        assert bool(settings.metrics_port) == (who.removesuffix("-check") in (*ROLES, "receive", ALERTS))
    policies = {repr(each.policies) for each in seen.values()}
    assert len(policies) == 1, "sessions depend on no role"
    if name == "everything":
        assert "org.example.reader" in policies.pop()
        assert seen["sink"].sink_max_age_ms == 2_000 != seen["router"].sink_max_age_ms


SOON = {"PIPELINE_KAFKA_INSTANCE_ID"} - set(variables())
"""What the chart sets already, and the program only names as unknown."""


def settings_of(manifests: Sequence[Manifest], pod: Manifest, folder: Path) -> Settings:
    """What the program makes of its environment, with the same files in `folder`. Raises InvalidSettings."""
    environ = chart.environment(pod, SECRETS)
    assert environ.keys() <= {*variables(), *SOON}
    for variable, path in environ.items():
        if path.startswith("/") and variable != "PIPELINE_DASHBOARD_DIR":
            file = folder / path.rpartition("/")[2]
            file.write_text(_mounted(manifests, pod, path))
            environ[variable] = str(file)
    return load({name: value for name, value in environ.items() if name not in SOON})


def _mounted(manifests: Sequence[Manifest], pod: Manifest, path: str) -> str:
    """A file as the pod has it of a ConfigMap."""
    folder, _, file = path.rpartition("/")
    (mount,) = (each for each in container(pod)["volumeMounts"] if each["mountPath"] == folder)
    (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == mount["name"])
    if "secret" in volume:
        return "what is in a Secret"
    name = volume["configMap"]["name"]
    (found,) = (each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == name)
    text: str = found["data"][file]
    return text


@pytest.mark.parametrize("name", ["minimal", "everything"])
def test_files_that_settings_name_are_mounted(name: str) -> None:
    for pod in pods(rendered(name)).values():
        mounted = [each["mountPath"] for each in container(pod)["volumeMounts"]]
        for variable, value in chart.environment(pod, SECRETS).items():
            if value.startswith("/"):
                assert any(value == path or value.startswith(f"{path}/") for path in mounted) or (
                    variable == "PIPELINE_DASHBOARD_DIR"
                ), (variable, value)


@pytest.mark.parametrize("name", VALUES)
def test_the_program_has_the_commands(name: str) -> None:
    group: Any = typer.main.get_command(cli.app)
    for who, pod in pods(rendered(name)).items():
        assert "command" not in container(pod), (
            "the image has it: with a shell before it no signal would arrive"
        )
        command, *arguments = container(pod)["args"]
        found = group.get_command(None, command)
        if who == ALERTS:
            assert (command, arguments) == (ALERTS, ["run"]) and "run" in found.commands
            continue
        # Parses without running: raises on an unknown option, role or a missing one.
        context = found.make_context(command, list(arguments))
        if who in ROLES:
            assert command == "worker" and str(context.params["role"].value) == who
        elif who.endswith("-check"):
            assert command == "check" and str(context.params["role"].value) == who.removesuffix("-check")
        else:
            assert command == who
        if who in ("receive", "dashboard"):
            assert context.params["host"] == "0.0.0.0"
            (port,) = (each for each in container(pod)["ports"] if each["name"] == "http")
            listens = load({}).receive_port if who == "receive" else context.params["port"]
            assert port["containerPort"] == listens


def answers(who: str, path: str) -> bool:
    """Whether the role has such a page for whoever asks."""
    if who == "receive":
        return path in _HEALTH
    if who == "dashboard":
        return path in OPEN_PATHS
    said: list[str] = []
    page = pages.application(Metrics().registry, Health())
    page({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda status, *_: said.append(status))  # type: ignore[arg-type]
    return said[0].startswith("200")


@pytest.mark.parametrize("name", VALUES)
def test_probes_ask_for_what_is_answered(name: str, tmp_path: Path) -> None:
    assert not answers("sink", "/healthz") and not answers("receive", "/healthz")
    for who, pod in pods(rendered(name)).items():
        own = container(pod)
        probes = {kind: own.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")}
        if who not in (*SERVING, ALERTS):
            assert not any(probes.values()), "it ends by itself"
            continue
        ports = {each["name"]: each["containerPort"] for each in own["ports"]}
        for probe in probes.values():
            assert probe is not None and answers(who, probe["httpGet"]["path"])
            assert probe["httpGet"]["port"] in ports
        if who != "dashboard":
            assert probes["liveness"]["httpGet"]["path"] == "/livez"
            assert probes["readiness"]["httpGet"]["path"] == "/readyz"
        if who in (*ROLES, "receive", ALERTS):
            assert ports["metrics"] == settings_of(rendered(name), pod, tmp_path).metrics_port
    # By the address of the pod, which the dashboard has to take for its own.
    assert hosts_of("0.0.0.0") == frozenset()


@pytest.mark.parametrize("name", VALUES)
def test_a_stop_leaves_time_for_what_is_in_hand(name: str) -> None:
    drains_s = faust_app.Limits().drain_timeout_s + faust_app._STOP_MARGIN_S
    receive_s = load({}).receive_drain_ms / 1_000 + server.GRACE_S + kafka_writer._STOP_S
    for who, pod in pods(rendered(name)).items():
        least_s = {**dict.fromkeys(ROLES, drains_s), "receive": receive_s, "dashboard": 5}.get(who, 0)
        assert pod["spec"]["terminationGracePeriodSeconds"] > least_s


@pytest.mark.parametrize("name", VALUES)
def test_selectors_find_the_pods_of_their_own_component_alone(name: str) -> None:
    manifests = rendered(name)
    labels = {who: pod["metadata"]["labels"] for who, pod in pods(manifests).items()}

    def found(selector: Mapping[str, str]) -> set[str]:
        return {who for who, own in labels.items() if selector.items() <= own.items()}

    for each in of_kind(manifests, "StatefulSet", "Deployment", "PodDisruptionBudget"):
        assert found(each["spec"]["selector"]["matchLabels"]) == {component(each)}
    for each in of_kind(manifests, "Service"):
        assert found(each["spec"]["selector"]) == {component(each)}
    for each in of_kind(manifests, "NetworkPolicy"):
        assert found(each["spec"]["podSelector"]["matchLabels"]) == {component(each)}
    for pod in pods(manifests).values():
        for each in pod["spec"].get("topologySpreadConstraints", ()):
            assert found(each["labelSelector"]["matchLabels"]) == {
                pod["metadata"]["labels"]["app.kubernetes.io/component"]
            }
    if name != "least":
        budgets = {component(each) for each in of_kind(manifests, "PodDisruptionBudget")}
        policies = {component(each) for each in of_kind(manifests, "NetworkPolicy")}
        serving = {*SERVING, *([ALERTS] if name == "everything" else [])}
        assert (budgets, policies) == (serving, {*serving, "migrate"})


@pytest.mark.parametrize("name", VALUES)
def test_services_lead_to_ports_that_are_there(name: str) -> None:
    manifests = rendered(name)
    services = {each["metadata"]["name"]: each for each in of_kind(manifests, "Service")}
    for service in services.values():
        ports = {each["name"] for each in container(pods(manifests)[component(service)])["ports"]}
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports
    for each in of_kind(manifests, "StatefulSet"):
        headless = services[each["spec"]["serviceName"]]["spec"]
        assert headless["clusterIP"] == "None" and headless["publishNotReadyAddresses"], (
            "what is not ready is seen too"
        )
    for ingress in of_kind(manifests, "Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in {
            each["name"] for each in services[backend["name"]]["spec"]["ports"]
        }
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    for who, pod in pods(manifests).items():
        if who in (*SERVING, ALERTS) and accounts:
            assert pod["spec"]["serviceAccountName"] in accounts


@pytest.mark.parametrize("name", ["minimal", "everything"])
def test_network_policies_let_through_what_is_needed_and_no_more(name: str, tmp_path: Path) -> None:
    manifests = rendered(name)
    for policy in of_kind(manifests, "NetworkPolicy"):
        who, spec = component(policy), policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        pod = pods(manifests)[who]
        inward = {each["port"] for rule in spec["ingress"] for each in rule["ports"]}
        assert inward == {each["name"] for each in container(pod).get("ports", ())}
        outward = {each["port"] for rule in spec["egress"] for each in rule["ports"]}
        settings = settings_of(manifests, pod, tmp_path)
        kafka = {int(each.rpartition(":")[2]) for each in settings.kafka_bootstrap.split(",")}
        assert {53} | (kafka if who != ALERTS else {443}) <= outward
        assert who != ALERTS or not kafka & outward
        asks_clickhouse = who in ("sink", "dashboard", "migrate", ALERTS)
        assert asks_clickhouse == (8443 in outward)
    everything = {component(each): each["spec"] for each in of_kind(rendered("everything"), "NetworkPolicy")}
    assert all("from" in rule for spec in everything.values() for rule in spec["ingress"])
    dns, *others = everything["sink"]["egress"]
    assert len(others) == 2 and all("to" in rule for rule in others) and "to" not in dns


def test_workers_keep_their_places_under_their_pods_names() -> None:
    for role in ROLES:
        (workload,) = (
            each for each in of_kind(rendered("minimal"), "StatefulSet") if component(each) == role
        )
        assert workload["spec"]["podManagementPolicy"] == "Parallel"
        pod = pods(rendered("minimal"))[role]
        assert chart.environment(pod, SECRETS, "try-0")["PIPELINE_KAFKA_INSTANCE_ID"] == "try-0"
        without = pods(rendered("minimal", "--set", "staticMembership=false"))[role]
        assert "PIPELINE_KAFKA_INSTANCE_ID" not in chart.environment(without, SECRETS)


def test_lag_makes_more_workers_but_never_more_than_partitions() -> None:
    manifests = rendered("everything")
    scaled = {component(each): each["spec"] for each in of_kind(manifests, "ScaledObject")}
    assert scaled.keys() == set(ROLES)
    workloads = {each["metadata"]["name"]: each for each in of_kind(manifests, "StatefulSet")}
    topics = {name for names in topology.reads().values() for name in names}
    for role, spec in scaled.items():
        target = spec["scaleTargetRef"]
        assert (target["apiVersion"], target["kind"]) == ("apps/v1", "StatefulSet")
        assert component(workloads[target["name"]]) == role
        assert "replicas" not in workloads[target["name"]]["spec"], "or an upgrade would set it back"
        (trigger,) = spec["triggers"]
        asked = trigger["metadata"]
        assert asked["consumerGroup"] == topology.group_of(role)
        if "topic" in asked:
            assert {asked["topic"]} == set(topology.reads()[role]) <= topics
        else:
            assert len(topology.reads()[role]) > 1
        environ = chart.environment(pods(manifests)[role], SECRETS)
        assert asked["bootstrapServers"] == environ["PIPELINE_KAFKA_BOOTSTRAP"]
        assert all(isinstance(each, str) for each in asked.values())
        assert (
            1
            <= spec["minReplicaCount"]
            <= spec["maxReplicaCount"]
            == int(environ["PIPELINE_PARTITIONS"])
            == 12
        )
    assert scaled["sink"]["triggers"][0]["metadata"]["lagThreshold"] == "5000000", "no power of ten"
    assert scaled["sessionizer"]["triggers"][0]["authenticationRef"] == {"name": "kafka-reader"}
    fewer = of_kind(rendered("everything", "--set", "router.autoscaling.max=5"), "ScaledObject")
    assert {component(each): each["spec"]["maxReplicaCount"] for each in fewer}["router"] == 5


def test_prometheus_finds_every_role_that_has_metrics() -> None:
    manifests = rendered("everything")
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    found = {
        component(each)
        for each in of_kind(manifests, "Service")
        if wanted <= each["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
    }
    assert found == {*ROLES, "receive", ALERTS}


def test_alerts_know_their_rules_and_no_login_of_kafka() -> None:
    made = pods(rendered("everything"))[ALERTS]
    environ = chart.environment(made, SECRETS)
    path = environ["PIPELINE_ALERTS"]
    rules = read_rules(_mounted(rendered("everything"), made, path))
    assert [rule.name for rule in rules.rules] == ["Crash-free sessions of the reader"]
    assert not [name for name in environ if name.startswith("PIPELINE_KAFKA_")]
    (workload,) = (
        each for each in of_kind(rendered("everything"), "Deployment") if component(each) == ALERTS
    )
    assert workload["spec"]["replicas"] == 1 and workload["spec"]["strategy"] == {"type": "Recreate"}
    for channel in rules.channels.values():
        mounted = [each["mountPath"] for each in container(made)["volumeMounts"]]
        assert any(str(channel.url_file).startswith(folder) for folder in mounted)


def test_the_alerts_are_those_of_the_one_file_with_addresses_that_can_be_opened() -> None:
    alerts = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
    base = "https://git.example.org/session-pipeline/deploy/"
    (with_base,) = of_kind(rendered("everything"), "PrometheusRule")
    (without,) = of_kind(
        rendered("minimal", "--set", "monitoring.prometheusRule.enabled=true"), "PrometheusRule"
    )
    assert without["spec"] == alerts
    for group in alerts["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["annotations"]["runbook_url"] = base + rule["annotations"]["runbook_url"]
    assert with_base["spec"] == alerts


def test_the_dashboards_are_those_of_the_one_folder() -> None:
    maps = [each for each in of_kind(rendered("everything"), "ConfigMap") if component(each) == "monitoring"]
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
    packed = {file: text for each in maps for file, text in each["data"].items()}
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    assert packed == {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")} != {}


def test_tables_are_there_before_the_workers() -> None:
    manifests = rendered("everything")
    (job,) = of_kind(manifests, "Job")
    hooks = [each for each in manifests if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    before = [
        each for each in hooks if each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    ]
    assert job in before
    weights = {each["kind"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in before}
    assert weights.keys() == {"Job", "ConfigMap", "NetworkPolicy"}
    assert max(weights["ConfigMap"], weights["NetworkPolicy"]) < weights["Job"], "it needs them"
    # Of what is no hook nothing is there yet.
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    named = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
    assert named == {each["metadata"]["name"] for each in before if each["kind"] == "ConfigMap"}


def test_a_changed_file_of_settings_restarts_the_pods() -> None:
    before, after = (
        pods(rendered("minimal", "--set", f"settingsFile=inactivity_timeout = '{minutes}m'"))
        for minutes in (1, 2)
    )
    for role in SERVING:
        sums = {pod[role]["metadata"]["annotations"]["checksum/settings"] for pod in (before, after)}
        assert len(sums) == 2


def test_a_role_has_its_own_over_what_is_for_all() -> None:
    made = pods(rendered("everything"))
    assert made["sessionizer"]["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64", "memory": "much"}
    assert made["sink"]["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert made["sessionizer"]["metadata"]["annotations"]["example.org/why"] == "memory"
    names = {
        each["valueFrom"]["secretKeyRef"]["name"]
        for each in container(made["sink"])["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert names == {"kafka-sink", "clickhouse-sink"}


WRONG: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a name that is unknown": (("--set", "sinks.enabled=true"), "sinks"),
    "a number where a text belongs": (("--set", "settings.PIPELINE_SINK_MAX_ROWS=5"), "want string"),
    "a setting that the chart makes": (
        ("--set-string", "settings.PIPELINE_PARTITIONS=5"),
        "PIPELINE_PARTITIONS",
    ),
    "what is no setting": (("--set-string", "settings.KAFKA=a"), "KAFKA"),
    "no broker": (("--set-string", "settings.PIPELINE_KAFKA_BOOTSTRAP=kafka"), "PIPELINE_KAFKA_BOOTSTRAP"),
    "no partition": (("--set", "partitions=0"), "partitions"),
    "more workers than partitions": (("--set", "sink.replicas=9"), "there are 8 partitions"),
    "more at least than at most": (
        ("--set", "sink.autoscaling.enabled=true,sink.autoscaling.min=9"),
        "sink.autoscaling.min",
    ),
    "dashboards without a shared volume": (("--set", "dashboard.replicas=2"), "share a volume"),
    "a volume of one machine for two": (
        ("--set", "dashboard.replicas=2,dashboard.persistence.enabled=true"),
        "share a volume",
    ),
    "no password": (("--set", "dashboard.secretSettings=null"), "PIPELINE_DASHBOARD_PASSWORD"),
    "no keys": (("--set", "receive.keys.secret="), "receive.keys.secret"),
    "alerts without rules": (("--set", "alerts.enabled=true"), "alerts.rules"),
    "no ClickHouse": (("--set", "secretSettings=null"), "PIPELINE_CLICKHOUSE_URL"),
    "an ingress for nothing": (("--set", "receive.ingress.enabled=true"), "receive.ingress.host"),
    "a mount of nothing": (("--set", "mounts[0].name=a,mounts[0].mountPath=/a"), "mounts"),
    "a mount over one of ours": (
        ("--set", "mounts[0].name=a,mounts[0].secret=a,mounts[0].mountPath=/tmp"),
        "mountPath",
    ),
    "a digest that is none": (("--set", "image.digest=latest"), "digest"),
    "an address that no runbook has": (
        ("--set", "monitoring.prometheusRule.runbookBase=runbook"),
        "runbookBase",
    ),
}


@pytest.mark.parametrize("what", WRONG, ids=lambda what: what.replace(" ", "-"))
def test_values_that_make_no_sense_are_refused_with_their_name(what: str) -> None:
    options, said = WRONG[what]
    assert said in refused(*options)


def test_every_default_is_held_to_the_schema_and_every_value_is_documented() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(values)
    assert set(schema["properties"]) - {"global"} == set(values)
    for mapping in walked(schema):
        if "properties" in mapping and "additionalProperties" not in mapping:
            assert "required" in mapping, "whatever is unknown is refused"


def test_the_way_to_begin_is_one(tmp_path: Path) -> None:
    """What deploy/README.md says to do: its values are taken, and what its commands name is there."""
    text = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Kubernetes\n")[2].partition("\n## ")[0]
    file = tmp_path / "values.yaml"
    file.write_text(re.findall(r"```yaml\n(.*?)```", section, re.S)[0])
    release, where = re.findall(r"helm install (\S+) (\S+)", section)[0]
    assert ROOT / where == CHART
    rendered("minimal")
    manifests = chart.template("--values", str(file), "--name-template", release, release=None)
    secrets = {
        each["valueFrom"]["secretKeyRef"]["name"]
        for pod in pods(manifests).values()
        for each in container(pod)["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    } | {
        volume["secret"]["secretName"]
        for pod in pods(manifests).values()
        for volume in pod["spec"]["volumes"]
        if "secret" in volume
    }
    assert secrets == set(re.findall(r"create secret generic (\S+)", section))
    pod = re.findall(r"kubectl exec\s+(\S+)-0 -- session-pipeline status", section)[0]
    assert pod in {each["metadata"]["name"] for each in of_kind(manifests, "StatefulSet")}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {"settingsFile", "staticMembership", "networkPolicy", "monitoring"} <= values.keys()
    for path in re.findall(r"\((\w[\w./-]+\.(?:md|yaml)|\w[\w/-]+)\)", section):
        assert (ROOT / "deploy" / path).exists(), path


def test_versions_are_those_of_the_program() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == __version__
    assert {container(pod)["image"] for pod in pods(rendered("minimal")).values()} == {
        f"session-pipeline:{__version__}"
    }
    (image,) = {container(pod)["image"] for pod in pods(rendered("everything")).values()}
    assert image.startswith("registry.example/session-pipeline@sha256:")


def test_it_can_be_packed_with_what_it_takes_from_elsewhere(tmp_path: Path) -> None:
    rendered("minimal")
    done = chart.run("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (packed,) = tmp_path.glob("*.tgz")
    made = chart.run(
        "template",
        "try",
        str(packed),
        "--kube-version",
        chart.KUBERNETES,
        "--values",
        str(CHART / "ci" / "everything-values.yaml"),
    )
    assert [each for each in yaml.safe_load_all(made.stdout) if each] == list(
        chart.rendered("everything", "--set", "nameOverride=")
    )
