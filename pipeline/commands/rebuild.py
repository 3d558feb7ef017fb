"""`rebuild`: the sessions computed again from the stored events."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from pipeline import topics, wiring
from pipeline.clickhouse.chosen import require_same_cluster
from pipeline.commands.failure import CommandFailed
from pipeline.commands.times import unix_ms
from pipeline.kafka.admin import LogBounds, committed_offsets, group_members, log_bounds, topic_partitions
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_ids import ids_of
from pipeline.kafka.waiting import wait_for_broker
from pipeline.roles.known_topics import note_replaced
from pipeline.roles.rebuild import DeviceDifferences, Rebuild, RebuildScope
from pipeline.roles.topology import group_of
from pipeline.settings import Settings
from pipeline.storage.stored_session import Difference
from pipeline.topics import TP

_ANSWER_S = 10.0
_POLL_S = 0.5
_LEAVING_S = 4.0
_STORES_S = 10.0
"""A sink that keeps up has stored by then what was there at the beginning, whatever comes meanwhile."""


def rebuild(settings: Settings, scope: RebuildScope, *, dry_run: bool, states: bool) -> None:
    """Print what differs and, unless it is a dry run, put the exact sessions in its place, and take back what is stored
    of an event besides the copy that came first (for which nobody has to stop).

    With `states` the state of every device is written to Kafka again even where nothing differs. Raises
    `CommandFailed` where a sessionizer runs and something differs, `Fenced`, `ClaimDenied`, `TooLarge`, and what the
    store and Kafka raise.
    """
    store = wiring.store(settings)
    require_same_cluster(store)
    # What a replica lacks would be taken for gone.
    store.catch_up()
    work = wiring.rebuild(settings, store, scope, int(time.time() * 1_000))
    try:
        counts = _show(work, take_back=not dry_run)
        total = sum(counts.values())
        if not total:
            print("no difference: the stored sessions are those of the stored events")
        else:
            summary = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
            print(f"{total} sessions differ: {summary}")
        if work.left:
            print(
                f"{work.left} sessions are left as they are: some of their events may no longer be kept "
                "(session-pipeline retention)"
            )
        if work.copies:
            print(
                f"{work.copies} copies of events {'are stored besides these' if dry_run else 'were taken back'}"
            )
        if dry_run or not (total or states):
            return
        replaced = asyncio.run(_require_rest(settings))
        # States first. What the sink stores meanwhile is then in the rows, where the states may not have it yet and
        # the sessionizers write it again. The other way round they would take a row for written that never was.
        # And a rebuild that was cut off in between finds the difference again.
        if scope.ends_now:
            devices = asyncio.run(work.put_states(wiring.connection(settings)))
            print(f"the sessionizers will go on from the rebuilt state of {devices} devices")
        # Before the swap: what `sessions` holds is stored by now, and passing over it does no harm.
        note_replaced(store, *replaced)
        print(f"{work.swap()} sessions are in place")
    finally:
        store.close()


def scope(app_id: str, start: datetime | None, end: datetime | None) -> RebuildScope:
    """Which sessions, from times in UTC."""
    given = {name: unix_ms(at) for name, at in (("from_ms", start), ("to_ms", end)) if at is not None}
    return RebuildScope(app_id, **given)


def _show(work: Rebuild, *, take_back: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for device in work.differences(take_back=take_back):
        for difference in device.differences:
            counts[difference.what] += 1
            print(_line(device, difference))
    return counts


def _line(device: DeviceDifferences, difference: Difference) -> str:
    changes = "".join(
        f"  {name}: {before} -> {after}" for name, (before, after) in difference.changes.items()
    )
    return f"{difference.what:7}  {device.app_id}  {device.device_id}  {difference.session_id}{changes}"


async def _require_rest(settings: Settings) -> tuple[str, dict[int, int]]:
    """Refuse to swap under running sessionizers, or before all that came in is stored.

    Returns the id of the topic `sessions`, and where its partitions end: all that it holds is stored.
    """
    connection = wiring.connection(settings)
    await wait_for_broker(connection, give_up_s=_ANSWER_S)
    await _until_nobody_folds(connection, settings.kafka_session_timeout_ms / 1_000 + _LEAVING_S)
    ids = await ids_of(connection, [topics.SESSIONS])
    names = [topics.SDK_EVENTS, topics.SESSIONS]
    logs = await log_bounds(connection, await topic_partitions(connection, names))
    await _until_stored(connection, logs)
    return ids.get(topics.SESSIONS, ""), {
        tp.partition: log.end for tp, log in logs.items() if tp.topic == topics.SESSIONS
    }


async def _until_stored(connection: KafkaConnection, logs: Mapping[TP, LogBounds]) -> None:
    """What comes after these ends nobody has folded: it may wait, or be stored meanwhile. Raises CommandFailed."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _STORES_S
    while True:
        done = await committed_offsets(connection, group_of("sink"), {tp.topic for tp in logs})
        behind = Counter[str]()
        for tp, log in logs.items():
            behind[tp.topic] += max(0, log.end - max(log.begin, done.get(tp) or 0))
        for topic, records in behind.items():
            if records and loop.time() > deadline_s:
                raise CommandFailed(
                    f"the sink has yet to store {records} records of {topic}: wait for it, then rebuild"
                )
        if not behind.total():
            return
        await asyncio.sleep(_POLL_S)


async def _until_nobody_folds(connection: KafkaConnection, patience_s: float) -> None:
    """A sessionizer that was killed is a member of its group until the session timeout is over."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + patience_s
    told = False
    while True:
        members = await group_members(connection, group_of("sessionizer"))
        if members is None:
            raise CommandFailed(
                "this broker does not say whether a sessionizer runs; the embedded stack rebuilds by itself "
                "when it starts: stop it, and start it with these settings"
            )
        if not members:
            return
        if loop.time() > deadline_s:
            raise CommandFailed(
                f"{members} sessionizers run: stop them first. What comes in meanwhile waits in Kafka, and "
                "they go on from the rebuilt sessions. (The embedded broker never forgets a member: stop `up` "
                "and start it with these settings, it rebuilds by itself)"
            )
        if not told:
            print(f"waiting {patience_s:.0f} s at most for {members} sessionizers to be gone", flush=True)
            told = True
        await asyncio.sleep(_POLL_S)
