"""What Kafka takes away: records past their retention, read or not, and the offsets of a group that was not there."""

from __future__ import annotations

from typing import Any

from pipeline import topics
from pipeline.formats.registry import routed_topics
from tests.simulation.clickhouse import NOT_STORABLE
from tests.simulation.world import World

_READERS = {
    topics.SDK_EVENTS: ("sessionizer", "sink"),
    **dict.fromkeys(routed_topics(), ("router",)),
    topics.SESSIONS: ("sink",),
    topics.EVENT_COPIES: ("sink",),
    topics.DEAD_LETTERS: ("sink",),
}


def expire(world: World) -> None:
    """Records go that everybody has done."""
    for topic, number in _places(world):
        log = world.site.broker.log(topic, number)
        done = min(world.site.broker.committed(role, (topic, number)) or 0 for role in _READERS[topic])
        if done > log.begin:
            log.delete_below(world.rng.randint(log.begin + 1, done))
            world.note(f"{topic}[{number}] begins at {log.begin}")


def expire_unread(world: World) -> None:
    """A role is down for longer than the retention: records of `sdk-events` go that it has not seen."""
    role, other = world.rng.choice((("sessionizer", "sink"), ("sink", "sessionizer")))
    world.stop_all(role)
    for number in range(world.plan.partitions):
        log = world.site.broker.log(topics.SDK_EVENTS, number)
        bound = min(log.end, world.site.broker.committed(other, (topics.SDK_EVENTS, number)) or 0)
        bound = world.rng.randint(log.begin, max(log.begin, bound))
        for record in log.read(log.begin, bound):
            if _is_done(world, role, number, record):
                continue
            if _is_in_part(world, role, number, record):
                bound = record.offset
                break
            world.lost[role].add((number, record.offset))
        if bound > log.begin:
            log.delete_below(bound)
            world.note(f"sdk-events[{number}] begins at {bound}; lost to {role}: {sorted(world.lost[role])}")
    world.spawn(role)


def forget_offsets(world: World) -> None:
    """A group was empty for so long that the broker forgot what it had committed, or somebody reset it."""
    role = world.rng.choice(sorted(world.groups))
    world.stop_all(role)
    world.site.broker.forget(role)
    world.note(f"the offsets of {role} are forgotten")
    world.spawn(role)


def _places(world: World) -> list[tuple[str, int]]:
    return [(topic, number) for topic in _READERS for number in range(world.plan.partitions)]


def _is_done(world: World, role: str, number: int, record: Any) -> bool:
    if role == "sink":
        ledger = world.site.server.tables["ledger_records"].rows
        return (topics.SDK_EVENTS, number, record.offset + world.site.offset_base) in ledger
    if not world.is_sound(number, record) or (number, record.key) in world.set_aside:
        return True
    return (world.site.broker.committed(role, (topics.SDK_EVENTS, number)) or 0) > record.offset


def _is_in_part(world: World, role: str, number: int, record: Any) -> bool:
    """Whether some of its effects may be there, which the check could not tell from all or none."""
    if role == "sessionizer":
        # A state whose rows its worker may have died over: they come with its finality, which no sensible retention
        # comes before, but the horizons here are a year or a second.
        return world.reach_of(number, record.key) >= record.offset + world.site.offset_base
    if not world.is_sound(number, record) or NOT_STORABLE in record.value:
        return True
    rows = world.site.server.tables["z_event_feed"].rows.values()
    place = number, record.offset + world.site.offset_base
    return any((row.get("partition"), row["offset"]) == place for _, row in rows)
