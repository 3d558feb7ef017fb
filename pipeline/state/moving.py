"""Moving the states of devices between partitions, where their topic gets more of them. Pure.

A state holds nothing of its partition: its offsets only have to be below those to come. So its entries go on as they
are, byte for byte, and the offsets of all partitions count from a base that is above every offset so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from pipeline.domain.policy import Policies
from pipeline.errors import Terminal
from pipeline.formats.edge import OPEN_EDGE
from pipeline.formats.native.partitioner import partition_of
from pipeline.state.effects import device_of
from pipeline.state.marker import MARKER_KEY, Marker, marker_of
from pipeline.state.outbox import Rows
from pipeline.state.policy_versions import POLICIES_KEY, InForce, came_in, version_in
from pipeline.state.store import DeviceStates

PLAN_KEY = b"\0repartition"
"""Key of the entry that a partition of the changelog has while states are moved: no sessionizer begins there."""
_AT_ONCE_BYTES = 4_000_000

Entries = list[tuple[bytes, bytes | None]]


class RepartitionUnderWay(Terminal):
    """States are being moved between partitions. Terminal: that has to be gone through with."""


class OtherLayout(Terminal):
    """States are cut by another number of partitions, or offsets count from another base, than the settings say."""


class Plan(msgspec.Struct, array_like=True, frozen=True):
    """What a repartition does, from its beginning to its end, however often it is killed."""

    partitions: int
    before: int
    offset_base: int
    """From then on."""
    base_before: int


def plan_item(plan: Plan) -> tuple[bytes, bytes]:
    """The entry that keeps sessionizers out."""
    return PLAN_KEY, msgspec.msgpack.encode(plan)


def plan_of(items: Mapping[bytes, bytes]) -> Plan | None:
    """What is under way, as a partition of the changelog has it. Raises `msgspec.DecodeError`."""
    found = items.get(PLAN_KEY)
    return None if found is None else msgspec.msgpack.decode(found, type=Plan)


def require_whole(number: int, items: Mapping[bytes, bytes]) -> None:
    """Raises `RepartitionUnderWay` where states are being moved."""
    if plan := plan_of(items):
        raise RepartitionUnderWay(
            f"the states of partition {number} are being moved from {plan.before} partitions to {plan.partitions}: run "
            f"`session-pipeline repartition --partitions {plan.partitions}` to its end, with the previous settings"
        )


def require_layout(number: int, marker: Marker, partitions: int, offset_base: int) -> None:
    """Raises `OtherLayout` where a partition's state was not made for these settings."""
    if marker.partitions and marker.partitions != partitions:
        raise OtherLayout(
            f"the states of partition {number} are split for {marker.partitions} partitions, but there are "
            f"{partitions}: stop all workers, then run `session-pipeline repartition --partitions {partitions}`"
        )
    if offset_base < marker.offset_base:
        raise OtherLayout(
            f"the offsets of partition {number} count from {marker.offset_base} since its states were moved, and "
            f"PIPELINE_OFFSET_BASE is {offset_base}: set it to {marker.offset_base} for all workers and commands"
        )


class Portion(NamedTuple):
    """Some devices that belong elsewhere: what is to be written there first, and here after that."""

    there: dict[int, Entries]
    here: Entries
    devices: int = 0


def portions(number: int, items: Mapping[bytes, bytes], partitions: int) -> Iterator[Portion]:
    """What of a partition's entries belongs in others, of so many, in portions of some megabytes.

    Whoever dies between the two parts of a portion does both again: the entries are the same, and nobody else writes.
    """
    by_device: dict[bytes, list[bytes]] = {}
    for key in items:
        if device := device_of(key):
            by_device.setdefault(device, []).append(key)
    there: dict[int, Entries] = {}
    here: Entries = []
    size = devices = 0
    for device, keys in by_device.items():
        target = partition_of(device, partitions)
        if target == number:
            continue
        devices += 1
        keys.sort()
        for key in keys:
            there.setdefault(target, []).append((key, items[key]))
            size += len(items[key])
        # The steps first: a base alone can be read, steps without theirs cannot.
        here += ((key, None) for key in reversed(keys))
        if size >= _AT_ONCE_BYTES:
            yield Portion(there, here, devices)
            there, here, size, devices = {}, [], 0, 0
    if here:
        yield Portion(there, here, devices)


def owed(number: int, items: Mapping[bytes, bytes], done: int, before: int) -> Rows:
    """The rows of devices whose latest input, at or above the stored offset `done`, is not known to be acknowledged:
    the worker may have died before it had written them. Not of devices that were moved here, which by the number of
    partitions `before` belonged elsewhere: theirs are written. Raises what reading a state raises."""
    states = DeviceStates()
    in_force = InForce(Policies(), OPEN_EDGE, came_in(items))
    states.policy_of = in_force.apps.of_version
    for key, value in items.items():
        if device_of(key):
            states.restore(key, value)
    states.restored()
    rows = Rows(number, version_of=in_force.apps.version_of)
    for key in states:
        if states.outline(key).applied_offset >= done and partition_of(key, before) == number:
            state = states.load(key)
            rows.add(key, state, state.applied_offset * 2)
    return rows


def marker_in(items: Mapping[bytes, bytes]) -> Marker:
    """The partition's own entry, a new one if there is none. Raises `msgspec.DecodeError`."""
    found = items.get(MARKER_KEY)
    return Marker() if found is None else marker_of(found)


def lifted(marker: Marker, plan: Plan) -> Marker:
    """The marker of a partition under the plan's base: what was done stays done. Any number of times."""
    applied = marker.applied_offset
    if applied < plan.offset_base - 1:
        applied = max(applied - plan.base_before, -1) + plan.offset_base
    return _by(plan, msgspec.structs.replace(marker, applied_offset=applied))


def policies_in(items: Mapping[bytes, bytes], found: bytes | None) -> bytes | None:
    """The entry of a partition's policies, or the one that was found in others, if that has the newer version."""
    own = items.get(POLICIES_KEY)
    if own is None or found is None:
        return own or found
    return own if version_in(own) > version_in(found) else found


def of_new_partition(markers: Mapping[int, Marker], plan: Plan) -> Marker:
    """The marker of a partition that had no input yet; its clock is the least of those that states come from."""
    known = [marker for marker in markers.values() if marker.clock_ms]
    clock_ms = min((marker.clock_ms for marker in known), default=0)
    source, log = next(((m.source_id, m.log_id) for m in known), ("", ""))
    return _by(plan, Marker(plan.offset_base - 1, clock_ms, source, log))


def _by(plan: Plan, marker: Marker) -> Marker:
    return msgspec.structs.replace(
        marker, partitions=plan.partitions, offset_base=plan.offset_base, before=plan.before
    )
