"""The states of a partition's devices: encoded, and those used recently decoded too.

A state is kept in two parts. The *base* is all of it, rewritten now and then; the *steps* are the input that came
since, and grow by what came. So a step costs what it brings, not what the device has sent in a day. A new device has
steps alone for a while. When each of the two is written follows from their sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from pipeline.domain.policy import Policy
from pipeline.errors import Terminal
from pipeline.formats.native.events import Arrival
from pipeline.state import upgrade
from pipeline.state.aside import ASIDE_SUFFIX, Aside, aside_of
from pipeline.state.codec import state_codec, step_codec
from pipeline.state.codec.state_head import Outline
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.state.durable import Durable, DurableParts
from pipeline.state.failures import UnknownPolicies
from pipeline.state.marker import MARKER_KEY
from pipeline.state.policy_versions import POLICIES_KEY

STEPS_SUFFIX = b"\0steps"
"""Behind the device key: the table key of its steps. No device key has a NUL."""
_MIN_STEPS_BYTES = 1_024
MAX_STEPS_BYTES = 2_000_000
"""Then the base is written anew, however large it is: an entry has to fit a record of the changelog."""
MAX_DECODED = 200_000
"""Devices whose decoded state is kept, of all partitions of a worker together: some 3 kB each."""
_FIRST_BASE_BYTES = 512
"""About what the first base of a device has: when it is worth to write one goes by that."""
_LIGHT_BYTES = 4_096
MAX_HEAVY_BYTES = 16_000_000
"""Of the decoded states kept, for what is over 4,096 bytes in each when it is encoded: decoded it is several times as
much, and a few hundred devices may have states of megabytes."""


Encode = Callable[[DeviceState], bytes]
"""Writes the version of the state that all workers about can read."""


PolicyOf = Callable[[bytes, int], Policy | None]
"""The policy of a device as it was when a version was the newest, None if that is forgotten. It may raise
`UnknownPolicies`."""


class Mismatch(Terminal):
    """The parts of a state do not belong together."""


class DeviceStates:
    """Not safe for several threads. Never blocks."""

    def __init__(self, encode: Encode = state_codec.encode, durable: Durable | None = None) -> None:
        """`encode` writes whole states; one of an older version is for workers that know no steps. In `durable` is what
        is kept encoded."""
        self._encode = encode
        self._with_steps = encode is state_codec.encode
        self._durable: Durable = DurableParts() if durable is None else durable
        self.aside: dict[bytes, Aside] = {}
        """By device key; durable ones only."""
        self.policy_of: PolicyOf | None = None
        """What steps need that were folded under policies that were published."""
        self.max_decoded = MAX_DECODED
        self._decoded: dict[bytes, DeviceState] = {}
        """Oldest use first. Each is what base and steps say, or is in use since `load`."""
        self._heavy: dict[bytes, int] = {}
        """Of those, the ones that are more than light when they are encoded, with the bytes that are over."""
        self._heavy_bytes = 0

    def __len__(self) -> int:
        return len(self._durable)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._durable)

    def __contains__(self, key: bytes) -> bool:
        return key in self._durable

    @property
    def byte_count(self) -> int:
        """Of all that is kept encoded."""
        return self._durable.byte_count

    def outline(self, key: bytes) -> Outline:
        """What is known of a device without decoding it. Raises KeyError for an unknown one."""
        base, steps = self._durable.parts(key)
        if (value := steps or base) is None:
            raise KeyError(key)
        return state_codec.outline(value)

    @staticmethod
    def key_of_steps(key: bytes) -> bytes:
        """The table key of a device's steps."""
        return key + STEPS_SUFFIX

    def restore_many(self, items: Mapping[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
        """Entries of the table, of which some may be taken over at once: those that `restore` is to take."""
        return items.items()

    def restore(self, table_key: bytes, value: bytes) -> None:
        """Take an entry of the table. Raises `UnknownStateVersion`, `msgspec.DecodeError`."""
        if table_key.endswith(ASIDE_SUFFIX):
            self.aside[table_key.removesuffix(ASIDE_SUFFIX)] = aside_of(value)
            return
        is_steps = state_codec.outline(value).is_steps
        if is_steps != table_key.endswith(STEPS_SUFFIX):
            raise msgspec.DecodeError("steps and whole states are under keys of their own")
        if is_steps:
            self._durable.put_steps(table_key.removesuffix(STEPS_SUFFIX), value)
        else:
            self._durable.put_base(table_key, value)

    def restored(self) -> None:
        """All entries are in: drop the steps whose base has gone on. Raises `Mismatch`."""
        for key in self._durable.with_steps():
            self._fit(key)

    def _fit(self, key: bytes) -> None:
        base, value = self._durable.parts(key)
        if value is None:
            return
        steps = state_codec.outline(value)
        reach = -1 if base is None else state_codec.outline(base).applied_offset
        if steps.applied_offset <= reach:
            self._durable.drop_steps(key)
        elif steps.base_offset != reach:
            raise Mismatch(
                f"key {key!r}: steps that build on offset {steps.base_offset}, but a state of offset {reach}"
            )

    def load(self, key: bytes) -> DeviceState:
        """A device's state, to be changed in place and then given to `base` or `step`; a new one if it has none.

        Raises `UnknownStateVersion`, `UnknownPolicies`, `msgspec.DecodeError`.
        """
        state = self.forget(key)
        if state is None:
            base, steps = self._durable.parts(key)
            state = DeviceState() if base is None else state_codec.decode(base)
            state.base_offset = state.applied_offset
            if steps is not None:
                policy, version, records, corrected_ms = step_codec.decode(steps, state.strings)
                if version:
                    if self.policy_of is None:
                        raise UnknownPolicies(
                            f"key {key!r}: nothing says what policies of version {version} were"
                        )
                    policy = self.policy_of(key, version) or policy
                if state_codec.outline(steps).version < state_codec.VERSION:
                    upgrade.take_steps(state, records, policy)
                else:
                    for each in records:
                        apply(state, each, policy, Counts())
                state.corrected_ms = max(state.corrected_ms, corrected_ms)
        return state

    def is_old(self, key: bytes) -> bool:
        """Whether a device's base is of an older version than the one that is written; False if it has none."""
        base, _ = self._durable.parts(key)
        return base is not None and self._with_steps and base[0] < state_codec.VERSION

    def weight(self, key: bytes) -> int:
        """Bytes of what is durable of a device, encoded."""
        return self._durable.weight(key)

    def keep(self, key: bytes, state: DeviceState) -> None:
        """Keep a decoded state; those that were used longest ago may go for it."""
        self._decoded[key] = state
        over = self.weight(key) - _LIGHT_BYTES
        if over > 0:
            self._heavy[key] = over
            self._heavy_bytes += over
            while self._heavy_bytes > MAX_HEAVY_BYTES:
                self.forget(next(iter(self._heavy)))
        if len(self._decoded) > self.max_decoded:
            # Several at once: to find the first key, Python passes over all that were deleted before it.
            surplus = len(self._decoded) - self.max_decoded * 7 // 8
            for oldest in list(islice(self._decoded, surplus)):
                self.forget(oldest)

    def forget(self, key: bytes) -> DeviceState | None:
        """Keep a decoded state no longer: the one that was kept."""
        if over := self._heavy.pop(key, 0):
            self._heavy_bytes -= over
        return self._decoded.pop(key, None)

    def forget_many(self, keys: Iterable[bytes]) -> None:
        """The same of several."""
        if self._decoded:
            for key in keys:
                self.forget(key)

    def forget_decoded(self) -> None:
        """What was changed is not to be: go back to base and steps."""
        self._decoded.clear()
        self._heavy.clear()
        self._heavy_bytes = 0

    def entry_of_step(
        self, key: bytes, state: DeviceState, arrivals: Sequence[Arrival], policy: Policy, policy_bytes: bytes
    ) -> tuple[bytes, bytes]:
        """The table entry that makes `state` durable after a step of `arrivals`."""
        if not self._with_steps or self.is_old(key):
            return self.entry_of_base(key, state)
        base, steps = self._durable.parts(key)
        step = step_codec.encode_step(arrivals, state.strings, state.corrected_ms)
        size = len(step) + (0 if steps is None else len(steps))
        # Written a step: about half of all steps, and now and then the base. Their sum is nearly least from 8 to 32
        # here; a base takes longer to write.
        base_bytes = _FIRST_BASE_BYTES if base is None else len(base)
        if size > MAX_STEPS_BYTES or (size > _MIN_STEPS_BYTES and size * size > 32 * base_bytes * len(step)):
            return self.entry_of_base(key, state)
        if steps is not None and not step_codec.folded_under(steps, policy_bytes):
            return self.entry_of_base(key, state)
        return key + STEPS_SUFFIX, step_codec.added(steps, step, policy_bytes, state, state.base_offset)

    def entry_of_base(self, key: bytes, state: DeviceState) -> tuple[bytes, bytes]:
        """The table entry that makes all of `state` durable."""
        state.base_offset = state.applied_offset
        return key, self._encode(state)

    def entries_of_forgotten(self, key: bytes, state: DeviceState) -> list[tuple[bytes, bytes | None]]:
        """The entries that make a device forgotten, in order; `state` is the last that was told of it.

        After any of them a worker may die, and what is left has to fit together: a base without its steps would be
        older than what was told, and steps without their base nobody could read. So first comes a base that knows
        nothing but what input is done.
        """
        entries: list[tuple[bytes, bytes | None]] = [(key + STEPS_SUFFIX, None), (key, None)]
        if None not in self._durable.parts(key):
            blank = DeviceState(applied_offset=state.applied_offset, arrived_ms=state.arrived_ms)
            entries.insert(0, self.entry_of_base(key, blank))
        return entries

    def commit_many(self, states: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Entries are durable, or gone (None)."""
        for table_key, value in states:
            if value is None:
                self.drop(table_key)
            elif table_key not in (MARKER_KEY, POLICIES_KEY):
                self.commit(table_key, value)

    def drop(self, table_key: bytes) -> None:
        """An entry is durably gone."""
        if table_key.endswith(ASIDE_SUFFIX):
            self.aside.pop(table_key.removesuffix(ASIDE_SUFFIX), None)
        elif table_key.endswith(STEPS_SUFFIX):
            self._durable.drop_steps(table_key.removesuffix(STEPS_SUFFIX))
        else:
            self._durable.drop_base(table_key)
            self.forget(table_key)

    def commit(self, table_key: bytes, value: bytes) -> None:
        """An entry is durable."""
        if table_key.endswith(ASIDE_SUFFIX):
            self.aside[table_key.removesuffix(ASIDE_SUFFIX)] = aside_of(value)
        elif table_key.endswith(STEPS_SUFFIX):
            self._durable.put_steps(table_key.removesuffix(STEPS_SUFFIX), value)
        else:
            self._durable.drop_steps(table_key)
            self._durable.put_base(table_key, value)
