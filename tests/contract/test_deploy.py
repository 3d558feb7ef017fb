"""The Compose file and the image, as far as they can be checked without Docker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]
import pytest
import typer
import yaml  # type: ignore[import-untyped]
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline import cli, topics
from pipeline.clickhouse.needs import grants_of
from pipeline.clickhouse.store import Store
from pipeline.commands.dashboard import READ_SETTINGS
from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.embedded.kafka_probe import broker_answers
from pipeline.formats import measure
from pipeline.kafka import writer as kafka_writer
from pipeline.kafka.admin import ensure_topics
from pipeline.kafka.connection import KafkaConnection
from pipeline.query.alerts.rules import read_rules
from pipeline.query.export import bounded_by
from pipeline.receive import server
from pipeline.roles import topology
from pipeline.roles.health import Health
from pipeline.roles.metrics import Metrics
from pipeline.roles.pages import serve
from pipeline.roles.topology import ROLES
from pipeline.settings import load, variables
from pipeline.streaming import faust_app
from tests.support.compose import DOCKERFILE, OURS, ROOT, SCHEMA, environment, services
from tests.support.migrated import migrate
from tests.support.services import Unavailable, kafka_classpath
from tests.support.stack import unavailable

SERVICES = (*OURS, "kafka", "clickhouse", "otel-collector", "prometheus", "grafana")
LONG_RUNNING = tuple(name for name in SERVICES if name != "migrate")


def seconds(duration: str) -> int:
    """A Compose duration of one unit, in seconds."""
    match = re.fullmatch(r"(\d+)(s|m)", duration)
    assert match, duration
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


def test_is_a_compose_file() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    assert set(document["services"]) == set(SERVICES)


def test_every_named_volume_is_declared_and_the_stores_have_one() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    mounted = {
        # Others are files of this repository.
        name: dict(v.split(":")[:2] for v in service.get("volumes", []) if not v.startswith(("./", "${")))
        for name, service in document["services"].items()
    }
    assert {volume for some in mounted.values() for volume in some} == set(document["volumes"])
    assert environment("kafka")["KAFKA_LOG_DIRS"] in mounted["kafka"].values()
    assert "/var/lib/clickhouse" in mounted["clickhouse"].values()


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned_and_can_be_scaled(name: str) -> None:
    service = services()[name]
    image, _, tag = service["image"].rpartition(":")
    assert image and re.fullmatch(r"local|v?\d+\.\d+\.\d+(\.\d+)?", tag), service["image"]
    assert (tag == "local") == ("build" in service) == (name in OURS)
    assert "container_name" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    service = services()[name]
    assert "network_mode" not in service
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    if name in ROLES:
        assert "ports" not in service, "a second worker would want the same port"


@pytest.mark.parametrize("name", OURS)
def test_settings_are_known_and_hold_together(name: str) -> None:
    assert set(services()[name]["environment"]) <= set(variables())
    settings = load(environment(name))
    others = load(environment("sink"))
    if name == "alerts":
        others = replace(others, alerts=settings.alerts)
    if name == "dashboard":
        others = replace(others, clickhouse_url=settings.clickhouse_url)
    assert settings == others, "all services run with the same settings"

    advertised = environment("kafka")["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"INTERNAL://{settings.kafka_bootstrap}" in advertised
    url, clickhouse = urlsplit(settings.clickhouse_url), environment("clickhouse")
    assert url.hostname == "clickhouse" and url.port == 8123
    if name == "dashboard":
        assert url.username == "dashboard" != clickhouse["CLICKHOUSE_USER"]
        assert url.password == clickhouse["DASHBOARD_CLICKHOUSE_PASSWORD"]
        return
    assert url.username == clickhouse["CLICKHOUSE_USER"] != "default"
    assert url.password == clickhouse["CLICKHOUSE_PASSWORD"]


def test_the_dashboards_user_has_the_grants_that_the_dashboard_needs() -> None:
    given = {"CLICKHOUSE_DATABASE": "other", "DASHBOARD_CLICKHOUSE_PASSWORD": "secret2"}
    assert (
        load(environment("dashboard", given)).clickhouse_url
        == "http://dashboard:secret2@clickhouse:8123/other"
    )
    variables_of = environment("clickhouse", given)
    mounted = [volume.split(":") for volume in services()["clickhouse"]["volumes"] if volume.startswith("./")]
    ((source, target, mode),) = mounted
    assert target.startswith("/etc/clickhouse-server/users.d/") and target.endswith(".xml") and mode == "ro"
    user = ElementTree.parse(ROOT / source).find("users/dashboard")
    assert user is not None
    for element in user.iter():
        if "from_env" in element.attrib:
            element.text = variables_of[element.attrib["from_env"]]
    assert user.findtext("password") == "secret2"
    assert user.findtext("profile") == "dashboard"
    needed = [grant.sql("other") for grant in grants_of("dashboard")]
    assert _granted(element.text or "" for element in user.findall("grants/query")) == needed
    told = re.findall(r"^(GRANT .+) TO dashboard;", (ROOT / "deploy" / "README.md").read_text(), re.MULTILINE)
    assert _granted(each.replace("app_sessions", "other") for each in told) == needed


def _granted(statements: Iterable[str]) -> list[str]:
    found = [re.fullmatch(r"GRANT (.+) ON (\S+)", each) for each in statements]
    return [f"{access} ON {each[2]}" for each in found if each for access in each[1].split(", ")]


def test_the_dashboards_user_has_the_bounds_that_the_dashboard_sets() -> None:
    given = {"DASHBOARD_MEMORY": "123000000"}
    variables_of = environment("clickhouse", given)
    profile = ElementTree.parse(ROOT / "deploy" / "clickhouse-dashboard-user.xml").find("profiles/dashboard")
    assert profile is not None
    for element in profile.iter():
        if "from_env" in element.attrib:
            element.text = variables_of[element.attrib["from_env"]]
    memory = load(environment("dashboard", given)).dashboard_memory
    assert (
        memory == 123_000_000 and load(environment("dashboard")).dashboard_memory == load({}).dashboard_memory
    )
    sets = {"max_memory_usage": memory, **READ_SETTINGS}
    most = {**sets, **bounded_by(memory)}
    for name in ("max_memory_usage", "max_execution_time", "max_result_rows", "max_result_bytes"):
        found = (profile.findtext(f"constraints/{name}/{bound}") for bound in ("min", "max"))
        assert [profile.findtext(name), *found] == [str(sets[name]), "1", str(most[name])]


def test_the_dashboards_state_is_kept_where_it_alone_may_write() -> None:
    folder = load(environment("dashboard")).dashboard_dir
    assert [volume.split(":")[1] for volume in services()["dashboard"]["volumes"]] == [folder]
    assert services()["dashboard"]["read_only"]
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    (user,) = (line.split()[1] for line in lines if line.startswith("USER "))
    assert any(f"install --directory --owner={user} --mode=0700 {folder}" in line for line in lines)


def test_env_file_reaches_everything() -> None:
    given = {
        "CLICKHOUSE_USER": "analyst",
        "CLICKHOUSE_PASSWORD": "secret1",
        "CLICKHOUSE_DATABASE": "other",
        "KAFKA_PORT": "19999",
        "PIPELINE_PARTITIONS": "3",
        "PIPELINE_INACTIVITY_TIMEOUT": "10m",
    }
    settings = load(environment("sessionizer", given))
    assert settings.clickhouse_url == "http://analyst:secret1@clickhouse:8123/other"
    assert (settings.partitions, settings.policies.default.idle_timeout_ms) == (3, 600_000)
    assert environment("clickhouse", given)["CLICKHOUSE_PASSWORD"] == "secret1"
    assert "HOST://localhost:19999" in environment("kafka", given)["KAFKA_ADVERTISED_LISTENERS"]
    assert services(given)["kafka"]["ports"] == ["127.0.0.1:19999:9092"]


def test_policy_can_be_set() -> None:
    of_other_installations = {"CONFIG", "DATA_DIR", "KAFKA_SECURITY", "KAFKA_MECHANISM", "KAFKA_USERNAME"}
    of_other_installations |= {"KAFKA_PASSWORD", "KAFKA_CA_FILE", "KAFKA_REPLICATION"}
    # Its command and the published port say where it listens.
    of_other_installations |= {"RECEIVE_HOST", "RECEIVE_PORT"}
    # Replicas of a service share their environment, and no two may have the same name.
    of_other_installations |= {"KAFKA_INSTANCE_ID"}
    # One service alone has rules.
    of_other_installations |= {"ALERTS"}
    # The keys of the API are in a file, and `mcp` runs where the assistant does.
    of_other_installations |= {
        "API_KEYS",
        "API_RATE",
        "API_UPLOAD_BYTES",
        "API_URL",
        "API_KEY",
        "API_KEY_FILE",
    }
    # Here ClickHouse is one server.
    of_other_installations |= {"CLICKHOUSE_HOSTS", "CLICKHOUSE_CLUSTER", "CLICKHOUSE_INSERT_QUORUM"}
    # Nor is a secret of it in a file unless deploy/compose-secrets.yml says so, and nothing speaks TLS.
    of_other_installations |= {f"KAFKA_{name}" for name in ("CERT_FILE", "KEY_FILE", "KEY_PASSWORD")}
    of_other_installations |= {f"KAFKA_TOKEN_{name}" for name in ("URL", "SCOPE", "CA_FILE")}
    of_other_installations |= {f"CLICKHOUSE_{name}" for name in ("CA_FILE", "CERT_FILE", "KEY_FILE")}
    of_other_installations |= {"CLICKHOUSE_PASSWORD", "CLICKHOUSE_KEY_PASSWORD"}
    secrets = ("KAFKA_PASSWORD", "KAFKA_KEY_PASSWORD", "CLICKHOUSE_URL", "CLICKHOUSE_PASSWORD")
    secrets += ("CLICKHOUSE_KEY_PASSWORD", "DASHBOARD_PASSWORD", "PRIVACY_KEY")
    of_other_installations |= {f"{name}_FILE" for name in secrets}
    offered = set(services()["sink"]["environment"])
    assert set(variables()) - offered == {f"PIPELINE_{name}" for name in of_other_installations}


@pytest.mark.parametrize("name", OURS)
def test_command_is_one_that_the_program_has(name: str) -> None:
    command, *arguments = services()[name]["command"]
    group: Any = typer.main.get_command(cli.app)
    found = group.get_command(None, command)
    if name == "alerts":
        assert (command, arguments) == ("alerts", ["run"]) and "run" in found.commands
        return
    # Parses without running: raises on an unknown option, role or a missing one.
    context = found.make_context(command, list(arguments))
    if name in ROLES:
        assert command == "worker" and str(context.params["role"].value) == name
    elif name == "dashboard":
        assert command == name and context.params["host"] == "0.0.0.0" and not context.params["no_login"]
        assert services()[name]["ports"] == [f"127.0.0.1:8080:{context.params['port']}"]
        assert load(environment(name)).dashboard_password
    elif name == "receive":
        assert command == name and context.params["host"] == "0.0.0.0" and context.params["no_keys"]
        settings = load(environment(name))
        assert services()[name]["ports"] == [f"127.0.0.1:4318:{settings.receive_port}"]
    else:
        assert command == name and not arguments


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_long_running_services_restart_and_tell_their_health(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    if name == "otel-collector":  # no shell and no other program in its image
        return
    check = service["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"} and len(check["test"]) > 1
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert "start_period" in check and check["retries"] > 1


def test_migration_runs_once_between_stores_and_workers() -> None:
    all_services = services()
    assert all_services["migrate"]["restart"] == "no"
    assert {name: need["condition"] for name, need in all_services["migrate"]["depends_on"].items()} == {
        "kafka": "service_healthy",
        "clickhouse": "service_healthy",
    }
    for role in ROLES:
        assert all_services[role]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("role", ROLES)
def test_a_stop_leaves_time_for_the_drain(role: str) -> None:
    longest_s = faust_app.Limits().drain_timeout_s + faust_app._STOP_MARGIN_S
    assert seconds(services()[role]["stop_grace_period"]) > longest_s


def test_the_rules_to_begin_with_are_sound_and_where_the_setting_says() -> None:
    (mount,) = services()["alerts"]["volumes"]
    source, target, mode = mount.split(":")
    assert (target, mode) == (load(environment("alerts")).alerts, "ro")
    assert read_rules((ROOT / source).read_text(encoding="utf-8")).rules
    assert services({"ALERTS": "./mine.toml"})["alerts"]["volumes"][0].startswith("./mine.toml:")


@pytest.mark.parametrize("role", [*ROLES, "alerts"])
def test_health_check_sees_ready_and_alive(role: str) -> None:
    service = services()[role]
    port = environment(role)["PIPELINE_METRICS_PORT"]
    kind, python, option, script = service["healthcheck"]["test"]
    assert (kind, python, option) == ("CMD", "python", "-c")

    own_port = free_port()
    script = script.replace(f" {port},", f" {own_port},")
    assert str(own_port) in script

    def healthy() -> bool:
        done = subprocess.run([sys.executable, option, script], capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    assert not healthy(), "nothing answers yet"
    health, faults = Health(), ["it waits for Kafka"]
    health.watch("kafka", lambda: faults[0])
    health.look()
    serve("127.0.0.1", own_port, Metrics().registry, health)
    assert not healthy(), "not ready"
    faults[0] = ""
    health.look()
    assert healthy()


def test_the_collector_writes_what_the_router_reads() -> None:
    service = services()["otel-collector"]
    assert service["environment"]["KAFKA_BOOTSTRAP"] == load(environment("router")).kafka_bootstrap
    ((source, target, mode),) = (volume.split(":") for volume in service["volumes"])
    assert target == "/etc/otelcol-contrib/config.yaml" and mode == "ro", "where its image looks"
    configuration = yaml.safe_load((ROOT / source).read_text(encoding="utf-8"))
    kafka = configuration["exporters"]["kafka"]
    topics_of_it = {kafka[signal]["topic"] for signal in ("logs", "traces")}
    assert topics_of_it == {"otlp_logs", "otlp_spans"}
    assert {kafka[signal]["encoding"] for signal in ("logs", "traces")} == {"otlp_proto"}
    producer = kafka["producer"]
    assert producer["max_message_bytes"] == topics.MAX_MESSAGE_BYTES
    assert (producer["required_acks"], producer["allow_auto_topic_creation"]) == (-1, False)
    assert set(configuration["service"]["pipelines"]) == {"logs", "traces"}
    for pipeline in configuration["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter" and pipeline["exporters"] == ["kafka"]
    published = {port.rpartition(":")[2] for port in service["ports"]}
    protocols = configuration["receivers"]["otlp"]["protocols"]
    assert {each["endpoint"].rpartition(":")[2] for each in protocols.values()} == published


def test_a_stop_leaves_time_for_what_receive_accepted() -> None:
    longest_s = load(environment("receive")).receive_drain_ms / 1_000 + server.GRACE_S + kafka_writer._STOP_S
    assert seconds(services()["receive"]["stop_grace_period"]) > longest_s


def test_kafka_takes_what_the_topics_take() -> None:
    assert int(environment("kafka")["KAFKA_MESSAGE_MAX_BYTES"]) >= topics.MAX_MESSAGE_BYTES


def test_schema_has_no_type_that_the_composed_clickhouse_refuses(database_url: str) -> None:
    """The engine of the tests is newer. Up to 26.7 at least, a view with such a column cannot be made."""
    store = Store(database_url)
    try:
        migrate(store)
        found = store.query(
            "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()"
            " AND match(type, 'LowCardinality\\\\((Nullable\\\\()?[^SN]')"
        )
    finally:
        store.close()
    assert found == b""


# The image brings a longer one; Kafka's start-up code wants these four to be there.
_LOG4J = """
Configuration:
  Properties: {Property: []}
  Appenders: {Console: {name: STDOUT}}
  Loggers: {Root: {level: WARN, AppenderRef: [{ref: STDOUT}]}, Logger: []}
"""


def moved(addresses: str, ports: Mapping[str, int]) -> str:
    """Addresses like `NAME://host:port` or `1@host:port`, on loopback and on other ports."""
    return re.sub(r"(://|@)[a-z]*:(\d+)", lambda match: f"{match[1]}{LOOPBACK}:{ports[match[2]]}", addresses)


@contextmanager
def kafka_as_composed(folder: Path) -> Iterator[str]:
    """Apache Kafka configured by the image's own code from the service's variables, on other addresses.

    Gives the `host:port` that stands for the listener of the other containers.
    """
    try:
        classpath = kafka_classpath()
    except Unavailable as reason:
        unavailable(str(reason))
    ports = {port: free_port() for port in ("19092", "9092", "9093")}
    environ = environment("kafka") | {"KAFKA_LOG_DIRS": str(folder / "data")}
    for name in ("KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS", "KAFKA_CONTROLLER_QUORUM_VOTERS"):
        environ[name] = moved(environ[name], ports)
    for place in ("default", "final"):
        (folder / place).mkdir()
    (folder / "default" / "server.properties").touch()
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        (folder / "default" / name).write_text(_LOG4J)
    java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath]
    setup = ["kafka.docker.KafkaDockerWrapper", "setup", "--mounted-configs-dir", str(folder / "mounted")]
    setup += ["--default-configs-dir", str(folder / "default"), "--final-configs-dir", str(folder / "final")]
    done = subprocess.run(
        java + setup, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    broker = Child(
        "Apache Kafka",
        [str(shutil.which("java")), *java[1:], "kafka.Kafka", str(folder / "final" / "server.properties")],
        log_file=folder / "kafka.log",
        cwd=folder,
    )
    broker.start(lambda: broker_answers(LOOPBACK, ports["19092"]), timeout_s=60)
    try:
        yield f"{LOOPBACK}:{ports['19092']}"
    finally:
        broker.stop(timeout_s=30)


@pytest.mark.slow
def test_kafka_starts_with_its_settings_and_takes_a_record_over_the_limit(tmp_path: Path) -> None:
    value = os.urandom(topics.MAX_MESSAGE_BYTES - 1_000)

    async def through(bootstrap: str) -> bytes | None:
        connection = KafkaConnection(bootstrap)
        await ensure_topics(connection, topology.plan(partitions=2, retention_ms=3_600_000))
        async with AIOKafkaProducer(
            bootstrap_servers=bootstrap, max_request_size=topics.MAX_MESSAGE_BYTES
        ) as producer:
            await producer.send_and_wait(measure.FORMAT.topic, value)
        async with AIOKafkaConsumer(
            measure.FORMAT.topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            got: bytes | None = (await consumer.getone()).value
            return got

    with kafka_as_composed(tmp_path) as bootstrap:
        assert asyncio.run(asyncio.wait_for(through(bootstrap), 60)) == value


@pytest.mark.parametrize("stage", ["python", "build"])
def test_image_is_built_from_a_pinned_base(stage: str) -> None:
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    bases = [line.split() for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0][1])
    assert bases[0][2:] == ["AS", "python"] and all(base[1] == "python" for base in bases[1:])
    assert any(base[3:] == [stage] for base in bases)


def test_image_runs_the_program_and_not_as_root() -> None:
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["session-pipeline"]' in lines
    user = lines[max(index for index, line in enumerate(lines) if line.startswith("USER "))].split()[1]
    assert int(user) > 0


def test_dockerfile_lint() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        unavailable("hadolint is not installed")
    done = subprocess.run(
        [str(program), str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_docker_gets_makes_a_package_with_its_migrations(tmp_path: Path) -> None:
    """Builds the wheel from what `.dockerignore` lets through, as the image does."""
    if not all(map(find_spec, ("pip", "hatchling"))):
        unavailable("pip and hatchling are not installed")
    first, *rest = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1:]
    assert first == "*", "nothing but what is named"
    named = [line.removeprefix("!") for line in rest if line.startswith("!")]
    assert not {".env", ".git", "."} & set(named)
    source = tmp_path / "source"
    source.mkdir()
    for name in named:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "examples")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(source)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    asked = "from pipeline.schema_files import schema_folder; print(schema_folder())"
    folder = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path / "installed",
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.strip()  # fmt: skip
    files = {path.name for path in (Path(folder) / "clickhouse").glob("*.sql")}
    assert files == {path.name for path in (ROOT / "schemas" / "clickhouse").glob("*.sql")} != set()
    assert Path(folder).is_relative_to(tmp_path / "installed")
    assert (tmp_path / "installed" / "pipeline" / "py.typed").is_file(), "type checkers go by it"
    for kind in ("static", "templates"):
        there = {path.name for path in (ROOT / "pipeline" / "dashboard" / kind).rglob("*") if path.is_file()}
        packed = (tmp_path / "installed" / "pipeline" / "dashboard" / kind).rglob("*")
        assert {path.name for path in packed if path.is_file()} == there != set()
