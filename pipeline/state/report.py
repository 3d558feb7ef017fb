"""Which rows a device's sessions need: the difference between what is true now and what was written.

Each function appends to `state.outbox` and notes in `state.written` what the new row says.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from pipeline.domain.session import Session, as_quiet
from pipeline.state.codec.session_codec import session_bytes
from pipeline.state.device_state import DeviceState, Report, Write, Written

LIVE_INTERVAL_MS = 30_000
"""An open session is written when it opens, and again with the first input after this."""


def changed(state: DeviceState, left: Iterable[Session]) -> None:
    """After input: write the sessions that differ from their rows; `left` were pushed out of the fold."""
    over(state, left)
    if state.head.open is not None:
        _open(state, state.head.open)


def over(state: DeviceState, left: Iterable[Session]) -> None:
    """Write the sessions that are over and differ from their rows; `left` were pushed out of the fold."""
    for session in left:
        _closed(state, session)
    prev = state.head.prev
    if prev is not None:
        # Whatever changes it changes one of these. (The sum: an end that names it may be another one's event.)
        says = prev.first_event_id, prev.event_count, prev.end_reason, prev.exit_reason, sum(prev.counters)
        if says != state.prev_compared:
            _closed(state, prev)
            state.prev_compared = says


def forget(state: DeviceState) -> None:
    """What the rows in reach say is not known: all that they are of is to be written again."""
    for written in state.written.values():
        written.digest, written.at_ms = b"", 0


def dissolve(state: DeviceState, kept: Iterable[Session]) -> None:
    """After the tail was folded again: take back the rows of sessions that no longer exist."""
    alive = {session.first_event_id for session in kept}
    for first_id in [first_id for first_id in state.written if first_id not in alive]:
        gone = state.written.pop(first_id)
        stub = Session(first_id, gone.started_at_ms, "", True, "{}", last_ms=gone.started_at_ms)
        state.outbox.append(Write(stub, Report.DELETED, is_final=False))


def silent(state: DeviceState) -> bool:
    """Report the open session as ended by inactivity. Returns whether that is news."""
    opened = state.head.open
    assert opened is not None, "only an open session falls silent"
    before = state.written.get(opened.first_event_id)
    if before is not None and before.report is Report.SILENT and before.digest:
        return False
    _write(state, as_quiet(opened), Report.SILENT)
    return True


def finals(state: DeviceState, sessions: Iterable[Session]) -> None:
    """Write as final the sessions that left the checkpoint: no event in reach touches them any more.

    One may have left twice in a step, where the policy has changed since its events came: the last time counts.
    """
    for session in {(each.first_event_id, each.started_at_ms): each for each in sessions}.values():
        before = state.written.pop(session.first_event_id, None)
        if before is None or not before.is_final or before.digest != _digest(session):
            state.outbox.append(Write(session, Report.CLOSED, is_final=True))


def finals_held(state: DeviceState) -> None:
    """Write as final what the fold still holds of a device that has been silent for the horizon."""
    if state.head.prev is not None:
        _write_final(state, state.head.prev, Report.CLOSED)
    if state.head.open is not None:
        _write_final(state, as_quiet(state.head.open), Report.SILENT)


def _closed(state: DeviceState, session: Session) -> None:
    before = state.written.get(session.first_event_id)
    digest = _digest(session)
    if before is not None and before.digest == digest:
        before.report = Report.CLOSED
        return
    _write(state, session, Report.CLOSED, digest)


def _open(state: DeviceState, session: Session) -> None:
    before = state.written.get(session.first_event_id)
    if before is not None:
        told_open = before.report is Report.OPEN
        if told_open and state.arrived_ms - before.at_ms < LIVE_INTERVAL_MS:
            return
        said = session if told_open else as_quiet(session)
        if before.digest == _digest(said):
            return
    _write(state, session, Report.OPEN)


def _write(state: DeviceState, session: Session, report: Report, digest: bytes | None = None) -> None:
    state.outbox.append(Write(session.copy(), report, is_final=False))
    state.written[session.first_event_id] = Written(
        digest or _digest(session), session.started_at_ms, report, False, state.arrived_ms
    )


def _write_final(state: DeviceState, session: Session, report: Report) -> None:
    before = state.written.get(session.first_event_id)
    digest = _digest(session)
    if before is not None and before.is_final and before.digest == digest:
        return
    state.outbox.append(Write(session.copy(), report, is_final=True))
    state.written[session.first_event_id] = Written(
        digest, session.started_at_ms, report, True, state.arrived_ms
    )


def _digest(session: Session) -> bytes:
    return blake2b(session_bytes(session), digest_size=8).digest()
