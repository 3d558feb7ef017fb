"""The devices of one partition, folded by the compiled core as far as that is sure of them.

Nothing else is different: durable states are in the form that Python writes, though the core keeps them
(`compiled_states`), and Python has the order of effects, silence, erasure, and devices that are set aside. The core is
given a device's records, and gives the entry that Python would write. What it holds decoded of a device counts for
exactly the entry that it was made with: whatever else was done with the device meanwhile, by Python or by nobody
(effects that were dropped), it reads the durable parts again, as recovery does. What it is not sure of, a word says,
and Python folds from the same parts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any
from weakref import ref

from pipeline.formats.native.events import arrivals_of
from pipeline.state.codec import state_codec
from pipeline.state.compiled_states import CompiledStates, CompiledTimetable
from pipeline.state.copies import told_copies
from pipeline.state.deadlines import Timetable
from pipeline.state.device import Copy, Counts, apply
from pipeline.state.effects import Effects, Fields, device_of
from pipeline.state.failures import UnreadableState
from pipeline.state.grouping import Grouped, grouped
from pipeline.state.outbox import Outbox
from pipeline.state.partition import STEP_BYTES, WRITE_BYTES, Partition
from pipeline.state.records import Record
from pipeline.state.store import MAX_DECODED, DeviceStates
from pipeline.storage.row_texts import resource_texts, user_texts

DECODED_BYTES = 32_000_000
"""Of the heavy states that the core keeps decoded, as they are encoded, of all partitions of a worker together."""
log = logging.getLogger(__name__)


def partitions_by(core: ModuleType | None) -> Callable[..., Partition]:
    """What makes the partitions of a worker: with the compiled core, or, where there is none, in Python alone."""
    return Partition if core is None else partial(CompiledPartition, core)


class CompiledPartition(Partition):
    """A `Partition` that does the same sooner."""

    def __init__(self, core: ModuleType, number: int, *others: Any, **named: Any) -> None:
        super().__init__(number, *others, **named)
        encode = named.get("encode", state_codec.encode)
        self._panic: type[BaseException] = core.Panic
        self._core: Any = None
        if encode is state_codec.encode:
            # Else states are written for workers that know no newer version: Python has that, too.
            self._core = core.Core(
                lambda canonical: resource_texts(canonical).session_columns,
                lambda canonical: user_texts(canonical).session_columns,
            )
            self._store = CompiledStates(self._core)
            self._timetable = CompiledTimetable(self._due_ms, self._core)
            self._groups_of = core.Groups
            self._grouped = self._group
        self._handed: dict[bytes, str] = {}
        """Why Python folds devices that the core was asked for as it came to them."""
        self._left: Counter[str] = Counter()
        """Records left to Python that the next effects are to count."""
        self._why_held = "held_back"
        """Why Python folds what the core is not asked for."""

    def restore(self, items: Mapping[bytes, bytes]) -> None:
        try:
            super().restore(items)
        except self._panic:
            self._go_on_in_python()
            super().restore(items)

    def apply(self, records: Sequence[Record]) -> Effects:
        try:
            return super().apply(records)
        except self._panic:
            self._leave_core()
            return super().apply(records)

    def tick(self, now_ms: int, *, caught_up: bool, limit: int = 1_000) -> Effects | None:
        try:
            return super().tick(now_ms, caught_up=caught_up, limit=limit)
        except self._panic:
            self._leave_core()
            return super().tick(now_ms, caught_up=caught_up, limit=limit)

    def commit(self, effects: Effects) -> None:
        try:
            super().commit(effects)
        except self._panic:
            # What is committed already is put there once more.
            self._name_touched(effects)
            self._leave_core()
            super().commit(effects)

    def touched_by_core(self, effects: Effects) -> Sequence[tuple[bytes, int | None, int | None]]:
        """What would be `touched` besides: the core notes the deadlines of what it made as that becomes durable."""
        found: Sequence[Any] = () if self._core is None else self._core.touched(effects.states)
        return found

    def _name_touched(self, effects: Effects) -> None:
        """Have all deadlines among the effects, and none noted by the core itself."""
        effects.touched += self.touched_by_core(effects)
        if self._core is not None:
            self._core.begin()

    def _leave_core(self) -> None:
        """Take over all that is durable from the core, which fails at it."""
        core = self._core
        self._go_on_in_python()
        for key in core:
            base, steps = core.parts(key)
            if base is not None:
                self._store.commit(key, base)
            if steps is not None:
                self._store.commit(self._store.key_of_steps(key), steps)
        self._note_all()

    def _go_on_in_python(self) -> None:
        """Have all in Python from now on, until somebody takes the partition over anew."""
        log.exception("the compiled core fails, partition %d: Python does all of it from now on", self.number)
        aside, most = self._store.aside, self._store.max_decoded
        self._core, self._why_held, self._grouped = None, "panic", grouped
        self._handed.clear()
        self._store, self._timetable = DeviceStates(), Timetable(self._due_ms)
        self._store.aside, self._store.max_decoded = aside, most
        self._store.policy_of = self.in_force.apps.of_version

    def keep_decoded(self, devices: int) -> None:
        if self._core is None:
            super().keep_decoded(devices)
            return
        # Python decodes what it was handed, and silent devices: few of them come again soon.
        super().keep_decoded(max(1, devices // 20))
        self._core.keep_decoded(DECODED_BYTES * devices // MAX_DECODED)

    def _note_all(self) -> None:
        if self._core is None:
            super()._note_all()
            return
        for key in self._core.touch_all(self._times_of, list(self._store.aside)):
            self._timetable.note(key, *self._due_ms(key))

    def _times_of(self, key: bytes) -> tuple[int, int, int]:
        policy, _ = self.in_force.apps.of(key)
        return policy.idle_timeout_ms, policy.restate_horizon_ms, policy.state_ttl_ms

    def _group(self, records: Sequence[Record], base: int, clock_ms: int) -> Grouped:
        try:
            groups = self._groups_of(records, base, clock_ms)
        except self._panic:
            log.exception(
                "the compiled core fails, partition %d: Python puts this chunk together", self.number
            )
            self._left["panic"] += len(records)
            return grouped(records, base, clock_ms)
        return Grouped(groups, groups.clock_ms, groups.came_ms)

    def _effects(self, **others: Any) -> Effects:
        if self._core is not None:
            self._core.begin()
        effects = super()._effects(**others)
        # Not the effects themselves, which hold the rows: then nothing of a chunk's megabytes would be free before the
        # garbage collector comes by, some chunks later.
        effects.rows.failure = self._panic
        effects.rows.again = partial(self._outbox_by_python, ref(effects))
        effects.handed_over.update(self._left)
        self._left.clear()
        return effects

    def _outbox_by_python(self, of: ref[Effects], key: bytes) -> Outbox:
        """The outbox of a device, of which the core folded all there is in effects that are not committed yet."""
        effects = of()
        assert effects is not None, "whoever has the rows has the effects that they are of"
        log.error(
            "the compiled core fails at rows of device %r, partition %d: Python makes them", key, self.number
        )
        fields = effects.folded[key] if key in effects.folded else effects.groups.fields_of(key)
        effects.handed_over["panic"] += len(fields) // 4
        arrivals, _, _ = arrivals_of(key, fields, self._edge.cleaner_of(key))
        arrivals = [(at, self._came_ms.get(at, ms), events) for at, ms, events in arrivals]
        state = self._load(key)
        apply(state, arrivals, self.in_force.apps.of(key)[0], Counts())
        return effects.rows.outbox_of(key, state, state.applied_offset * 2)

    def _next(self, effects: Effects) -> tuple[bytes | None, Fields] | None:
        while taken := super()._next(effects):
            key, fields = taken
            if type(fields) is list:
                return key, fields
            if self._core is None:
                # Grouped by the core when there still was one.
                effects.rest += [(each, fields[each]) for each in list(fields)[::-1]]
                continue
            self._fold_groups(fields, effects)
            if effects.made >= STEP_BYTES:
                return None
        return None

    def _fold_groups(self, groups: Any, effects: Effects) -> None:
        """Let the core fold one device after the other. The others wait, and first of all one that is Python's."""
        held_back = self._store.aside.keys() | self._too_large
        outboxes: list[Outbox] = []
        before = len(effects.states)

        def tell(key: bytes, fields: Fields, copies: Sequence[Any], corrected_ms: int) -> int:
            found = [Copy(*copy) for copy in copies]
            told = told_copies(key, fields, found, corrected_ms, self._edge.cleaner_of(key))
            effects.copies += told
            return sum(len(value) for _, value in told)

        why, made, records, (accepted, late, duplicates, unrestated) = groups.fold(
            self._core,
            STEP_BYTES - effects.made,
            self.marker.applied_offset,
            held_back or None,
            lambda key: (self.in_force.apps.with_versions(key), self._edge.cleaner_of(key)),
            tell,
            effects.states,
            outboxes,
            effects.copies,
        )
        effects.made += made
        effects.compiled += records
        effects.counts.add(Counts(accepted, late, duplicates, unrestated=unrestated))
        effects.groups = groups
        effects.rows.add_made(*outboxes)
        self._store.forget_many(device_of(key) for key, _ in islice(effects.states, before, None))
        handed = None if why is None else groups.hand_over()
        if not groups.is_done():
            effects.rest.append((None, groups))
        if handed is not None:
            if why:
                self._handed[handed[0]] = why
            effects.rest.append(handed)

    def too_large(self, effects: Effects, keys: Collection[bytes]) -> None:
        for key in keys:
            if effects.groups is not None and effects.groups.folded(key) and key not in effects.folded:
                accepted, late, duplicates, unrestated = effects.groups.counts_of(key)
                effects.counted[key] = Counts(accepted, late, duplicates, unrestated=unrestated), 0
                effects.folded[key] = effects.groups.fields_of(key)
        self._name_touched(effects)
        super().too_large(effects, keys)

    def _fold(self, key: bytes | None, fields: Fields, effects: Effects) -> int:
        store = self._store
        if self._core is None or key is None or key in store.aside or key in self._too_large:
            return self._by_python(key, fields, effects, self._why_held)
        if why := self._handed.pop(key, ""):
            return self._by_python(key, fields, effects, why)
        try:
            why, done, told = self._by_core(key, fields)
        except (UnreadableState, MemoryError):
            raise
        except (Exception, self._panic):
            # Whatever it is, Python says so by its own rules.
            log.exception("device %r, partition %d: Python folds it", key, self.number)
            self._core.forget(key)
            return self._by_python(key, fields, effects, "failed")
        if why:
            return self._by_python(key, fields, effects, why)
        (is_base, entry, outbox, idle_ms, final_ms), (accepted, late, unrestated, copies, _), weight = done
        store.forget(key)
        effects.states.append((key if is_base else store.key_of_steps(key), entry))
        effects.touched.append((key, idle_ms, final_ms))
        effects.folded[key] = fields
        duplicates = 0 if copies is None else len(copies)
        effects.count(key, Counts(accepted, late, duplicates, unrestated=unrestated), 0)
        effects.compiled += len(fields) // 4
        effects.copies += told
        made: int = len(entry) + weight + sum(len(value) for _, value in told)
        if outbox is not None:
            effects.rows.add_made(outbox)
            made += WRITE_BYTES * len(outbox)
        return made

    def _by_core(self, key: bytes, fields: Fields) -> tuple[str, Any, list[tuple[bytes, bytes]]]:
        """Why Python has to fold these records, empty if it has not; what the core made of them; and the copies that
        are to be told of."""
        try:
            policy = self.in_force.apps.with_versions(key)
        except ValueError:
            return "key", None, []
        cleaner = self._edge.cleaner_of(key)
        done = self._core.fold(key, fields, self._came_ms, self.marker.applied_offset, policy, cleaner)
        if type(done) is str:
            return done, None, []
        _, (*_, copies, corrected_ms), _ = done
        if copies is None:
            return "", done, []
        return "", done, told_copies(key, fields, [Copy(*copy) for copy in copies], corrected_ms, cleaner)

    def _by_python(self, key: bytes | None, fields: Fields, effects: Effects, why: str) -> int:
        """Hand records of a device to Python, and count them by the reason."""
        if why == "panic" and self._core is not None:
            log.error("the compiled core fails at device %r, partition %d: Python folds it", key, self.number)
        effects.handed_over[why] += len(fields) // 4
        return super()._fold(key, fields, effects)
