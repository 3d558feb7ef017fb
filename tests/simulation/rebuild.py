"""A rebuild while the stream goes on: sessions and states are replaced by those of the stored events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import orjson

from pipeline import topics
from pipeline.roles.known_topics import note_replaced
from pipeline.state.aside import ASIDE_SUFFIX
from pipeline.state.codec import state_codec
from pipeline.state.marker import MARKER_KEY, Marker, marker_item
from pipeline.state.rebuild import Rebuilt, rebuild_device
from pipeline.state.store import STEPS_SUFFIX
from pipeline.storage import stored_event
from pipeline.storage.event_copies import rows_of_stored
from tests.simulation.clickhouse import NOT_STORABLE, Table
from tests.simulation.process import changelog
from tests.simulation.quiet import Quiet
from tests.simulation.world import World


def is_possible(world: World) -> bool:
    """Whether it is decided what must come of it: every event is in reach, and policies are what they were."""
    storable = not any(NOT_STORABLE in (made.value or b"") for made in world.plan.inputs)
    return world.plan.wide and len(world.plan.versions) == 1 and storable and not world.set_aside


def run(world: World) -> None:
    """As `rebuild --states` by the runbook, at any moment: the sessionizers are stopped, router and sink go on."""
    world.note(f"rebuild, with {len(world.site.ops)} effects under way")
    world.stop_all("sessionizer")
    # An operator waits for that.
    world.site.server.down = world.site.server.flaky = False
    world.thaw()
    Quiet(world).drain("sink")
    take_copies_back(world)
    put_states(world)
    swap(world)
    world.is_rebuilt = True
    # Sessions are those of what is stored.
    world.lost["sessionizer"] = set(world.lost["sink"])
    world.spawn("sessionizer")


def take_copies_back(world: World) -> None:
    """As `Rebuild.differences` does on its way."""
    for device, _ in _rebuilt(world):
        for line in rows_of_stored(device.app_id, device.device_id, device.copies):
            world.site.server.put("z_event_copy_feed", orjson.loads(line))


def swap(world: World) -> None:
    """As `rebuild` does, with the sink at rest. What comes later has to fit what it wrote."""
    table = Table("session_rows")
    for device, made in _rebuilt(world):
        rate = world.site.edge.rate_of(device.app_id)
        for _, line in made.rows:
            table.insert(orjson.loads(line) | {"sample_rate": rate})
    # Where a broker's clock went back the stream has another `arrived_at`: the partition's time, not the record's.
    table.versions.clear()
    broker = world.site.broker
    ends = {number: log.end for number, log in enumerate(broker.logs(topics.SESSIONS))}
    note_replaced(world.site.noted, broker.topic_ids([topics.SESSIONS])[topics.SESSIONS], ends)  # type: ignore[arg-type]
    world.site.server.put_in_place(table)
    world.note(f"rebuilt: {len(table.rows)} sessions")


def put_states(world: World) -> None:
    """As `Rebuild.put_states`, with no sessionizer running and all input stored."""
    broker, base = world.site.broker, world.site.offset_base
    epochs = [log.give_epoch() for log in broker.logs(topics.STATE)]
    clock_ms: Counter[int] = Counter()

    def put(number: int, key: bytes, value: bytes | None) -> None:
        broker.log(topics.STATE, number).append_under(epochs[number], key, value, world.site.stamp_ms)
        if value is not None:
            world.site.on_send(topics.STATE, number, key, value)

    for number in range(broker.partitions):
        for key in changelog(broker, number):
            put(number, key, None)
    for device, made in _rebuilt(world):
        key = f"{device.app_id}/{device.device_id}".encode()
        number = broker.partition_of(key)
        for suffix in (b"", STEPS_SUFFIX, ASIDE_SUFFIX):
            put(number, key + suffix, None)
        put(number, key, state_codec.encode(made.state))
        clock_ms[number] = max(clock_ms[number], made.state.arrived_ms)
    ids = broker.topic_ids([topics.SDK_EVENTS, topics.STATE])
    reached: dict[int, int] = {}
    for topic, number, offset in world.site.server.tables["ledger_records"].rows:
        if topic == topics.SDK_EVENTS:
            reached[number] = max(reached.get(number, -1), offset)
    for number, offset in sorted(reached.items()):
        marker = Marker(offset, clock_ms[number], ids[topics.SDK_EVENTS], ids[topics.STATE])
        put(number, MARKER_KEY, None)
        put(*(number, *marker_item(marker)))
    world.note(f"the states of {sum(1 for _ in _rebuilt(world))} devices are rebuilt, offsets from {base}")


def _rebuilt(world: World) -> Iterator[tuple[stored_event.StoredDevice, Rebuilt]]:
    rows = sorted(
        world.site.server.tables["z_event_feed"].final(),
        key=lambda r: (r["app_id"], r["device_id"], r["offset"], r["event_index"]),
    )
    for device in stored_event.devices(stored_line(row) for row in rows):
        yield (
            device,
            rebuild_device(
                device,
                world.plan.policies.of(device.app_id),
                world.site.now_ms,
                world.site.broker.partition_of(f"{device.app_id}/{device.device_id}".encode()),
            ),
        )


def stored_line(row: dict[str, object]) -> bytes:
    """An event as `stored_event.SELECT` returns it."""

    def text(value: object) -> str:
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    received_ms, time_ms, raw_time_ms = (
        round(row[name] * 1_000)  # type: ignore[operator]
        for name in ("received_at", "time", "raw_time")
    )
    return orjson.dumps(
        (row["app_id"], row["device_id"], row["partition"], row["offset"], received_ms, time_ms, row["kind"],
         row["seq"], row["event_id"], row["client_session_id"], row["exit_reason"], row["counters"],
         text(row["resource_json"]), text(row["user_json"]), row["stated"],
         raw_time_ms, row["event_index"], "1970-01-01", 0)
    )  # fmt: skip
