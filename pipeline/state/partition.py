"""All devices of one partition: records in, state values and rows out. Pure, but for its own dictionaries."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from pipeline.domain.policy import Policies
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.native.events import Arrival, arrivals_of
from pipeline.state.aside import Aside
from pipeline.state.codec import state_codec
from pipeline.state.copies import told_copies
from pipeline.state.deadlines import Due, Timetable, due_ms
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState
from pipeline.state.effects import Effects, Fields, Waiting, beyond_part, effects_of, in_halves
from pipeline.state.erasing import erase, first_control
from pipeline.state.failures import StateLost, UnreadableState
from pipeline.state.grouping import CutOfSource, grouped, leave_out, take_misplaced, waiting_of
from pipeline.state.holding import Holding
from pipeline.state.marker import MARKER_KEY, UNREADABLE, Marker, marker_item, marker_of
from pipeline.state.policy_versions import POLICIES_KEY, InForce, came_in, first_policies
from pipeline.state.records import Record
from pipeline.state.set_aside import Spot, aside_in_silence, set_aside, tell_aside
from pipeline.state.store import DeviceStates, Encode, Mismatch
from pipeline.state.taking_policies import take_policies

STEP_BYTES = 64_000_000
"""Of what a step makes: table entries, outboxes, decoded states that are heavy. Then the rest of the chunk waits."""
WRITE_BYTES = 600
"""Of one row in an outbox, decoded."""
log = logging.getLogger(__name__)

_TOO_LARGE = "its state is larger than a record of the changelog may be"
_WAY_BACK = "Stop all sessionizers, then: session-pipeline rebuild --states"


class Partition:
    """The working state of one assigned partition.

    `apply` and `tick` change nothing: their effects take hold with `commit`, so that a batch in hand can be
    dropped at any point. Not safe for several threads. Never blocks.
    """

    def __init__(
        self,
        number: int,
        policies: Policies,
        *,
        partitions: int = 1,
        before: tuple[int, ...] = (),
        offset_base: int = 0,
        encode: Encode = state_codec.encode,
        edge: Edge = OPEN_EDGE,
    ) -> None:
        """Of a topic with so many `partitions`, and so many `before`; `offset_base` is added to every offset: above 0
        where a topic began anew (see settings). The `edge` says what of the records is folded."""
        self.in_force = InForce(policies, edge)
        self._edge = edge
        """That of the records in hand."""
        self.number = number
        self._place = CutOfSource(number, partitions, before)
        self.marker = Marker()
        self._offset_base = offset_base
        self._handled_offset = -1
        """Of the last record that came since the partition was taken over."""
        self._came_ms: dict[int, int] = {}
        """Of the chunk in hand (`Grouped`). It counts for these records: else it were chance whether silence or one of
        them comes first."""
        self._grouped = grouped
        self._store = DeviceStates(encode)
        self._store.policy_of = self.in_force.apps.of_version
        self._too_large: set[bytes] = set()
        """Devices whose next record alone makes more than the broker takes."""
        self._uncommitted = False
        """Effects were given out that are not durable yet: decoded states are ahead of what is."""
        self._timetable = Timetable(self._due_ms)

    def __len__(self) -> int:
        return len(self._store)

    def restore(self, items: Mapping[bytes, bytes]) -> None:
        """Take over what was recovered from the changelog, once, before any record. Raises `UnreadableState`."""
        key = MARKER_KEY
        try:
            for key, value in self._store.restore_many(items):
                if key == MARKER_KEY:
                    self.marker = marker_of(value)
                elif key == POLICIES_KEY:
                    self._go_by(self.in_force.after(came_in(items)))
                else:
                    self._store.restore(key, value)
            self._store.restored()
        except Mismatch as error:
            raise UnreadableState(f"changelog of partition {self.number}, {error}. {_WAY_BACK}") from error
        except UNREADABLE as error:
            raise self._unreadable(key, error) from error
        # Of what was folded before states were moved all rows are out, with the partition that it came from.
        self._handled_offset = self.marker.offset_base - 1
        self._note_all()

    def keep_decoded(self, devices: int) -> None:
        """Keep the decoded states of at most so many devices."""
        self._store.max_decoded = devices

    @property
    def reach(self) -> int:
        """The last offset that the state has, as the topic counts now; below 0 if none."""
        return self.marker.applied_offset - self._offset_base

    def require_state(self, done: int) -> None:
        """Check that nothing is lost of the state of the input below an offset, which is durable before that is done.
        Raises `StateLost`."""
        if self.marker.applied_offset < done + self._offset_base - 1:
            raise StateLost(
                f"all of partition {self.number} below offset {done} was done, but its changelog only reaches to "
                f"{self.marker.applied_offset - self._offset_base}. {_WAY_BACK}"
            )

    def apply(self, records: Sequence[Record]) -> Effects:
        """Fold a chunk of records, ascending by offset; where the effects have a `rest` or records for `later`, `go_on`
        comes after `commit`. Raises `PoisonedDevices`, `UnreadableState`."""
        by_key, clock_ms, self._came_ms = self._grouped(records, self._offset_base, self.marker.clock_ms)
        if None in by_key and (first := first_policies(by_key[None])) is not None:
            return self._apply_until(first, records)
        last = records[-1].offset + self._offset_base
        self._edge = self.in_force.edge_at(last)
        refused, moved = take_misplaced(by_key, self._place, self._edge)
        leave_out(by_key, self._edge)
        marker = self.marker.moved(max(last, self.marker.applied_offset), clock_ms)
        effects = self._step(waiting_of(by_key), marker, last)
        effects.refused += refused
        effects.moved = moved
        return effects

    def _apply_until(self, first: int, records: Sequence[Record]) -> Effects:
        """Fold what comes before a record that brings policies, or do what that one asks for."""
        at = next(at for at, record in enumerate(records) if record.offset + self._offset_base == first)
        if at:
            effects = self.apply(records[:at])
        else:
            self._begin()
            effects = take_policies(self.number, self.marker, self.in_force, records[0], first)
        effects.later = records[at or 1 :]
        return effects

    def go_on(self, before: Effects) -> Effects:
        """Fold on in the rest of a chunk, once the effects before it are committed."""
        if not before.rest:
            return self.apply(before.later)
        effects = self._step(before.rest, before.marker, before.handled_offset)
        effects.later = before.later
        return effects

    def too_large(self, effects: Effects, keys: Collection[bytes]) -> None:
        """Take back what effects have of devices whose table entry was refused for its size.

        Their records are folded again, in parts of half the size, or, where it was but one record, set aside: both
        with the rest of the chunk. (Other entries of the effects may be durable, and stay.)
        """
        effects.take_back(keys)
        for key in keys:
            self._store.forget(key)
            fields = effects.folded.pop(key)
            if len(fields) > 4:
                in_halves(key, fields, effects.rest)
            else:
                self._too_large.add(key)
                effects.rest.append((key, fields))

    def _step(self, rest: Waiting, marker: Marker, last: int) -> Effects:
        """Effects of as much as one step may make. `rest` is what there is to do, the last first."""
        self._begin()
        effects = self._effects(marker=marker, handled_offset=last, rest=rest)
        waiting: Waiting = []
        # One device after the other, decoding included: what is made of its records is gone before the next one's.
        while effects.made < STEP_BYTES and (taken := self._next(effects)):
            key, fields = taken
            if key in effects.folded:
                # A part of it is in hand, and its rows have to be out before the next state takes that one's place.
                waiting.append((key, fields))
                continue
            if len(fields) > 4 and (more := beyond_part(fields)):
                waiting.append((key, more))
            effects.made += self._fold(key, fields, effects)
        rest += reversed(waiting)
        if not rest:
            effects.states.append(marker_item(marker))
        return effects

    def _next(self, effects: Effects) -> tuple[bytes | None, Fields] | None:
        """Whose records are folded next, and these."""
        return effects.rest.pop() if effects.rest else None

    def tick(self, now_ms: int, *, caught_up: bool, limit: int = 1_000) -> Effects | None:
        """What silence has decided by now, for at most `limit` devices; None if nothing.

        `now_ms` is the wall clock. It counts only once the partition is caught up: a backlog of hours must
        not close and reopen every session on the way.
        """
        clock_ms = min(self.marker.clock_ms, now_ms)
        idle_ms = max(clock_ms, now_ms) if caught_up else clock_ms
        due = self._timetable.due(idle_ms, clock_ms, limit)
        if not due:
            return None
        self._begin()
        effects = self._effects()
        made = 0
        for key in due:
            if made >= STEP_BYTES:
                break
            (policy, _), said = self.in_force.apps.of(key), len(effects.rows)
            state = self._load(key)
            if state.applied_offset > self._handled_offset:
                # Recovered, and its input may still come again: then its outbox may not have been emitted either.
                effects.rows.add(key, state, state.applied_offset * 2)
            is_news = fall_silent(state, idle_ms, clock_ms, policy)
            if is_news:
                effects.rows.add(key, state, state.applied_offset * 2 + 1)
                state.outbox = []
            if not state.has_tail and clock_ms - state.arrived_ms >= policy.state_ttl_ms:
                effects.states += self._store.entries_of_forgotten(key, state)
                effects.touched.append((key, None, None))
                continue
            if is_news or self._store.is_old(key):
                effects.states.append(self._store.entry_of_base(key, state))
            effects.touched.append((key, *due_ms(state, policy)))
            self._store.keep(key, state)
            made += self._store.weight(key) + WRITE_BYTES * (len(effects.rows) - said)
        effects.marker = self.marker
        return effects

    def too_large_in_silence(self, effects: Effects, keys: Collection[bytes]) -> None:
        """Set devices aside whose table entry was refused for its size in a tick; the other entries are durable."""
        for key in keys:
            aside_in_silence(self._devices, self._store, key, _TOO_LARGE, effects)

    def commit(self, effects: Effects) -> None:
        """Take over the effects of the latest `apply` or `tick`: they are durable now."""
        self._store.commit_many(effects.states)
        self._timetable.note_many(effects.touched)
        if not effects.rest:
            self.marker = effects.marker
            self._handled_offset = max(self._handled_offset, effects.handled_offset)
        if effects.in_force is not None:
            self._go_by(effects.in_force)
            self._note_all()
        self._uncommitted = False

    @property
    def holds(self) -> Holding:
        """How much is here."""
        store = self._store
        return Holding(len(store), self._timetable.open_count, len(store.aside), store.byte_count)

    def _begin(self) -> None:
        if self._uncommitted:
            self._store.forget_decoded()
        self._uncommitted = True

    def _fold(self, key: bytes | None, fields: Fields, effects: Effects) -> int:
        """Put what records of one key do into the effects; about how many bytes that makes."""
        if key is not None and key in self._store.aside:
            self._pass_over(key, fields, effects)
            return 0
        if key is not None and key in self._too_large:
            self._set_aside(key, fields, _TOO_LARGE, effects)
            return 0
        try:
            arrivals, refused, corrected_ms = arrivals_of(key, fields, self._edge.cleaner_of(key))
            if refused and key is not None and (place := first_control(fields)) is not None:
                return self._fold_to_control(key, fields, place, effects)
            if not arrivals:
                effects.refused += refused
                return 0
            assert key is not None, "decode refuses a record without a key"
            if self._came_ms:
                arrivals = [(at, self._came_ms.get(at, ms), events) for at, ms, events in arrivals]
            return self._fold_arrivals(key, (arrivals, refused, corrected_ms), fields, effects)
        except (UnreadableState, MemoryError):
            raise
        except Exception as error:
            if key is None:
                raise
            log.exception("device %r, partition %d, offsets %d-%d", key, self.number, fields[0], fields[-4])
            self._store.forget(key)
            if len(fields) > 4:
                in_halves(key, fields, effects.rest)
            else:
                self._set_aside(key, fields, f"the fold fails: {error!r}", effects)
            return 0

    def _fold_to_control(self, key: bytes, fields: Fields, place: int, effects: Effects) -> int:
        """Fold what comes before a record that may ask for the device to be erased, or do what that one asks for."""
        if place:
            effects.rest.append((key, fields[place:]))
            return self._fold(key, fields[:place], effects)
        erase(self._store, key, fields, self.in_force.apps.of(key)[0], self._edge.erasures, effects)
        return 0

    def _fold_arrivals(
        self, key: bytes, arrived: tuple[list[Arrival], int, int], fields: Fields, effects: Effects
    ) -> int:
        """Apply records of a device. The effects are touched last, so that nothing is in them of what fails."""
        arrivals, refused, corrected_ms = arrived
        state = self._load(key)
        if arrivals[0][0] <= state.applied_offset:
            effects.owed.add(key, state, state.applied_offset * 2)
            arrivals = [arrival for arrival in arrivals if arrival[0] > state.applied_offset]
        elif arrivals[0][0] <= self.marker.applied_offset and key not in self._store:
            # All that was done: the device has been forgotten since.
            arrivals = [arrival for arrival in arrivals if arrival[0] > self.marker.applied_offset]
        policy, policy_bytes = self.in_force.apps.of(key)
        counts = Counts()
        try:
            applied = apply(state, arrivals, policy, counts)
        except msgspec.DecodeError as error:
            raise self._unreadable(key, error) from error
        made = 0
        if applied:
            state.corrected_ms = max(state.corrected_ms, corrected_ms)
            told: Sequence[tuple[bytes, bytes]] = ()
            if counts.copies:
                cleaner = self._edge.cleaner_of(key)
                told = told_copies(key, fields, counts.copies, state.corrected_ms, cleaner)
                counts.copies = None
            table_key, entry = self._store.entry_of_step(key, state, arrivals, policy, policy_bytes)
            effects.states.append((table_key, entry))
            effects.rows.add(key, state, state.applied_offset * 2)
            effects.touched.append((key, *due_ms(state, policy)))
            effects.folded[key] = fields
            effects.count(key, counts, refused)
            made = len(entry) + WRITE_BYTES * len(state.outbox) + self._store.weight(key)
            if told:
                effects.copies += told
                made += sum(len(value) for _, value in told)
        effects.refused += refused
        self._store.keep(key, state)
        return made

    def _set_aside(self, key: bytes, fields: Fields, detail: str, effects: Effects) -> None:
        self._too_large.discard(key)
        set_aside(self._devices, key, Aside(fields[0], detail), fields, effects)

    @property
    def _devices(self) -> Spot:
        return Spot(self.number, self._offset_base, len(self._store.aside))

    def _pass_over(self, key: bytes, fields: Fields, effects: Effects) -> None:
        """Records of a device that is set aside; what was owed and told when it was, again if they come again."""
        if (place := first_control(fields)) is not None:
            self._fold_to_control(key, fields, place, effects)
            return
        effects.counts.set_aside += len(fields) // 4
        if key in self._store and fields[0] <= self._store.outline(key).applied_offset:
            state = self._load(key)
            effects.owed.add(key, state, state.applied_offset * 2)
            self._store.keep(key, state)
        tell_aside(self.number, key, self._store.aside[key], fields, effects)

    def _effects(self, **others: Any) -> Effects:
        return effects_of(self.number, self.marker, self.in_force, **others)

    def _go_by(self, in_force: InForce) -> None:
        self.in_force, self._store.policy_of = in_force, in_force.apps.of_version

    def _note_all(self) -> None:
        """Note when silence next has something to say about every device."""
        for key in self._store:
            self._timetable.note(key, *self._due_ms(key))

    def _load(self, key: bytes) -> DeviceState:
        try:
            return self._store.load(key)
        except UNREADABLE as error:
            raise self._unreadable(key, error) from error

    def _unreadable(self, key: bytes, error: Exception) -> UnreadableState:
        return UnreadableState(f"changelog of partition {self.number}, key {key!r}: {error}. {_WAY_BACK}")

    def _due_ms(self, key: bytes) -> Due:
        """Of a device, as far as is durable."""
        if key in self._store.aside or key not in self._store:
            return None, None
        known, (policy, _) = self._store.outline(key), self.in_force.apps.of(key)
        idle_ms, final_ms = due_ms(known, policy)
        if idle_ms is None and self._store.is_old(key):
            # Nothing is due but to write it anew.
            idle_ms = known.arrived_ms + policy.idle_timeout_ms
        return idle_ms, final_ms
