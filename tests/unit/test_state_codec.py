"""What a state's bytes say without being decoded, what damage is, and when texts that nobody needs go."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.domain.event import AppState, Event, Kind, make_event
from pipeline.domain.fold import step_all
from pipeline.domain.fold_state import FoldState
from pipeline.domain.policy import Policy
from pipeline.domain.session import Session
from pipeline.formats.native.events import Arrival
from pipeline.state import report
from pipeline.state.codec import state_codec, step_codec
from pipeline.state.codec.session_codec import checkpoint
from pipeline.state.codec.state_codec import HEAD, Outline, UnknownStateVersion
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState, Report
from pipeline.state.tail import Strings

AT_MS = 1_800_000_000_000
POLICY = Policy(restate_events=4)


def event(number: int, *, user: str = "u") -> Event:
    """One of a user who is told by a persona alone: a text that the state has once."""
    return make_event(
        AT_MS + number, Kind.ACTIVITY, f"e{number}", user=f'{{"personas":["{user}"]}}', client_session_id="s"
    )


def state_of(*numbers: int, policy: Policy = POLICY) -> DeviceState:
    state = DeviceState()
    for number in numbers:
        apply(state, [(number, AT_MS + number, [event(number)])], policy, Counts())
    return state


def test_the_outline_is_what_the_state_says() -> None:
    state = state_of(7, 9)
    value = state_codec.encode(state)
    assert state_codec.outline(value) == Outline(
        9, AT_MS + 9, 9, silence_due=True, has_tail=True, is_steps=False, version=3
    )
    older = state_codec.encoder(2)(state)
    assert state_codec.outline(older) == state_codec.outline(value)._replace(version=2)
    fall_silent(state, AT_MS + 10**10, 0, POLICY)
    assert state_codec.outline(state_codec.encode(state))[3:6] == (False, True, False)
    fall_silent(state, AT_MS + 10**10, AT_MS + 10**10, POLICY)
    assert state_codec.outline(state_codec.encode(state))[3:6] == (False, False, False)
    assert state_codec.outline(state_codec.encode(DeviceState()))[:4] == (-1, 0, -1, False)


def test_all_of_a_state_comes_back() -> None:
    for state in (DeviceState(), state_of(1), state_of(*range(9))):
        for version in (2, 3):
            again = state_codec.decode(state_codec.encoder(version)(state))
            assert again == state and checkpoint(again) == checkpoint(state)
            assert again.named == state.named
            state_codec.check(again)


def test_versions_are_read_for_ever_and_written_while_asked_for() -> None:
    assert state_codec.encoder(0) is state_codec.encoder(3) is state_codec.encode
    with pytest.raises(UnknownStateVersion, match="version 4 cannot be written, only 2, 3"):
        state_codec.encoder(4)
    value = state_codec.encode(state_of(1))
    for newer in (4, 0, 255):
        for reading in (state_codec.decode, state_codec.outline):
            with pytest.raises(UnknownStateVersion):
                reading(bytes((newer,)) + value[1:])  # type: ignore[operator]


def damaged(value: bytes) -> list[bytes]:
    """Each flag turned, cut off, and another kind of thing."""
    version, flags, *rest = HEAD.unpack_from(value)
    body = value[HEAD.size :]
    turned = [HEAD.pack(version, flags ^ flag, *rest) + body for flag in (1, 2, 4)]
    return [*turned, value[:-1], value[:10], b"", value[: HEAD.size], value[: HEAD.size] + b"\x90"]


def test_damage_is_damage_and_no_other_error() -> None:
    for state in (state_of(*range(9)), DeviceState()):
        for bad in damaged(state_codec.encode(state)):
            with pytest.raises(msgspec.DecodeError):
                state_codec.decode(bad)
    # A tail without the fold behind it, and the other way round.
    full, empty = (
        msgspec.msgpack.decode(state_codec.encode(state)[HEAD.size :])
        for state in (state_of(1), DeviceState())
    )
    for fields, head, at in (
        (full, state_codec.encode(state_of(1)), None),
        (empty, state_codec.encode(DeviceState()), full[4]),
    ):
        fields[4] = at
        with pytest.raises(msgspec.DecodeError, match="if, and only if, there is a tail"):
            state_codec.decode(head[: HEAD.size] + msgspec.msgpack.encode(fields))


def users(numbers: range, chars: int, state: DeviceState) -> list[int]:
    """A device whose user is another one with every event, four of which are remembered: the chars of its texts."""
    kept = []
    for number in numbers:
        each = event(number, user=f"{number:0{chars - 17}}")
        apply(state, [(number, AT_MS + number, [each])], POLICY, Counts())
        again = state_codec.decode(state_codec.encode(state))
        assert again == state
        kept.append(sum(map(len, again.strings)))
    return kept


def test_texts_that_nothing_refers_to_go_once_they_are_many() -> None:
    state = DeviceState()
    kept = users(range(400), 100, state)
    assert 8_192 < max(kept) <= 8_192 + 100, "with the texts of one more step they are let go"
    # Here they would be packed with every write if they had not to double.
    state = DeviceState()
    kept = users(range(100), 3_000, state)
    needed = state.packed_chars
    assert 4 * 3_000 < needed < 6 * 3_000
    assert 2 * needed < max(kept) <= 2 * needed + 3_000


def test_of_large_texts_a_bounded_part_is_of_no_use() -> None:
    state = DeviceState()
    kept = users(range(20), 150_000, state)
    assert state.packed_chars + 200_000 < max(kept) <= state.packed_chars + 200_000 + 150_000


def base() -> DeviceState:
    return state_codec.decode(state_codec.encode(state_of(0)))


def steps_of(*arrivals: list[Arrival], policy: Policy = POLICY) -> bytes:
    state, value = base(), None
    encoded = step_codec.encode_policy(policy)
    for each in arrivals:
        apply(state, each, policy, Counts())
        value = step_codec.added(value, step_codec.encode_step(each, state.strings, 0), encoded, state, 0)
    assert value is not None
    return value


STEPS: list[list[Arrival]] = [
    [(1, AT_MS + 1, [event(1, user="v")]), (2, AT_MS + 2, [])],
    [(3, AT_MS + 3, [event(3, user="w"), event(4, user="v")])],
]


def test_steps_come_back_as_they_were_with_their_policy() -> None:
    value = steps_of(*STEPS)
    strings = base().strings
    assert {"", '{"personas":["u"]}', "s", "{}"} <= set(strings)
    assert step_codec.decode(value, strings) == (POLICY, 0, STEPS, 0)
    assert {'{"personas":["v"]}', '{"personas":["w"]}'} <= set(strings)
    assert state_codec.outline(value) == Outline(
        3, AT_MS + 3, 0, silence_due=True, has_tail=True, is_steps=True, version=3
    )
    assert step_codec.folded_under(value, step_codec.encode_policy(POLICY))
    assert not step_codec.folded_under(value, step_codec.encode_policy(Policy()))


def test_many_steps_are_counted() -> None:
    many: list[list[Arrival]] = [[(n, AT_MS + n, [event(n)])] for n in range(1, 300)]
    assert step_codec.decode(steps_of(*many), base().strings).records == many


def test_damaged_steps_are_damage_and_no_other_error() -> None:
    value = steps_of(*STEPS)
    for bad in (value[:-1], value[: HEAD.size], value[: HEAD.size] + b"\xdd\0\0\0\0", value + b"\x01"):
        with pytest.raises(msgspec.DecodeError):
            step_codec.decode(bad, base().strings)
    with pytest.raises(msgspec.DecodeError, match="damaged steps"):
        step_codec.decode(value, Strings())
    with pytest.raises(msgspec.DecodeError):
        state_codec.decode(value)


def test_texts_are_numbered_anew_for_a_checkpoint_that_nobody_has_decoded() -> None:
    policy = Policy(restate_events=4)
    state = state_of(*range(9), policy=policy)
    expected = checkpoint(state).copy()
    # A text that nothing refers to stands before those of the checkpoint.
    state = state_codec.decode(state_codec.encode(state))
    assert isinstance(state.checkpoint, bytes)
    state.strings["x" * 9_000]
    state.packed_chars = 0
    again = state_codec.decode(state_codec.encode(state))
    assert "x" * 9_000 not in again.strings
    assert checkpoint(again) == expected and again == state


def test_a_state_that_was_read_knows_how_many_of_its_texts_are_of_use() -> None:
    """Else each one with large texts would be numbered anew with the first write after it was read."""
    state = DeviceState()
    users(range(6), 3_000, state)
    read = state_codec.decode(state_codec.encode(state))
    strings = read.strings
    state_codec.encode(read)
    assert read.strings is strings


def test_a_check_finds_what_is_damaged_inside() -> None:
    for part in ("checkpoint", "tail"):
        state = state_codec.decode(state_codec.encode(state_of(*range(9))))
        if part == "checkpoint":
            state.checkpoint = msgspec.msgpack.encode((None, None, 99, None))
        else:
            state.tail._runs = [run._replace(rows=b"\xc1") for run in state.tail._runs]
        with pytest.raises(msgspec.DecodeError):
            state_codec.check(state)


def test_the_numbers_in_stored_states_stay_what_they_are() -> None:
    assert [(each.name, each.value) for each in Report] == [
        ("OPEN", 0), ("CLOSED", 1), ("SILENT", 2), ("DELETED", 3),
    ]  # fmt: skip
    assert [(each.name, each.value) for each in AppState] == [
        ("UNKNOWN", 0), ("FOREGROUND", 1), ("BACKGROUND", 2),
    ]  # fmt: skip
    assert len(report._digest(Session("a", 0, "launch", True, "{}", 0))) == 8


def test_a_copy_of_what_the_fold_remembers_is_all_of_it_and_shares_nothing() -> None:
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND, Kind.FOREGROUND)
    state, left = FoldState(), list[Session]()
    times = (0, 1_000, 2_000)
    user = '{"id":"u"}'
    events = [
        make_event(AT_MS + ms, kind, f"e{ms}", user=user) for ms, kind in zip(times, kinds, strict=True)
    ]
    events.append(make_event(AT_MS + 2_001, Kind.ACTIVITY, "s", client_session_id="s"))
    events.append(make_event(AT_MS + 2_002, Kind.ACTIVE, "w", client_session_id="s"))
    step_all(state, events, POLICY, left)
    copy = state.copy()
    assert state.open and state.prev and state.stitched and copy == state
    assert (copy.known, copy.shown_ms) == (("s",), AT_MS + 2_002)
    state.held[0].user_ids.append("v")
    assert copy.held[0].user_ids == ["u"]
    assert copy != state
    assert not any(one is other for one, other in zip(copy.held, state.held, strict=True))
    assert copy.stitched is not state.stitched
