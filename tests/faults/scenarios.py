"""What goes wrong, one function each, and what must be said of it."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from zlib import crc32

import orjson
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.partitioner import murmur2

from pipeline import topics
from tests.chaos.schedule import Fault
from tests.faults.scene import PARTITIONS, Scene
from tests.support.stack import delete

_APP = "org.example.faults"
_START_MS = 1_767_600_000_000
_SMALL_STATE_BYTES = 300_000


@dataclass(frozen=True)
class Scenario:
    """A fault: `act` does it and returns while it lasts, after about `seconds`; `mend` ends it."""

    name: str
    title: str
    done: str
    act: Callable[[Scene, float], None]
    cause: str
    remedy: str
    runbook: str
    mend: Callable[[Scene], None] = lambda scene: None
    seconds: float = 60.0
    before_s: float = 20.0
    after_s: float = 16.0
    ends_scene: bool = False
    """Nothing is mended: the next scenario begins with another broker."""


def _nothing(scene: Scene, seconds: float) -> None:
    scene.rest(seconds)


def _scale(scene: Scene, seconds: float) -> None:
    for _ in range(2):
        scene.add("sessionizer")
        scene.settle()
        scene.rest(seconds / 4)
    scene.remove("sessionizer-c")
    scene.rest(seconds / 2)


def _unscale(scene: Scene) -> None:
    scene.remove("sessionizer-b")


def _killed(role: str) -> Callable[[Scene, float], None]:
    def act(scene: Scene, seconds: float) -> None:
        scene.kill(f"{role}-a")
        scene.rest(seconds)

    return act


def _dies_again_and_again(scene: Scene, seconds: float) -> None:
    scene.add("sink")
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        scene.settle()
        scene.rest(1)
        scene.kill("sink-b", restart_s=4)
        scene.rest(5)


def _without_the_second_sink(scene: Scene) -> None:
    scene.settle()
    scene.remove("sink-b")


def _without_kafka(scene: Scene, seconds: float) -> None:
    scene.stack.broker.kill9()
    scene.rest(seconds)


def _kafka_again(scene: Scene) -> None:
    scene.stack.broker.restart()


def _clickhouse(fault: Fault | None) -> Callable[[Scene, float], None]:
    def act(scene: Scene, seconds: float) -> None:
        scene.proxy.set_fault(fault)
        scene.rest(seconds)

    return act


def _clickhouse_again(scene: Scene) -> None:
    scene.proxy.set_fault(None)


def _slow_clickhouse(scene: Scene, seconds: float) -> None:
    # A sink that stores few rows at a time, and a ClickHouse that takes its time for each.
    scene.remove("sink-a")
    scene.proxy.slow_s = 3.0
    scene.add("sink", "sink-a", PIPELINE_SINK_MAX_ROWS="100")
    scene.rest(seconds)


def _quick_clickhouse(scene: Scene) -> None:
    scene.proxy.slow_s = 0.0


def _starts_without_clickhouse(scene: Scene, seconds: float) -> None:
    scene.proxy.set_fault(Fault.REFUSE)
    scene.kill("sink-a", restart_s=1)
    scene.rest(seconds)


def _nobody(scene: Scene, seconds: float) -> None:
    for name in list(scene.slots):
        scene.kill(name, restart_s=None)
    scene.rest(seconds)


def _everybody(scene: Scene) -> None:
    for slot in scene.slots.values():
        scene.start(slot)
    scene.settle()


def _state_limit(scene: Scene, most_bytes: int) -> None:
    async def limit() -> None:
        client = AIOKafkaAdminClient(**scene.stack.connection.client_options())
        await client.start()
        try:
            configs = {"cleanup.policy": "compact", "max.message.bytes": str(most_bytes)}
            resource = ConfigResource(ConfigResourceType.TOPIC, topics.STATE, configs=configs)
            await client.alter_configs([resource])
        finally:
            await client.close()

    asyncio.run(limit())


def _envelope(device: str, number: int, **more: object) -> bytes:
    time_ms = _START_MS + number * 3_600_000
    event = {"id": f"{device}-{number}", "name": "app.screen.view", "time": time_ms}
    event["attributes"] = {"app.screen.name": "Home"}
    return orjson.dumps({"v": 1, "app_id": _APP, "device_id": device, "events": [event], **more})


def _poisoned(scene: Scene, seconds: float) -> None:
    _state_limit(scene, _SMALL_STATE_BYTES)
    key = f"{_APP}/heavy".encode()
    random = Random(1)
    for number in range(8):
        # What does not become smaller when it is compressed, as Kafka counts it.
        texts = {f"p{at:02}": b64encode(random.randbytes(750)).decode() for at in range(100)}
        user = {"id": f"user-{number}", "properties": texts}
        scene.put((topics.SDK_EVENTS, key, _envelope("heavy", number, user=user), None))
    scene.rest(seconds)


def _rebuilt(scene: Scene) -> None:
    """As the runbook has it."""
    _state_limit(scene, topics.MAX_MESSAGE_BYTES)
    scene.kill("sessionizer-a", restart_s=None)
    scene.stack.run("rebuild", "--states")
    scene.start(scene.slots["sessionizer-a"])
    scene.settle()


def _foreign(scene: Scene, seconds: float) -> None:
    """A producer whose partitioner is CRC-32."""
    ends_s, number = time.monotonic() + seconds, 0
    while time.monotonic() < ends_s:
        number += 1
        records = []
        for one in range(40):
            key = f"{_APP}/foreign-{one}".encode()
            place = crc32(key) % PARTITIONS
            if place != (murmur2(key) & 0x7FFFFFFF) % PARTITIONS:
                records.append((topics.SDK_EVENTS, key, _envelope(f"foreign-{one}", number), place))
        scene.put(*records)
        scene.rest(1)


def _old_news(scene: Scene, seconds: float) -> None:
    """Many devices tell at once what happened an hour ago."""
    ends_s, number = time.monotonic() + seconds, 0
    while time.monotonic() < ends_s:
        now_ms = int(time.time() * 1_000)
        records = []
        for _ in range(400):
            number += 1
            device = f"away-{number}"
            event = {"id": device, "name": "app.screen.view", "time": now_ms - 3_600_000}
            body = {"v": 1, "app_id": _APP, "device_id": device, "sent_at": now_ms, "events": [event]}
            records.append((topics.SDK_EVENTS, f"{_APP}/{device}".encode(), orjson.dumps(body), None))
        scene.put(*records)
        scene.rest(0.1)


def _garbage(scene: Scene, seconds: float) -> None:
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        scene.put(*(("measure-events", b"any", b"\x80 this is no JSON", None) for _ in range(20)))
        scene.rest(1)


def _tells_nobody(scene: Scene, seconds: float) -> None:
    scene.begin_alerts()
    scene.rest(seconds)


def _alerts_die(scene: Scene, seconds: float) -> None:
    scene.begin_alerts()
    scene.rest(seconds / 3)
    scene.kill_alerts()
    scene.rest(seconds * 2 / 3)


def _no_alerts(scene: Scene) -> None:
    scene.end_alerts()


def _deleted(topic: str) -> Callable[[Scene, float], None]:
    def act(scene: Scene, seconds: float) -> None:
        asyncio.run(delete(scene.stack, topic))
        scene.rest(seconds)

    return act


def _more_partitions(scene: Scene, seconds: float) -> None:
    async def raise_it() -> None:
        client = AIOKafkaAdminClient(**scene.stack.connection.client_options())
        await client.start()
        try:
            await client.create_partitions({topics.SDK_EVENTS: NewPartitions(total_count=PARTITIONS + 2)})
        finally:
            await client.close()

    asyncio.run(raise_it())
    scene.rest(seconds)


def _comes_as(settings: Callable[[Scene], dict[str, str]]) -> Callable[[Scene, float], None]:
    """A sink that is started anew with other settings."""

    def act(scene: Scene, seconds: float) -> None:
        slot = scene.slots["sink-a"]
        slot.settings.update(settings(scene))
        scene.kill("sink-a", restart_s=0)
        scene.rest(seconds)

    return act


def _logs_in_again(scene: Scene) -> None:
    slot = scene.slots["sink-a"]
    slot.settings.clear()
    if slot.restart_at_s is None:
        # It waits until somebody changes its settings.
        scene.stack.take(slot.processes[-1]).kill()
        scene.start(slot)
    scene.settle()


def _another_password(scene: Scene) -> dict[str, str]:
    """A ClickHouse URL whose password is wrong."""
    scheme, _, rest = scene.stack.worker_settings["PIPELINE_CLICKHOUSE_URL"].partition("://")
    login, _, address = rest.rpartition("@")
    user = login.partition(":")[0]
    return {"PIPELINE_CLICKHOUSE_URL": f"{scheme}://{user}:wrong@{address}"}


_WAITS, _BEHIND, _REFUSED = "A worker waits", "A worker is behind", "Records were refused"
_ANEW, _PARTITIONS = "A topic was made anew", "The number of partitions changed"
_BY_ITSELF = r"ready again"
_KILLED = "Its process is killed (SIGKILL), and started again 5 s later."

SCENARIOS = (
    Scenario("normal", "A normal hour", "Nothing is wrong.", _nothing, "", "", "", seconds=60),
    Scenario("scale", "Sessionizers 1 → 3 → 2 under load", "Two more sessionizers start; then one leaves.",
             _scale, r"its consumer group is rebalancing", _BY_ITSELF, _BEHIND, _unscale),
    Scenario("kill-router", "kill -9 of the router", _KILLED, _killed("router"), "", _BY_ITSELF, _WAITS, seconds=30),
    Scenario("kill-sessionizer", "kill -9 of the sessionizer", _KILLED, _killed("sessionizer"), "", _BY_ITSELF, _WAITS,
             seconds=30),
    Scenario("kill-sink", "kill -9 of the sink", _KILLED, _killed("sink"), "", _BY_ITSELF, _WAITS, seconds=30),
    Scenario("dies-again", "A worker that dies again and again", "One of two sinks is killed every ten seconds.",
             _dies_again_and_again, r"Workers come and go", r"Find what ends them", "SessionPipelineRebalancesOften",
             _without_the_second_sink),
    Scenario("kafka-away", "A minute without Kafka", "The broker is killed, and started again after a minute.",
             _without_kafka, r"nothing listens at kafka:9092", r"goes on by itself once it does",
             "SessionPipelineKafkaAway", _kafka_again, after_s=40),
    Scenario("clickhouse-away", "A minute without ClickHouse", "Nothing listens at its address.",
             _clickhouse(Fault.REFUSE), r"clickhouse:8123[^\n]* does not answer: Connection refused",
             r"Check that it runs and that PIPELINE_CLICKHOUSE_URL names it", "SessionPipelineClickHouseAway",
             _clickhouse_again),
    Scenario("clickhouse-overloaded", "ClickHouse has no memory",
             "It answers each statement with MEMORY_LIMIT_EXCEEDED, for more than a minute.",
             _clickhouse(Fault.ERROR), r"sessions_db took no rows[^\n]*: \(total\) memory limit exceeded",
             r"Give ClickHouse more memory", "SessionPipelineInsertsFail", _clickhouse_again, seconds=80),
    Scenario("clickhouse-slow", "ClickHouse is slow", "Each insert takes 3 s, and the sink stores little at once.",
             _slow_clickhouse, r"ClickHouse is slow: \d+ inserts took [\d.]+ s each", r"Start more workers of the role",
             "SessionPipelineBehind", _quick_clickhouse, seconds=100),
    Scenario("sink-starts-alone", "A sink starts while ClickHouse is away", "The sink is killed and started again.",
             _starts_without_clickhouse, r"waiting for ClickHouse, to learn",
             r"Check that it runs and that PIPELINE_CLICKHOUSE_URL names it", "SessionPipelineRecoversLong",
             _clickhouse_again),
    Scenario("nobody", "No worker runs", "All are killed, and nobody starts them.", _nobody,
             r"No worker of the session pipeline is seen", r"Start the workers",
             "SessionPipelineNobodyWorks", _everybody, seconds=40),
    Scenario("poisoned", "A device that cannot be folded", "Its state is larger than the changelog takes.",
             _poisoned, r"is set aside", r"max\.message\.bytes", "Devices were set aside", _rebuilt, seconds=30),
    Scenario("foreign", "A producer with another partitioner", "Its records are where their keys do not belong.",
             _foreign, r"wrong_partition", r"session-pipeline dead-letters list", "SessionPipelineWrongPartition",
             seconds=66),
    Scenario("old-news", "What comes is old", "Devices send what happened an hour ago.",
             _old_news, r"it came late to Kafka", r"Look there", "SessionPipelineEventsLateFast",
             seconds=70, before_s=8),
    Scenario("garbage", "A flood of garbage", "20 records a second that are no JSON, on measure-events.",
             _garbage, r"on measure-events \(\w+\)", r"session-pipeline dead-letters list",
             "SessionPipelineRefusesMuch", seconds=66),
    Scenario("kafka-password", "A wrong password for Kafka", "The sink is started with it (SASL_SSL).",
             _comes_as(lambda scene: scene.guarded.login("wrong")), r"refused the login of worker",
             r"PIPELINE_KAFKA_PASSWORD", "SessionPipelineRoleMissing", _logs_in_again, seconds=40),
    Scenario("certificate", "Kafka's certificate has expired", "The sink is started before a listener that shows it.",
             _comes_as(lambda scene: scene.guarded.expired()), r"certificate has expired", r"Renew it there",
             "SessionPipelineRoleMissing", _logs_in_again, seconds=40),
    Scenario("clickhouse-password", "A wrong password for ClickHouse", "The sink is started with it.",
             _comes_as(_another_password), r"[Aa]uthentication", r"PIPELINE_CLICKHOUSE",
             "SessionPipelineClickHouseAway", _logs_in_again, seconds=40),
    Scenario("webhook-away", "A webhook takes no alert", "`alerts run` has something to tell, and nobody listens.",
             _tells_nobody, r"team, try \d+[^\n]*refused", r"sent again for three days",
             "SessionPipelineAlertsNotDelivered", seconds=70),
    Scenario("alerts-die", "`alerts run` dies", "It is killed (SIGKILL), and nobody starts it.",
             _alerts_die, r"`alerts run` is gone", r"What is missed is made up for",
             "SessionPipelineAlertRulesStandStill", _no_alerts, seconds=75),
    Scenario("raw-topic-deleted", "A raw topic is deleted", "measure-events is deleted.", _deleted("measure-events"),
             r"measure-events does not exist", r"session-pipeline migrate --made-anew measure-events", _ANEW,
             seconds=30, after_s=0, ends_scene=True),
    Scenario("topic-deleted", "sdk-events is deleted", "Workers make it anew as they start.", _deleted("sdk-events"),
             r"sdk-events was made anew", r"PIPELINE_OFFSET_BASE has to be above", _ANEW, seconds=40, after_s=0,
             ends_scene=True),
    Scenario("partitions-raised", "sdk-events gets more partitions", "Two more than workers go by.", _more_partitions,
             r"sdk-events'? has 6 partitions", r"configure 6|session-pipeline repartition", _PARTITIONS, seconds=40,
             after_s=0, ends_scene=True),
)  # fmt: skip
