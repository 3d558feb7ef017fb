"""Each role works with the rights of its list and no other, on Apache Kafka with access control lists."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import orjson
import pytest

from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.roles.rights import TOPIC, USERS, Right, rights
from pipeline.roles.topology import ROLES
from pipeline.topics import ERASURES, POLICIES, SDK_EVENTS, SESSIONS, STATE
from tests.support import acls
from tests.support.services import ApacheKafka, Unavailable
from tests.support.stack import Stack, receiving, unavailable

SENDER = (Right(TOPIC, "native-events", ("Write",)), Right(TOPIC, SDK_EVENTS, ("Write",)))
ALL_USERS = (*USERS, "sender")


class Guarded:
    """A broker that lets nobody do anything but what a list allows, and a user for each of our programs."""

    def __init__(self, folder: Path, clickhouse: EmbeddedClickHouse) -> None:
        self.port = free_port()
        users = " ".join(f'user_{name}="{name}-secret"' for name in ALL_USERS)
        login = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        self.broker = ApacheKafka(
            folder / "broker",
            listeners={"SASL_PLAINTEXT": self.port},
            settings={
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                # Whoever comes by the other listener: the broker itself, and these tests.
                "super.users": "User:ANONYMOUS",
            },
        )
        self.stack = Stack(
            self.broker, clickhouse, folder, {"PIPELINE_PARTITIONS": "2", "PIPELINE_IDLE_TIMEOUT": "2s"}
        )

    def as_user(self, name: str) -> dict[str, str]:
        """The variables of a user."""
        return {
            "PIPELINE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.port}",
            "PIPELINE_KAFKA_SECURITY": "SASL_PLAINTEXT",
            "PIPELINE_KAFKA_USERNAME": name,
            "PIPELINE_KAFKA_PASSWORD": f"{name}-secret",
        }

    def become(self, name: str) -> None:
        """Commands and workers that are started from now on are this user's."""
        self.stack.settings |= self.as_user(name)

    def give(self, name: str, *some: Right) -> None:
        asyncio.run(acls.allow(self.broker.bootstrap, name, some))

    def take(self, name: str, *some: Right) -> None:
        asyncio.run(acls.take(self.broker.bootstrap, name, some))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, clickhouse: EmbeddedClickHouse) -> Iterator[Guarded]:
    try:
        made = Guarded(tmp_path_factory.mktemp("guarded"), clickhouse)
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    for name in USERS:
        made.give(name, *rights(name))
    made.give("sender", *SENDER)
    yield made
    made.stack.close()
    made.broker.stop()


def test_each_role_does_its_work_with_its_rights_alone(guarded: Guarded, tmp_path: Path) -> None:
    stack = guarded.stack
    stack.make_tables()
    guarded.become("operator")
    stack.run("migrate")
    for role in ROLES:
        guarded.become(role)
        assert "all that are needed" in stack.run("check", "--role", role)
        stack.start_workers(role)
    guarded.become("sender")
    times = (1_700_000_000_000, 1_700_000_000_001, 1_700_000_600_000)
    events = [{"id": f"e{time}", "name": "app.widget.click", "time": time} for time in times]
    envelope = {"v": 1, "app_id": "org.example.app", "device_id": "d1", "events": events}
    file = tmp_path / "events.ndjson"
    file.write_bytes(orjson.dumps(envelope) + b"\n" + orjson.dumps({**envelope, "device_id": ""}) + b"\n")
    stack.run("send", "--no-validate", str(file))
    guarded.become("operator")
    stack.wait_idle()
    assert stack.value("SELECT count() FROM events") == 3
    assert stack.value("SELECT count() FROM sessions") == 1
    assert stack.value("SELECT count() FROM dead_letters") == 1
    assert "sessionizer" in stack.run("status")
    guarded.become("erase")
    stack.run("erase", "--app", "org.example.app", "--device", "another")
    stack.stop()
    guarded.become("rebuild")
    stack.settings["PIPELINE_INACTIVITY_TIMEOUT"] = "1m"
    assert "2 sessions are in place" in stack.run("rebuild")
    guarded.become("replay")
    assert "sent 1 refused records again" in stack.run("dead-letters", "replay")
    guarded.become("repartition")
    said = stack.run("repartition", "--partitions", "9")
    assert "4 of 4" in said
    stack.settings |= dict(re.findall(r"^  (PIPELINE_\w+)=(\S+)$", said, re.MULTILINE))
    guarded.become("receive")
    with receiving(stack) as base:
        request = Request(f"{base}/v1/events", orjson.dumps(envelope), method="POST")
        with urlopen(request, timeout=10) as answer:
            assert answer.status == 200
    guarded.become("policies")
    stack.settings["PIPELINE_POLICY_VERSION"] = "1"
    assert "all 9 partitions" in stack.run("policies", "publish")


LACKING = {
    "router": ("native-events", "Read"),
    "sessionizer": (STATE, "Write"),
    "sink": (SESSIONS, "Read"),
    "receive": ("otlp_logs", "Write"),
    "operator": ("session-pipeline-sink", "Describe"),
    "rebuild": (f"{STATE}-", "Write"),
    "erase": (ERASURES, "Write"),
    "replay": (SESSIONS, "Write"),
    "repartition": (SDK_EVENTS, "Alter"),
    "policies": (POLICIES, "Write"),
}


def test_each_list_has_a_right_that_is_taken_away() -> None:
    assert set(LACKING) == set(USERS)


@pytest.mark.parametrize("user", sorted(LACKING))
def test_check_names_the_right_that_is_missing(guarded: Guarded, user: str) -> None:
    guarded.become(user)
    done = guarded.stack.command("check", "--role", user)
    assert done.returncode == 0, done.stdout + done.stderr
    name, operation = LACKING[user]
    (right,) = [right for right in rights(user) if right.name == name and operation in right.operations]
    guarded.take(user, right)
    try:
        done = guarded.stack.command("check", "--role", user)
    finally:
        guarded.give(user, right)
    assert done.returncode == 1, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fault")]
    assert name in line and operation in line and "kafka rights" in line
    assert done.stderr == "session-pipeline: it could not run: kafka rights\n"
