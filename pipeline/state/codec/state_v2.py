"""Version 2 of a device's state, of the first definition of a session. Read forever; written for older workers.

What is written has the state in version 3 behind it: an older program passes over that, and this one goes by it. If an
older one has had the state in between, it is gone, and the next input folds the recent events anew (`outdated`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.domain.event import RANK, AppState, Event, Kind
from pipeline.domain.fold_state import FoldState
from pipeline.domain.session import Session
from pipeline.state.codec import state_v3
from pipeline.state.codec.session_codec import checkpoint, fold_row, session_row, written_rows
from pipeline.state.device_state import DeviceState
from pipeline.state.tail import OrderKey, Strings, Tail

VERSION = 2

_SESSION_FIELDS, _COUNTERS_AT, _COUNTERS = 16, 13, 8
"""Of a session: version 3 put more behind them, and more behind its counters."""


class _Layout(state_v3.Layout, array_like=True, gc=False):
    newest: bytes = b""
    """The state in version 3, if this program or a later one wrote it."""


_decode = msgspec.msgpack.Decoder(_Layout).decode


def encode(state: DeviceState) -> bytes:
    """A state without its head."""
    newest = state_v3.encode(state)
    events = sorted(_before(event) for event in state.tail)
    strings = Strings()
    tail = Tail(strings, events)
    last = None if tail.last is None else tail.last[:4]
    fields: list[Any] = [
        [],
        _place_before(state.floor),
        list(state.named),
        _fold_row(checkpoint(state), strings),
        _fold_row(state.head, strings) if events else None,
        tail.packed(),
        tail.marks,
        last,
        written_rows(state),
        [(_session_row(w.session, strings), int(w.report), w.is_final) for w in state.outbox],
        newest,
    ]
    fields[0] = list(strings)
    return state_v3.encode_array(fields)


def decode(body: bytes | memoryview) -> DeviceState:
    """The state that `encode` was given, but for what its head says; `outdated` if an older program wrote it.

    Raises as `state_v3.decode` does.
    """
    layout = _decode(body)
    if layout.newest:
        return state_v3.decode(layout.newest)
    state = state_v3.state_of(layout)
    checkpoint(state)
    state.outdated = True
    return state


def _fold_row(fold: FoldState, strings: Strings) -> tuple[Any, ...]:
    held = FoldState(app_state=fold.app_state, stitched=fold.stitched)
    _, _, app_state, stitched, *_ = fold_row(held, strings.__getitem__)
    return (
        _session_row(fold.open, strings) if fold.open else None,
        _session_row(fold.prev, strings) if fold.prev else None,
        app_state,
        stitched,
    )


def _session_row(session: Session, strings: Strings) -> tuple[Any, ...]:
    row = list(session_row(session, strings.__getitem__)[:_SESSION_FIELDS])
    row[_COUNTERS_AT] = row[_COUNTERS_AT][:_COUNTERS]
    return tuple(row)


def _before(event: Event) -> Event:
    """The event as it was understood before there were passive and active ones."""
    kind = event.kind if event.kind < Kind.ACTIVE else Kind.ACTIVITY
    counters = event.counters & (1 << _COUNTERS) - 1
    return event._replace(kind=kind, rank=RANK[kind], stated=AppState.UNKNOWN, counters=counters)


def _place_before(floor: OrderKey | None) -> OrderKey | None:
    if floor is None or floor[1] < RANK[Kind.PASSIVE]:
        return floor
    return floor[0], RANK[Kind.ACTIVITY], floor[2], floor[3]
