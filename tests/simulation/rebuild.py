"""A rebuild while the stream goes on: the stored sessions are replaced by those of the stored events."""

from __future__ import annotations

import orjson

from pipeline.state.rebuild import rebuild_device
from pipeline.wire import stored_event
from tests.simulation.clickhouse import NOT_STORABLE, Table
from tests.simulation.world import World


def is_possible(world: World) -> bool:
    """Whether it is to change nothing: every event is stored and in reach, and policies are what they were."""
    whole = not world.lost["sink"] and not world.lost["sessionizer"] and not world.set_aside
    storable = not any(NOT_STORABLE in (made.value or b"") for made in world.plan.inputs)
    return world.plan.wide and len(world.plan.versions) == 1 and whole and storable


def swap(world: World) -> None:
    """As `Rebuild.swap` does, with the sink at rest. What comes later has to fit what it wrote."""
    rows = sorted(
        world.site.server.tables["event_rows"].final(),
        key=lambda r: (r["app_id"], r["device_id"], r["offset"], r["event_index"]),
    )
    table = Table("session_rows")
    # By a clock behind that of a sessionizer it would take back what silence has said, which is not said again.
    now_ms = max(world.site.now_ms, world.latest_clock_ms)
    for device in stored_event.devices(stored_line(row) for row in rows):
        policy = world.plan.policies.of(device.app_id)
        made = rebuild_device(device, policy, now_ms, device.partition)
        for _, line in made.rows:
            table.insert(orjson.loads(line))
    # Where a broker's clock went back the stream has another `arrived_at`: the partition's time, not the record's.
    table.versions.clear()
    world.site.server.put_in_place(table)
    world.note(f"rebuilt: {len(table.rows)} sessions")


def stored_line(row: dict[str, object]) -> bytes:
    """An event as `stored_event.SELECT` returns it."""

    def text(value: object) -> str:
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    received_ms, time_ms = (round(row[name] * 1_000) for name in ("received_at", "time"))  # type: ignore[operator]
    return orjson.dumps(
        (row["app_id"], row["device_id"], row["partition"], row["offset"], received_ms, time_ms, row["kind"],
         row["seq"], row["event_id"], row["client_session_id"], row["exit_reason"], row["counters"],
         text(row["resource_json"]), text(row["user_json"]))
    )  # fmt: skip
