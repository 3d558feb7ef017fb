"""`repartition`: more partitions for all topics, with every state where its device's key belongs from then on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from pipeline import topics, wiring
from pipeline.clickhouse.chosen import require_same_cluster
from pipeline.commands.failure import CommandFailed
from pipeline.commands.progress import until_done
from pipeline.kafka.admin import group_members
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.partitions import can_grow
from pipeline.kafka.topic_ids import ids_of
from pipeline.kafka.waiting import wait_for_broker
from pipeline.roles.known_topics import known_topics
from pipeline.roles.repartition import CannotRepartition, Repartition
from pipeline.roles.topology import ROLES, all_read, group_of, reads
from pipeline.settings import Settings
from pipeline.state.moving import Plan

_EMBEDDED = (
    "this broker cannot give topics more partitions. The embedded one makes its topics at every start: stop `up`, and "
    "start it with another PIPELINE_PARTITIONS"
)
_ANSWER_S = 10.0
_POLL_S = 0.5
_REPORT_S = 5.0


def repartition(
    partitions: Annotated[
        int, typer.Option(min=2, max=10_000, help="How many each topic should have; more than now.")
    ],
    timeout: Annotated[
        float,
        typer.Option(min=1, help="Seconds to wait until the backlog is done, and until workers are stopped."),
    ] = 600,
) -> None:
    """Give all topics more partitions, and move the state of every device to where its key then belongs.

    Run it with the present settings while workers run: it waits until they have worked off the backlog, and says when
    to stop them. Producers and receive may go on. If it is killed, run the same command again. At its end it prints the
    settings with which to start workers (deploy/runbook.md, "More partitions").
    """
    _repartition(wiring.settings(), partitions, timeout)


def _repartition(settings: Settings, partitions: int, timeout_s: float) -> None:
    store = wiring.store(settings)
    try:
        require_same_cluster(store)
        work = Repartition(
            wiring.connection(settings),
            store,
            partitions=partitions,
            before=settings.partitions,
            offset_base=settings.offset_base,
            say=_say,
            edge=wiring.edge(settings),
        )
        done = asyncio.run(_run(work, wiring.connection(settings), timeout_s))
        known = known_topics(store).get(topics.SDK_EVENTS)
    finally:
        store.close()
    if done is None:
        print(
            f"nothing to do: all topics have {partitions} partitions, and the states are split the same way"
        )
        before = settings.partitions_before or str(settings.partitions)
        _say_settings(partitions, known.offset_base if known else settings.offset_base, before)
        return
    counts = [*(n for n in settings.partitions_before.split(",") if n), str(done.before)]
    print(f"moved the states of {work.devices} devices; from now on, for all workers and commands:")
    _say_settings(done.partitions, done.offset_base, ",".join(dict.fromkeys(counts)))


def _say_settings(partitions: int, offset_base: int, before: str) -> None:
    print(f"  PIPELINE_PARTITIONS={partitions}")
    print(f"  PIPELINE_OFFSET_BASE={offset_base}")
    print(f"  PIPELINE_PARTITIONS_BEFORE={before}")


def _say(line: str) -> None:
    print(line, flush=True)


async def _run(work: Repartition, connection: KafkaConnection, timeout_s: float) -> Plan | None:
    await wait_for_broker(connection, give_up_s=_ANSWER_S)
    if not await can_grow(connection):
        raise CannotRepartition(_EMBEDDED)
    await work.counts()
    await _until_done(connection, timeout_s)
    await _until_nobody_works(connection, timeout_s)
    return await work.run()


async def _members(connection: KafkaConnection) -> dict[str, int]:
    """How many workers of each role there are, of those that have any."""
    found = {}
    for role in ROLES:
        members = await group_members(connection, group_of(role))
        if members is None:
            raise CannotRepartition(f"this broker does not say whether workers run ({group_of(role)})")
        if members:
            found[role] = members
    return found


async def _until_done(connection: KafkaConnection, timeout_s: float) -> None:
    """Until the workers that run have done all that was there when this began."""
    ids = await ids_of(connection, all_read())
    for role in await _members(connection):
        waiting_for = [role]
        names = reads()[role] if role == "router" else (topics.SDK_EVENTS,)
        doing = asyncio.create_task(until_done(connection, ids, role, names, waiting_for))

        async def is_over(role: str = role, doing: asyncio.Task[None] = doing) -> bool:
            # Whoever was stopped meanwhile does no more of it: what is left is moved.
            return doing.done() or role not in await _members(connection)

        try:
            await _until(is_over, lambda said=waiting_for: said[0], timeout_s)  # type: ignore[misc]
            if doing.done():
                doing.result()
        finally:
            doing.cancel()


async def _until_nobody_works(connection: KafkaConnection, timeout_s: float) -> None:
    found: dict[str, int] = {}

    async def is_over() -> bool:
        found.clear()
        found.update(await _members(connection))
        return not found

    def waiting_for() -> str:
        workers = ", ".join(f"{count} of {role}" for role, count in found.items())
        return f"all workers to be stopped (SIGTERM): {workers} still run. Producers and `receive` may go on"

    await _until(is_over, waiting_for, timeout_s)


async def _until(
    is_over: Callable[[], Awaitable[bool]], waiting_for: Callable[[], str], timeout_s: float
) -> None:
    loop = asyncio.get_running_loop()
    began_s, said_s, said = loop.time(), 0.0, ""
    while not await is_over():
        now_s, text = loop.time(), waiting_for()
        if now_s - began_s > timeout_s:
            raise CommandFailed(f"gave up after {timeout_s:g} s: waiting for {text}. Nothing was changed")
        if text != said and now_s - said_s >= _REPORT_S:
            print(f"waiting for {text}", file=sys.stderr, flush=True)
            said_s, said = now_s, text
        await asyncio.sleep(_POLL_S)
