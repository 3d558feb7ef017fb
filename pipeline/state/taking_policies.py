"""A record that brings policies: what a partition does with it."""

from __future__ import annotations

import logging

from pipeline.state.effects import Effects, effects_of
from pipeline.state.marker import Marker, marker_item
from pipeline.state.policy_versions import InForce, entry_of
from pipeline.state.records import Record

log = logging.getLogger(__name__)


def take_policies(number: int, known: Marker, in_force: InForce, record: Record, offset: int) -> Effects:
    """Go by what a record brings from there on: it is durable before anything that is folded under it. `offset` is the
    record's, as it is stored."""
    marker = known.moved(max(offset, known.applied_offset), max(known.clock_ms, record.timestamp))
    effects = effects_of(number, known, in_force, marker=marker, handled_offset=offset)
    taken = in_force.with_record(offset, record.value)
    if taken is None:
        effects.refused += 1
    elif taken is not in_force:
        effects.in_force = taken
        effects.states.append(entry_of(taken.came))
        log.info(
            "partition %d: policies of version %d, from offset %d on", number, taken.version, record.offset
        )
    effects.states.append(marker_item(marker))
    return effects
