"""Setting a device aside: what that asks for."""

from __future__ import annotations

import logging
from typing import NamedTuple

from pipeline.state.aside import MOST_ASIDE, Aside, aside_item
from pipeline.state.effects import Effects, Fields, SetAside, device_of, record_at
from pipeline.state.failures import PoisonedDevices
from pipeline.state.store import DeviceStates

log = logging.getLogger(__name__)


class Spot(NamedTuple):
    """Of a partition: its number, what its offsets count from, and how many of its devices are set aside."""

    number: int
    offset_base: int
    aside: int


def mark_aside(place: Spot, key: bytes, aside: Aside, effects: Effects) -> None:
    """Let a device's state stand as it is. Raises `PoisonedDevices` where too many are set aside."""
    if place.aside + len(effects.set_aside) >= MOST_ASIDE:
        raise PoisonedDevices(
            f"partition {place.number}: {MOST_ASIDE} devices are set aside, and {key!r} is one more: {aside.detail}"
        )
    log.error(
        "device %r is set aside: partition %d, offset %d, %s. Its events are stored, its sessions stand still",
        key, place.number, aside.offset - place.offset_base, aside.detail,
    )  # fmt: skip
    effects.states.append(aside_item(key, aside))
    effects.touched.append((key, None, None))


def set_aside(place: Spot, key: bytes, aside: Aside, fields: Fields, effects: Effects) -> None:
    """Let a device's state stand as it is, from the first of these records on. Raises `PoisonedDevices`."""
    mark_aside(place, key, aside, effects)
    effects.folded[key] = fields
    effects.counts.set_aside += len(fields) // 4
    tell_aside(place.number, key, aside, fields, effects)


def tell_aside(number: int, key: bytes, aside: Aside, fields: Fields, effects: Effects) -> None:
    """Tell that a device was set aside, if the record is here with which it was."""
    for record_ms, value, headers in record_at(fields, aside.offset):
        effects.set_aside.append(SetAside(key, number, aside.offset, record_ms, value, headers, aside.detail))


def aside_in_silence(place: Spot, store: DeviceStates, key: bytes, detail: str, effects: Effects) -> None:
    """Set a device aside, as of what is known of it, in place of what else the effects have of it."""
    known = store.outline(key)
    store.forget(key)
    aside = Aside(known.applied_offset, detail)
    effects.states = [item for item in effects.states if device_of(item[0]) != key]
    mark_aside(place, key, aside, effects)
    effects.set_aside.append(
        SetAside(key, place.number, aside.offset, known.arrived_ms, None, None, aside.detail)
    )
