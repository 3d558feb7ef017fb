"""Targets: the state of a device and stored events. Nobody outside chooses them; they may be damaged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

import msgspec
import orjson

from pipeline.domain.event import Event
from pipeline.domain.policy import Policy
from pipeline.formats import native
from pipeline.state.codec import state_codec
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.storage import stored_event
from tests.fuzz.mutate import JsonMutator, MsgpackMutator
from tests.fuzz.records import check_sessions, examples
from tests.fuzz.target import Seen, require
from tests.fuzz.vocabulary import NATIVE_VALUES, NOW_MS, NUMBERS


def example_events() -> list[tuple[str, str, list[Event]]]:
    """App, device and events of every example that is accepted."""
    found = []
    for value in examples("native/accepted"):
        tree = orjson.loads(value)
        decoded = native.decode(value, f"{tree['app_id']}/{tree['device_id']}".encode(), NOW_MS)
        if isinstance(decoded, native.Envelope) and decoded.events:
            found.append((decoded.app_id, decoded.device_id, native.to_events(decoded)))
    return found


def _wording(error: object) -> str:
    """An error's words without its numbers, which differ from input to input."""
    return re.sub(r"[0-9]+", "0", str(error))[:60]


class StateTarget:
    """`state_codec.decode`: only its documented errors; what it takes re-encodes to the same state."""

    limit_ms: float | None = None

    def __init__(self) -> None:
        self._mutator = MsgpackMutator(("",), NUMBERS)

    def seeds(self) -> list[bytes]:
        """States after one and after several records, with tails short and long."""
        seeds = [state_codec.encode(DeviceState())]
        for policy in (Policy(), replace(Policy(), restate_events=1)):
            together = DeviceState()
            for offset, (_, _, events) in enumerate(example_events()):
                state = DeviceState()
                apply(state, [(offset, NOW_MS, events)], policy, Counts())
                apply(together, [(offset, NOW_MS + offset, events)], policy, Counts())
                seeds += [state_codec.encode(state), state_codec.encode(together)]
        return seeds

    def mutate(self, data: bytes, random: Random) -> bytes:
        version = random.randbytes(1) if random.random() < 0.02 else data[:1]
        return version + self._mutator.mutate(data[1:], random)

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        return None

    def prepared(self, data: bytes) -> Callable[[], object]:
        return lambda: self._outcome(data)

    def _outcome(self, data: bytes) -> object:
        try:
            state = state_codec.decode(data)
            state_codec.check(state)
            return state
        except (state_codec.UnknownStateVersion, msgspec.DecodeError) as error:
            return error

    def check(self, data: bytes) -> Seen:
        outcome = self._outcome(data)
        if not isinstance(outcome, DeviceState):
            return Seen(False, _wording(outcome))
        require(state_codec.outline(data).applied_offset == outcome.applied_offset, "both readings agree")
        encoded = state_codec.encode(outcome)
        require(state_codec.decode(encoded) == outcome, "what is accepted re-encodes to the same state")
        require(state_codec.encode(state_codec.decode(encoded)) == encoded, "and then to the same bytes")
        held = (outcome.head.open is None, outcome.head.prev is None, outcome.head.stitched is None)
        return Seen(
            True, (held, outcome.floor is None, min(len(outcome.tail), 3), min(len(outcome.outbox), 3))
        )


class StoredEventTarget:
    """`stored_event.devices`: only its documented error; events that it takes fold.

    An input is lines of JSONCompactEachRow.
    """

    limit_ms: float | None = None

    def __init__(self) -> None:
        self._mutator = JsonMutator(
            ("",), (*NATIVE_VALUES, "launch", "activity", "exit", "foreground", "{}", "", 255, 256, -1)
        )

    def seeds(self) -> list[bytes]:
        return [
            b"\n".join(
                orjson.dumps(
                    [
                        *(
                            app_id,
                            device_id,
                            1,
                            17 + index // 2,
                            NOW_MS,
                            event.time_ms,
                            event.kind.label,
                            event.seq,
                        ),
                        *(event.id, event.client_session_id, event.exit_reason, event.counters),
                        *(event.resource, event.user, event.stated.label),
                        *(event.time_ms, index % 2, "2026-01-05", 90),
                    ]
                )
                for index, event in enumerate(events)
            )
            for app_id, device_id, events in example_events()
        ]

    def mutate(self, data: bytes, random: Random) -> bytes:
        lines = data.split(b"\n")
        at = random.randrange(len(lines))
        lines[at] = self._mutator.mutate(lines[at], random, gentle=True)
        if random.random() < 0.1:
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
        return b"\n".join(lines)

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        return None

    def prepared(self, data: bytes) -> Callable[[], object]:
        return lambda: self._outcome(data)

    def _outcome(self, data: bytes) -> object:
        try:
            return list(stored_event.devices(data.split(b"\n")))
        except msgspec.DecodeError as error:
            return error

    def check(self, data: bytes) -> Seen:
        outcome = self._outcome(data)
        if not isinstance(outcome, list):
            return Seen(False, _wording(outcome))
        count = 0
        for device in outcome:
            count += len(device.copies)
            for record in device.records:
                count += len(record.events)
                check_sessions(device.app_id, device.device_id, record.events, record.record_ms)
        lines = [line for line in data.split(b"\n") if line]
        require(count == len(lines), "every row is an event, or the copy of one")
        return Seen(bool(count), (min(len(outcome), 3), min(count, 5)))
