"""`check`: whether a worker could run with these settings, before one is started. One line for each thing looked at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, NamedTuple

import orjson
import typer

from pipeline import wiring
from pipeline.clickhouse import needs
from pipeline.clickhouse.codes import UNKNOWN_DATABASE, code_of
from pipeline.clickhouse.grants import missing_grants, server_version_and_clock
from pipeline.clickhouse.migrations import pending
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.versions import is_left_to_do
from pipeline.commands.failure import CommandFailed
from pipeline.commands.topic_set_up import set_up
from pipeline.errors import PipelineError
from pipeline.kafka.allowed import Allowed, allowed
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_identity import TopicMadeAnew, other_counts
from pipeline.kafka.topic_ids import ids_of
from pipeline.kafka.topic_settings import settings_of_topics
from pipeline.kafka.waiting import require_broker
from pipeline.roles.known_topics import OffsetBaseTooLow, known_topics, made_anew, require_base
from pipeline.roles.rights import CLUSTER, GROUP, THE_CLUSTER, TOPIC, TRANSACTIONAL_ID, Right, rights
from pipeline.roles.topology import ROLES
from pipeline.settings import InvalidSettings, Settings
from pipeline.tls import ShownCertificate, now_utc, shown_certificate

_CLOCKS_APART_MS = 5_000
"""A server whose clock is that far from ours is told of: what comes when is decided by clocks."""
_RENEW_BEFORE = timedelta(days=14)
"""A certificate of ours that expires sooner is told of."""


class Program(StrEnum):
    """Whose needs are looked at."""

    all = "all"
    sessionizer = "sessionizer"
    sink = "sink"
    router = "router"
    receive = "receive"
    operator = "operator"
    rebuild = "rebuild"
    erase = "erase"
    replay = "replay"
    """`dead-letters replay`."""
    retention = "retention"
    repartition = "repartition"
    policies = "policies"
    """`policies publish`."""
    dashboard = "dashboard"
    alerts = "alerts"


class Outcome(StrEnum):
    """What a line comes to."""

    ok = "ok"
    warning = "warning"
    """It runs, but not as it was meant to."""
    fault = "fault"
    """It could not run."""


class Checked(NamedTuple):
    """A line."""

    verdict: Outcome
    what: str
    says: str


def check(
    role: Annotated[
        Program, typer.Option(help="Which role to check for; all: for every worker.")
    ] = Program.all,
    format: Annotated[str, typer.Option(help="text, or json for programs.")] = "text",
) -> None:
    """Check settings, Kafka and ClickHouse as a worker would need them, one line each.

    Exits with 1 if a worker could not run. Nothing is created or changed.
    """
    if format not in ("text", "json"):
        raise CommandFailed(f"--format {format}: use one of text, json")
    found: list[Checked] = []
    for finding in _findings(role):
        found.append(finding)
        if format == "text":
            print(f"{finding.verdict:8}{finding.what:20}{finding.says}", flush=True)
    if format == "json":
        lines = [{"verdict": line.verdict, "what": line.what, "says": line.says} for line in found]
        print(orjson.dumps({"role": role, "checks": lines}).decode())
    faults = [finding.what for finding in found if finding.verdict is Outcome.fault]
    if faults:
        raise CommandFailed(f"it could not run: {', '.join(faults)}")


def _findings(program: Program) -> Iterator[Checked]:
    try:
        settings = wiring.settings()
    except InvalidSettings as error:
        yield Checked(Outcome.fault, "settings", str(error).removeprefix("settings: "))
        return
    yield Checked(Outcome.ok, "settings", "all can be used")
    store = wiring.store(settings)
    try:
        yield from _of_clickhouse(store, program)
        if settings.clickhouse_cert_file:
            shown = shown_certificate(settings.clickhouse_cert_file)
            yield from _of_certificate(shown, "clickhouse", "PIPELINE_CLICKHOUSE_CERT_FILE")
        yield from asyncio.run(_collected(_of_kafka(settings, store, program)))
    finally:
        store.close()


async def _collected(findings: AsyncIterator[Checked]) -> list[Checked]:
    return [finding async for finding in findings]


def _of_clickhouse(store: Store, program: Program) -> Iterator[Checked]:
    # Of the workers the sink alone asks it.
    name = "sink" if program is Program.all else program.value
    if name not in needs.PROGRAMS:
        return
    try:
        version, now_ms = server_version_and_clock(store)
    except PipelineError as error:
        if code_of(error) != UNKNOWN_DATABASE:
            yield Checked(Outcome.fault, "clickhouse login", str(error))
            return
        says = f"database {store.database} does not exist: run `session-pipeline migrate`"
        yield Checked(Outcome.fault, "clickhouse schema", says)
        return
    yield Checked(Outcome.ok, "clickhouse login", f"version {version}")
    apart_ms = now_ms - time.time() * 1_000
    if abs(apart_ms) > _CLOCKS_APART_MS:
        ahead = "ahead of" if apart_ms > 0 else "behind"
        says = f"its clock is {abs(apart_ms) / 1_000:.0f} s {ahead} this machine's: set both by NTP"
        yield Checked(Outcome.warning, "clickhouse clock", says)
    try:
        missing = pending(store)
        says = f"lacks {', '.join(missing)}: run `session-pipeline migrate`"
        yield Checked(
            Outcome.fault if missing else Outcome.ok, "clickhouse schema", says if missing else "up to date"
        )
        if is_left_to_do(store):
            says = "each insert costs more than it has to: run `session-pipeline migrate`, which goes on where it was"
            yield Checked(Outcome.warning, "clickhouse versions", says)
        lacking = missing_grants(store, needs.grants_of(name))
    except PipelineError as error:
        yield Checked(Outcome.fault, "clickhouse schema", str(error))
        return
    if lacking is None:
        yield Checked(
            Outcome.warning, "clickhouse grants", "not known: this server does not answer CHECK GRANT"
        )
    elif lacking:
        says = f"GRANT {'; GRANT '.join(lacking)} to this user (deploy/clickhouse-users.sql)"
        yield Checked(Outcome.fault, "clickhouse grants", says)
    else:
        yield Checked(Outcome.ok, "clickhouse grants", "all that are needed")


async def _of_kafka(settings: Settings, store: Store, program: Program) -> AsyncIterator[Checked]:
    if program in (Program.dashboard, Program.retention, Program.alerts):
        return
    connection = wiring.connection(settings)
    try:
        await require_broker(connection)
    except PipelineError as error:
        yield Checked(Outcome.fault, "kafka login", str(error))
        return
    for finding in _of_login(connection):
        yield finding
    needed = _needed(program)
    try:
        may = await allowed(
            connection,
            [right.name for right in needed if right.resource == TOPIC],
            [right.name for right in needed if right.resource == GROUP],
            [f"{right.name}0" for right in needed if right.resource == TRANSACTIONAL_ID],
        )
        for finding in (*_topics(settings, needed, may), *_rights(needed, may)):
            yield finding
        async for finding in _topics_as_made(settings, store, needed):
            yield finding
    except PipelineError as error:
        yield Checked(Outcome.fault, "kafka", str(error))


def _of_login(connection: KafkaConnection) -> Iterator[Checked]:
    """As whom it was let in, and whether that will go on."""
    shown = shown_certificate(connection.cert_file) if connection.cert_file else None
    login = (
        f"as {connection.username}"
        if connection.sasl
        else f"as {shown.subject}"
        if shown
        else "without a user"
    )
    yield Checked(Outcome.ok, "kafka login", f"{connection.bootstrap}, {login}, {connection.security}")
    yield from _of_certificate(shown, "kafka", "PIPELINE_KAFKA_CERT_FILE")


def _of_certificate(shown: ShownCertificate | None, system: str, setting: str) -> Iterator[Checked]:
    """That our own certificate is not about to expire."""
    if shown is None:
        return
    says, left = f"{shown}, from {setting}", shown.valid_until - now_utc()
    if left < _RENEW_BEFORE:
        yield Checked(Outcome.warning, f"{system} certificate", f"{says}: renew it, and restart what uses it")
    else:
        yield Checked(Outcome.ok, f"{system} certificate", says)


def _needed(program: Program) -> list[Right]:
    """The rights of a program, those on one resource as one."""
    users = ROLES if program is Program.all else (program.value,)
    merged: dict[tuple[str, str, bool], tuple[str, ...]] = {}
    for right in (right for user in users for right in rights(user)):
        place = (right.resource, right.name, right.is_prefix)
        merged[place] = tuple(dict.fromkeys((*merged.get(place, ()), *right.operations)))
    return [
        Right(resource, name, operations, prefix) for (resource, name, prefix), operations in merged.items()
    ]


def _topics(settings: Settings, needed: Iterable[Right], may: Allowed) -> Iterator[Checked]:
    """That they exist, with as many partitions as the settings say."""
    names = [right.name for right in needed if right.resource == TOPIC]
    made = wiring.topics_as_planned(settings)
    seen = {name: count for name, count in may.partitions.items() if name in names}
    other = other_counts(seen, {name: count for name, (count, _) in made.items()})
    if other:
        yield Checked(Outcome.fault, "kafka topics", other)
    # One that this user may not see looks as if it were not there; its rights are told of below.
    absent = [name for name in names if name not in may.partitions and name not in may.topics]
    if absent and may.cluster is not None and "Create" not in may.cluster:
        says = (
            f"{', '.join(absent)} do not exist, nor may this user make them: run `session-pipeline migrate` as one "
            "who may"
        )
        yield Checked(Outcome.fault, "kafka topics", says)
    elif absent:
        yield Checked(
            Outcome.warning,
            "kafka topics",
            f"{', '.join(absent)} do not exist yet: a worker makes them if its user may",
        )
    elif not other:
        says = f"all {len(names)} exist, those of devices with {settings.partitions} partitions"
        yield Checked(Outcome.ok, "kafka topics", says)


def _rights(needed: Iterable[Right], may: Allowed) -> Iterator[Checked]:
    """That this user may do what it has to."""
    lacking, unknown = [], 0
    for right in needed:
        operations = _operations(right, may)
        if operations is None:
            unknown += 1
            continue
        missing = [name for name in right.operations if name not in operations]
        if missing:
            lacking.append(
                f"{' and '.join(missing)} on {right.resource} {right.name}{'*' if right.is_prefix else ''}"
            )
    if lacking:
        yield Checked(
            Outcome.fault, "kafka rights", f"this user lacks {'; '.join(lacking)} (deploy/KAFKA-RIGHTS.md)"
        )
    elif unknown:
        yield Checked(
            Outcome.ok,
            "kafka rights",
            f"this broker does not say about {unknown} of them; none is known to be missing",
        )
    else:
        yield Checked(Outcome.ok, "kafka rights", "all that are needed")


def _operations(right: Right, may: Allowed) -> frozenset[str] | None:
    if right.resource == CLUSTER:
        assert right.name == THE_CLUSTER
        return may.cluster
    if right.resource == TRANSACTIONAL_ID:
        return may.transactional_ids[f"{right.name}0"]
    return (may.topics if right.resource == TOPIC else may.groups).get(right.name)


async def _topics_as_made(
    settings: Settings, store: Store, needed: Iterable[Right]
) -> AsyncIterator[Checked]:
    """That topics are set up as `migrate` does, and are those whose rows are stored."""
    connection = wiring.connection(settings)
    names = [right.name for right in needed if right.resource == TOPIC]
    found = await settings_of_topics(connection, names)
    made = wiring.topics_as_planned(settings)
    different = list(set_up({topic: made[topic][1] for topic in names}, found))
    for verdict, says in different:
        yield Checked(Outcome(verdict), "kafka topic set-up", says)
    if found and not different:
        yield Checked(
            Outcome.ok, "kafka topic set-up", f"as `migrate` makes them, {len(found)} of {len(names)} seen"
        )
    try:
        known = await asyncio.to_thread(known_topics, store)
    except PipelineError:
        # What is wrong with ClickHouse has been told, or this program has nothing to do with it.
        return
    ids = await ids_of(connection, names)
    try:
        require_base(known, names, settings.offset_base)
    except OffsetBaseTooLow as error:
        yield Checked(Outcome.fault, "kafka offsets", str(error))
    for topic, was, now in made_anew(known, ids, settings.offset_base):
        yield Checked(Outcome.fault, "kafka topics", str(TopicMadeAnew.by_id(topic, was, now)))
