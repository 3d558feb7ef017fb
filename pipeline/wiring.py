"""Puts the parts together. The only place that reads the environment.

Each part is loaded when it is asked for: every command wants some of them, and to load all takes half a second.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.embedded.running import completed
from pipeline.settings import DEBUG, Settings, load, unknown

if TYPE_CHECKING:
    from pipeline.clickhouse.store import Store
    from pipeline.formats.edge import Edge
    from pipeline.formats.options import Options
    from pipeline.kafka.connection import KafkaConnection
    from pipeline.roles.rebuild import Rebuild, RebuildScope


def settings() -> Settings:
    """The settings of this process. Raises `InvalidSettings`.

    Warns of variables that look like settings but are not. Where the URL of ClickHouse has no user and `up` of the
    same user runs there: with user and password of that one.
    """
    loaded = load(os.environ)
    for line in unknown(os.environ):
        logging.getLogger(__name__).warning("%s", line)
    return replace(loaded, clickhouse_url=completed(loaded.clickhouse_url, state_folder()))


def shows_tracebacks() -> bool:
    """Whether PIPELINE_DEBUG asks for the traceback of a failure. Not a setting: those may be at fault."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def state_folder() -> Path:
    """Where a user's programs tell each other what is running: `$XDG_STATE_HOME` or `~/.local/state`."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path("~/.local/state").expanduser()) / "session-pipeline"


def connection(settings: Settings) -> KafkaConnection:
    """How to reach Kafka."""
    from pipeline.kafka.connection import KafkaConnection

    return KafkaConnection(
        settings.kafka_bootstrap,
        security=settings.kafka_security,
        mechanism=settings.kafka_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
        cert_file=settings.kafka_cert_file,
        key_file=settings.kafka_key_file,
        key_password=settings.kafka_key_password,
        token_url=settings.kafka_token_url,
        token_scope=settings.kafka_token_scope,
        token_ca_file=settings.kafka_token_ca_file,
    )


def options(settings: Settings) -> Options:
    """How foreign formats are read. Where an app keeps names or addresses of its users, all of them come as far as the
    rules of privacy, which leave them out for the others."""
    from pipeline.formats.options import Options

    privacy = settings.privacy
    return Options(
        personal=any(rules.keep for rules in (privacy.default, *privacy.by_app.values())),
        otlp_app_id=tuple(settings.otlp_app_id.split(",")),
        otlp_session_devices=settings.otlp_session_devices,
        sentry_apps=tuple(
            (project, app_id)
            for project, _, app_id in (
                pair.partition("=") for pair in settings.sentry_apps.split(",") if pair
            )
        ),
    )


def apps_of(settings: Settings) -> Callable[[str, bytes | None, bytes], frozenset[str]]:
    """What tells the apps that a refused record (topic, key, value) names; none where that cannot be read."""
    read = options(settings)

    def named(topic: str, key: bytes | None, value: bytes) -> frozenset[str]:
        # Few processes that could be asked ever are.
        from pipeline.formats import registry

        return registry.apps_of(topic, key, value, read)

    return named


def counts_before(settings: Settings) -> tuple[int, ...]:
    """Earlier numbers of partitions."""
    return tuple(int(count) for count in settings.partitions_before.split(",") if count)


def edge(settings: Settings) -> Edge:
    """What of the input comes in: by privacy rules and sampling."""
    from pipeline.formats.edge import Edge

    return Edge(settings.privacy, settings.samplings, settings.privacy_key)


def in_force(settings: Settings, store: Store) -> Settings:
    """Settings with the policies that were published, as far as ClickHouse knows, if any were. Blocks; raises what the
    store raises."""
    from pipeline.roles.published import parts_in_force

    return replace(settings, **parts_in_force(store))


def store(settings: Settings) -> Store:
    """ClickHouse; nothing is connected yet. Raises `NotUnderstood` where a schema file has no form for a cluster."""
    from pipeline.clickhouse.clustered import clustered
    from pipeline.clickhouse.store import Store
    from pipeline.tls import Tls

    servers = [server.rpartition(":") for server in settings.clickhouse_hosts.split(",") if server]
    name = settings.clickhouse_cluster
    return Store(
        settings.clickhouse_url,
        timeout_s=max(1, settings.clickhouse_timeout_ms // 1_000),
        hosts=[(host, int(port)) for host, _, port in servers],
        cluster=partial(clustered, name) if name else None,
        insert_quorum=settings.clickhouse_insert_quorum,
        tls=Tls(
            "PIPELINE_CLICKHOUSE",
            settings.clickhouse_ca_file,
            settings.clickhouse_cert_file,
            settings.clickhouse_key_file,
            settings.clickhouse_key_password,
        ),
    )


def rebuild(settings: Settings, store: Store, scope: RebuildScope, now_ms: int) -> Rebuild:
    """A rebuild under the policies that hold, with silence reported as of `now_ms`. Blocks; raises
    `UnknownStateVersion` and what the store raises."""
    from pipeline.roles.rebuild import Rebuild
    from pipeline.state.codec import state_codec

    encode = state_codec.encoder(settings.state_version)
    settings = in_force(settings, store)
    return Rebuild(
        store,
        settings.policies,
        scope,
        partitions=settings.partitions,
        now_ms=now_ms,
        encode=encode,
        retentions=settings.retentions,
        samplings=settings.samplings,
        offset_base=settings.offset_base,
    )


def topics_as_planned(settings: Settings) -> Mapping[str, tuple[int, Mapping[str, str]]]:
    """All topics, with their partitions and configuration."""
    from pipeline.roles import topology

    return topology.plan(settings.partitions, settings.topic_retention_ms, settings.kafka_replication)


async def make_topics(settings: Settings, role: str = "all") -> None:
    """Create the topics of a role that are missing; waits for the broker. Raises `BrokerUnavailable`, `KafkaRefused`,
    `TopicMismatch`."""
    from pipeline.kafka.admin import ensure_topics
    from pipeline.kafka.waiting import wait_for_broker
    from pipeline.roles.rights import topics_of

    target = connection(settings)
    await wait_for_broker(target, give_up_s=settings.kafka_give_up_ms / 1_000)
    everything, its_own = topics_as_planned(settings), topics_of(role)
    plan = {name: made for name, made in everything.items() if name in its_own}
    await ensure_topics(target, plan, replication_factor=settings.kafka_replication)
