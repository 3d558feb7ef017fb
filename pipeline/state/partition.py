"""All devices of one partition: records in, state values and rows out. Pure, but for its own dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeline.domain.policy import Policies, Policy
from pipeline.state.deadlines import Deadlines
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.marker import MARKER_KEY, UNREADABLE, Marker, marker_item, marker_of
from pipeline.state.outbox import outbox_rows
from pipeline.state.records import Record
from pipeline.state.store import Encode, Mismatch, Store
from pipeline.wire import state_codec, step_codec
from pipeline.wire.device_state import DeviceState
from pipeline.wire.native_events import Arrival, arrivals_of

Due = tuple[int | None, int | None]
_WAY_BACK = "Stop all sessionizers, then: session-pipeline rebuild --states"


@dataclass(slots=True)
class Effects:
    """What a step wants done, in this order: rows owed, states durable, rows, then `Partition.commit`.

    (Rows of silence go the other way round: rows, then states.)
    """

    owed: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Device key and session row: outboxes of durable states whose input came again. Their worker may have died
    before it emitted them, and a state that goes on from there forgets them: so before any state is written."""

    states: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Table key and value, the partition's marker last."""
    rows: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Device key and session row."""
    counts: Counts = field(default_factory=Counts)
    refused: int = 0
    """Events (or whole records) that were not decoded; the sink dead-letters them."""
    marker: Marker = field(default_factory=Marker)
    handled_offset: int = -1
    """Of the last record, replayed or not."""
    touched: list[tuple[bytes, int | None, int | None]] = field(default_factory=list)
    """Device keys and when silence next has something to say about them (`Partition._due_ms`)."""


class UnreadableState(Exception):
    """What the changelog holds of a device cannot be read. Terminal: state is never guessed."""


class StateLost(Exception):
    """The changelog does not reach as far as the input that was done. Terminal: sessions would come out wrong."""


class PoisonedDevice(Exception):
    """The fold failed on valid input: our bug. Terminal; the worker stops and nothing is acknowledged."""


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
        offset_base: int = 0,
        encode: Encode = state_codec.encode,
    ) -> None:
        """`offset_base` is added to every offset: above 0 where a topic began anew (see settings)."""
        self.number = number
        self.marker = Marker()
        self._policies = policies
        self._offset_base = offset_base
        self._handled_offset = -1
        """Of the last record that came since the partition was taken over."""
        self._policy_of_app: dict[bytes, tuple[Policy, bytes]] = {}
        self._store = Store(encode)
        self._uncommitted = False
        """Effects were given out that are not durable yet: decoded states are ahead of what is."""
        self._open: set[bytes] = set()
        self._idle = Deadlines(lambda key: self._due_ms(key)[0])
        self._final = Deadlines(lambda key: self._due_ms(key)[1])

    def __len__(self) -> int:
        return len(self._store)

    def restore(self, items: Mapping[bytes, bytes]) -> None:
        """Take over what was recovered from the changelog; called once, before any record.

        Raises `UnreadableState`.
        """
        key = MARKER_KEY
        try:
            for key, value in items.items():
                if key == MARKER_KEY:
                    self.marker = marker_of(value)
                else:
                    self._store.restore(key, value)
            self._store.restored()
        except Mismatch as error:
            raise UnreadableState(f"changelog of partition {self.number}, {error}. {_WAY_BACK}") from error
        except UNREADABLE as error:
            raise self._unreadable(key, error) from error
        for key in self._store:
            self._note(key, *self._due_ms(key))

    def keep_decoded(self, devices: int) -> None:
        """Keep the decoded states of at most so many devices."""
        self._store.max_decoded = devices

    @property
    def reach(self) -> int:
        """The last offset that the state has, as the topic counts now; below 0 if none."""
        return self.marker.applied_offset - self._offset_base

    def require_state(self, done: int) -> None:
        """Check that nothing is lost of the state of the input below an offset. Raises `StateLost`.

        Every chunk's state is durable before the chunk counts as done.
        """
        if self.marker.applied_offset < done + self._offset_base - 1:
            raise StateLost(
                f"all of partition {self.number} below offset {done} was done, but its changelog reaches to "
                f"{self.marker.applied_offset - self._offset_base} only. {_WAY_BACK}"
            )

    def apply(self, records: Sequence[Record]) -> Effects:
        """Fold a chunk of records, ascending by offset. Raises `PoisonedDevice`."""
        self._begin()
        effects = Effects()
        clock_ms, base = self.marker.clock_ms, self._offset_base
        by_key: dict[bytes | None, list[Any]] = {}
        record_ms = -1
        for record in records:
            key = record.key
            if record.timestamp != record_ms:
                record_ms = record.timestamp
                clock_ms = max(clock_ms, record_ms)
            fields = by_key.get(key)
            if fields is None:
                by_key[key] = fields = []
            # Side by side in one list, and the same object where values are the same: what is put here in order of
            # arrival is read in that of devices, and each object on its own has to be fetched from memory again.
            fields += record.offset + base, record_ms, record.value, record.headers or None
        # One device after the other, decoding included: what is made of its records is gone before the next one's.
        for key, fields in by_key.items():
            arrivals, refused = arrivals_of(key, fields)
            effects.refused += refused
            if arrivals:
                assert key is not None, "decode refuses a record without a key"
                self._apply_device(key, arrivals, effects)
        last = records[-1].offset + base
        effects.handled_offset = last
        effects.marker = Marker(max(last, self.marker.applied_offset), clock_ms)
        effects.states.append(marker_item(effects.marker.applied_offset, effects.marker.clock_ms))
        return effects

    def tick(self, now_ms: int, *, caught_up: bool, limit: int = 1_000) -> Effects | None:
        """What silence has decided by now, for at most `limit` devices; None if nothing.

        `now_ms` is the wall clock. It counts only once the partition is caught up: a backlog of hours must
        not close and reopen every session on the way.
        """
        clock_ms = min(self.marker.clock_ms, now_ms)
        idle_ms = max(clock_ms, now_ms) if caught_up else clock_ms
        due = dict.fromkeys(self._idle.due(idle_ms, limit))
        due.update(dict.fromkeys(self._final.due(clock_ms, limit)))
        if not due:
            return None
        self._begin()
        effects = Effects()
        for key in due:
            policy, _ = self._policy(key)
            state = self._load(key)
            if state.applied_offset > self._handled_offset:
                # Recovered, and its input may still come again: then its outbox may not have been emitted either.
                effects.rows.extend((key, row) for row in self._rows(key, state, state.applied_offset * 2))
            if fall_silent(state, idle_ms, clock_ms, policy):
                revision = state.applied_offset * 2 + 1
                effects.rows.extend((key, row) for row in self._rows(key, state, revision))
                state.outbox = []
                effects.states.append(self._store.entry_of_base(key, state))
            effects.touched.append((key, *_due_ms(state, policy)))
            self._store.keep(key, state)
        effects.marker = self.marker
        return effects

    def commit(self, effects: Effects) -> None:
        """Take over the effects of the latest `apply` or `tick`: they are durable now."""
        for key, value in effects.states:
            if key != MARKER_KEY:
                self._store.commit(key, value)
        for key, idle_ms, final_ms in effects.touched:
            self._note(key, idle_ms, final_ms)
        self.marker = effects.marker
        self._handled_offset = max(self._handled_offset, effects.handled_offset)
        self._uncommitted = False

    @property
    def open_sessions(self) -> int:
        """Devices whose open session is not reported as ended."""
        return len(self._open)

    def _begin(self) -> None:
        if self._uncommitted:
            self._store.forget_decoded()
        self._uncommitted = True

    def _apply_device(self, key: bytes, arrivals: list[Arrival], effects: Effects) -> None:
        state = self._load(key)
        if arrivals[0][0] <= state.applied_offset:
            effects.owed.extend((key, row) for row in self._rows(key, state, state.applied_offset * 2))
            arrivals = [arrival for arrival in arrivals if arrival[0] > state.applied_offset]
        policy, policy_bytes = self._policy(key)
        try:
            applied = apply(state, arrivals, policy, effects.counts)
        except msgspec.DecodeError as error:
            raise self._unreadable(key, error) from error
        except Exception as error:
            raise PoisonedDevice(
                f"device {key!r}, partition {self.number}, offsets {arrivals[0][0]}-{arrivals[-1][0]}"
            ) from error
        if applied:
            if state.outbox:
                effects.rows.extend((key, row) for row in self._rows(key, state, state.applied_offset * 2))
            effects.states.append(self._store.entry_of_step(key, state, arrivals, policy, policy_bytes))
            effects.touched.append((key, *_due_ms(state, policy)))
        self._store.keep(key, state)

    def _load(self, key: bytes) -> DeviceState:
        try:
            return self._store.load(key)
        except UNREADABLE as error:
            raise self._unreadable(key, error) from error

    def _unreadable(self, key: bytes, error: Exception) -> UnreadableState:
        return UnreadableState(f"changelog of partition {self.number}, key {key!r}: {error}. {_WAY_BACK}")

    def _policy(self, key: bytes) -> tuple[Policy, bytes]:
        """The policy of a device's app, and the same encoded."""
        app = key[: key.index(b"/")]
        found = self._policy_of_app.get(app)
        if found is None:
            policy = self._policies.of(app.decode())
            found = self._policy_of_app[app] = policy, step_codec.encode_policy(policy)
        return found

    def _note(self, key: bytes, idle_ms: int | None, final_ms: int | None) -> None:
        """Note when silence next has something to say about a device, as far as is durable."""
        if idle_ms is None:
            self._open.discard(key)
        else:
            self._open.add(key)
            self._idle.note(key, idle_ms)
        if final_ms is not None:
            self._final.note(key, final_ms)

    def _due_ms(self, key: bytes) -> Due:
        """Of a device, as far as is durable."""
        known, (policy, _) = self._store.outline(key), self._policy(key)
        return _due_ms(known, policy)

    def _rows(self, key: bytes, state: DeviceState, revision: int) -> Iterator[bytes]:
        app_id, device_id = split_key(key)
        return outbox_rows(state, app_id, device_id, partition=self.number, revision=revision)


def _due_ms(known: DeviceState | state_codec.Outline, policy: Policy) -> Due:
    """When the open session is to be reported as ended by inactivity, and when a device's sessions become final
    for want of input; None where there is nothing to report."""
    return (
        known.arrived_ms + policy.idle_timeout_ms if known.silence_due else None,
        known.arrived_ms + policy.restate_horizon_ms if known.has_tail else None,
    )


def split_key(key: bytes) -> tuple[str, str]:
    """App and device of a record key."""
    app_id, _, device_id = key.decode().partition("/")
    return app_id, device_id
