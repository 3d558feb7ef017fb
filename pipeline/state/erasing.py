"""Forgetting a device whose data is erased."""

from __future__ import annotations

from pipeline.domain.policy import Policy
from pipeline.formats.erasure import Erasures, erasure_of, is_control
from pipeline.state.aside import ASIDE_SUFFIX
from pipeline.state.device import fall_silent
from pipeline.state.effects import Effects, Fields
from pipeline.state.grouping import without_erased
from pipeline.state.store import DeviceStates


def first_control(fields: Fields) -> int | None:
    """Where, among the records of a device, the first is that may ask for it to be erased; None if there is none."""
    return next((at for at in range(0, len(fields), 4) if is_control(fields[at + 2])), None)


def erase(
    store: DeviceStates,
    key: bytes,
    fields: Fields,
    policy: Policy,
    erasures: Erasures,
    effects: Effects,
) -> None:
    """Do what the first of some records of a device asks for, if it does ask for that to be erased. Those after it are
    put back to be done. `policy` is that of the device's app."""
    offset, record_ms, value, _ = fields[:4]
    erasure, later = erasure_of(key, value, record_ms, offset), fields[4:]
    if erasure is None:
        effects.refused += 1
    else:
        erasures.add(erasure)
        later = without_erased(key, later, erasures)
        if key in store or key in store.aside:
            _forget(store, key, offset, policy, effects)
            effects.folded[key] = fields[:4]
    if later:
        effects.rest.append((key, later))


def _forget(store: DeviceStates, key: bytes, offset: int, policy: Policy, effects: Effects) -> None:
    """Forget a device as of a record, as if it had been silent since for as long as anything of it is kept.

    Its sessions are told as closed and final first: where they were another person's, who shared the device, their rows
    stay. Those of whoever is erased are removed from where they are stored. (Rows that are owed are durable before the
    state is gone.)
    """
    if key in store:
        state = store.load(key)
        if state.applied_offset >= offset:
            # It comes again, and what the device has now came after it.
            store.keep(key, state)
            return
        if key not in store.aside:
            silent_ms = max(policy.idle_timeout_ms, policy.restate_horizon_ms, policy.state_ttl_ms)
            fall_silent(state, state.arrived_ms + silent_ms, state.arrived_ms + silent_ms, policy)
            state.applied_offset = offset
            effects.owed.add(key, state, offset * 2)
        effects.states += store.entries_of_forgotten(key, state)
    if key in store.aside:
        effects.states.append((key + ASIDE_SUFFIX, None))
    effects.touched.append((key, None, None))
