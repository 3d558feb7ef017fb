"""The tail is a list of events in order, whatever of it is encoded; the quick way stops where there is more to do."""

from __future__ import annotations

from bisect import insort
from random import Random
from zlib import crc32

import msgspec
import pytest

from pipeline.domain.event import AppState, Event, Kind, make_event
from pipeline.domain.policy import Policy
from pipeline.formats.native.events import Arrival
from pipeline.state.tail import RUN_EVENTS, Run, Strings, Tail, events_of, mark_of, numbered, rows_of

AT_MS = 1_800_000_000_000
POLICY = Policy(restate_horizon_ms=1_000, restate_events=5)
MOST_CHARS = 20


def event(id: str, at_ms: int, **given: str) -> Event:
    return make_event(AT_MS + at_ms, Kind.ACTIVITY, id, **given)  # type: ignore[arg-type]


def drawn(rng: Random, number: int, time_ms: int) -> Event:
    return make_event(
        time_ms, rng.choice(list(Kind)), f"e{number}",
        seq=rng.choice((0, 1, 2**40)), client_session_id=rng.choice(("", "s1")),
        exit_reason=rng.choice(("", "crash")), counters=rng.randrange(256),
        resource=rng.choice(("{}", "r" * 40)), user=rng.choice(("", "u")),
        stated=rng.choice(list(AppState)),
    )  # fmt: skip


def check(tail: Tail, expected: list[Event]) -> None:
    assert len(tail) == tail.count == len(expected)
    assert tail.marks == b"".join(mark_of(each.id) for each in expected)
    if expected:
        assert tail.first_ms == expected[0].time_ms
        assert tail.last is not None and tail.last[:4] == expected[-1][:4]
    else:
        assert tail.last is None


@pytest.mark.parametrize("seed", range(12))
def test_it_is_a_list_in_order(seed: int) -> None:
    rng = Random(seed)
    tail, expected, now_ms = Tail(Strings()), list[Event](), AT_MS
    for number in range(400):
        chance = rng.random()
        if chance < 0.7:
            now_ms += rng.choice((1, 7, 50))
            expected.append(drawn(rng, number, now_ms))
            tail.append(expected[-1], mark_of(expected[-1].id))
        elif chance < 0.78 and expected:
            late = drawn(rng, number, rng.randint(expected[0].time_ms - 5, now_ms))
            if late < expected[-1]:
                insort(expected, late)
                tail.insert(late)
        elif chance < 0.84:
            count = min(len(expected), rng.choice((0, 1, 9, len(expected))))
            taken, expected = expected[:count], expected[count:]
            assert tail.take(count) == taken
        elif chance < 0.9:
            time_ms = rng.choice((0, now_ms, now_ms + 1, AT_MS + 50 * number // 2))
            assert tail.older_than(time_ms) == sum(each.time_ms < time_ms for each in expected)
        elif chance < 0.96:
            runs = tail.packed()
            assert all(0 < run.length <= RUN_EVENTS for run in runs)
            # As a state that is encoded and decoded.
            texts = list(tail.strings)
            last = None if tail.last is None else tail.last[:4]
            tail = Tail.of_runs(numbered(texts), runs, tail.marks, last)
        else:
            assert list(tail) == expected
        check(tail, expected)
        for wanted in (number, rng.randint(0, number)):
            id = f"e{wanted}"
            assert tail.has(id, mark_of(id)) == any(each.id == id for each in expected)
    last = drawn(rng, 400, now_ms + 1)
    tail.append(last, mark_of(last.id))
    expected.append(last)
    assert tail == Tail(Strings(), expected) and tail != Tail(Strings(), expected[1:])


def test_neighbouring_runs_are_put_together_while_they_are_small() -> None:
    tail = Tail(Strings())
    for number in range(3 * RUN_EVENTS):
        each = event(f"e{number}", number)
        tail.append(each, mark_of(each.id))
        runs = tail.packed()
    assert [run.length for run in runs] == [RUN_EVENTS] * 3
    assert [run.first_ms - AT_MS for run in runs] == [0, RUN_EVENTS, 2 * RUN_EVENTS]
    assert [run.at(5) for run in runs] == [(AT_MS + n, f"e{n}") for n in (5, 69, 133)]


def test_a_run_of_any_length_is_read_as_it_was() -> None:
    """MessagePack writes the length of an array in one way up to 15 and in another from there."""
    for count in (1, 15, 16, 17, RUN_EVENTS):
        events = [event(f"e{number}", number) for number in range(count)]
        (run,) = (tail := Tail(Strings(), events)).packed()
        assert (run.length, run.events(list(tail.strings))) == (count, events)


def colliding(count: int) -> list[str]:
    """Ids of one checksum."""
    seen: dict[int, str] = {}
    found = []
    rng = Random(5)
    while len(found) < count:
        id = f"{rng.getrandbits(64):x}"
        before = seen.setdefault(crc32(id.encode()), id)
        if before != id:
            found += [before, id]
    return found[:count]


def test_an_id_is_not_taken_for_another_of_its_checksum() -> None:
    here, other = colliding(2)
    tail = Tail(Strings(), [event("a", 0), event(here, 1)])
    assert mark_of(here) == mark_of(other)
    assert tail.has(here, mark_of(here)) and not tail.has(other, mark_of(other))
    tail.append(event(other, 2), mark_of(other))
    assert tail.has(other, mark_of(other))
    # Nor is what two marks have between them.
    marks = tail.marks
    assert not tail.has("x", marks[2:6])


def test_what_does_not_fit_is_no_tail() -> None:
    tail = Tail(Strings(), [event("a", 0)])
    runs, last = tail.packed(), event("a", 0)[:4]
    Tail.of_runs(tail.strings, runs, tail.marks, last)
    for wrong in (
        (runs, b"", last),
        (runs, tail.marks, None),
        ([], b"", last),
        (runs, tail.marks + b"1234", last),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            Tail.of_runs(tail.strings, *wrong)
    with pytest.raises(ValueError, match="two numbers"):
        numbered(["a", "b", "a"])
    for damaged in (Run(2, 0, runs[0].rows), Run(1, 0, runs[0].rows[:-1]), Run(1, 0, b"\xa1\xff")):
        with pytest.raises(msgspec.DecodeError):
            damaged.events(["", "{}"])
    with pytest.raises(msgspec.DecodeError, match="a damaged tail"):
        runs[0].events([])


def test_events_are_encoded_with_their_texts_once() -> None:
    strings = Strings()
    events = [event("a", 0, user="u"), event("b", 1, user="u", resource="r")]
    rows = rows_of(events, strings)
    assert list(strings) == ["", "{}", "u", "r"]
    assert events_of(rows, list(strings)) == events


def records(*given: tuple[int, list[Event]]) -> list[Arrival]:
    return [(offset, AT_MS + at_ms, events) for offset, (at_ms, events) in enumerate(given)]


def taken(
    *given: tuple[int, list[Event]], at: int = 0, names: tuple[str, ...] = (), policy: Policy = POLICY
) -> tuple[int, int, list[str]]:
    """Where the quick way stops after a first event at 0, by which time, and what it took."""
    first = event("first", 0)
    tail = Tail(Strings(), [first])
    stop, arrived_ms, events = tail.take_records(records(*given), at, AT_MS, policy, MOST_CHARS, names, None)
    check(tail, [first, *events])
    assert list(tail) == [first, *events]
    return stop, arrived_ms - AT_MS, [each.id for each in events]


def test_the_quick_way_takes_what_is_in_order() -> None:
    given = (1, [event("a", 1)]), (3, []), (2, [event("b", 2), event("c", 2)]), (4, [event("d", 1_000)])
    assert taken(*given) == (4, 4, ["a", "b", "c", "d"])
    assert taken(*given, at=2) == (4, 4, ["b", "c", "d"])
    assert taken(*given, at=4) == (4, 0, [])


def first_taken(
    *given: tuple[int, list[Event]], floor: Event | None = None, arrived_ms: int = 0
) -> tuple[int, int, list[str]]:
    """The same of an empty tail, behind a floor."""
    tail = Tail(Strings())
    place = None if floor is None else floor[:4]
    stop, arrived_ms, events = tail.take_records(
        records(*given), 0, arrived_ms, POLICY, MOST_CHARS, ("named",), place
    )
    check(tail, events)
    return stop, arrived_ms - AT_MS, [each.id for each in events]


def test_the_quick_way_begins_a_tail() -> None:
    given = (1, [event("a", 1)]), (2, [event("b", 2), event("c", 2)])
    assert first_taken(*given) == (2, 2, ["a", "b", "c"])
    assert first_taken(given[1], given[0]) == (1, 2, ["b", "c"])
    assert first_taken(*given, floor=event("a", 0), arrived_ms=AT_MS - 998) == (2, 2, ["a", "b", "c"])
    assert first_taken((1, [event("a", 1), event("b", 1_001), event("c", 1_001)])) == (
        1, 1, ["a", "b", "c"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "first",
    [
        [], [event("b", 2), event("a", 1)], [event("a", 1), event("a", 2)], [event("named", 1)],
        [event("a", 1), event("b", 1_002)], [event("a", 1, user="u" * (MOST_CHARS - 1)), event("b", 1)],
        [event(id, 1) for id in "abcdef"],
    ],
)  # fmt: skip
def test_what_takes_a_closer_look_does_not_begin_one(first: list[Event]) -> None:
    """No events, out of order, one id twice, a name, too far apart, heavy, too many."""
    assert first_taken((1, first), (2, [event("z", 9)])) == (0, -AT_MS, [])


def test_nor_does_what_is_behind_the_floor_or_comes_after_the_horizon() -> None:
    first = (1, [event("a", 1)])
    assert first_taken(first, floor=event("a", 1), arrived_ms=AT_MS)[0] == 0
    assert first_taken(first, floor=event("a", 2), arrived_ms=AT_MS)[0] == 0
    assert first_taken(first, floor=event("a", 0), arrived_ms=AT_MS - 999)[0] == 0


@pytest.mark.parametrize(
    "stop",
    [
        [event("b", 1)], [event("a", 2)], [event("first", 3)], [event("b", 1_001)], [event("named", 2)],
        [event("b", 2), event("c", 2), event("b2", 2)],
        [event("b", 2), event("c", 3), event("d", 4), event("e", 5)],
        [event("b", 2, user="u" * (MOST_CHARS - 1))],
    ],
)  # fmt: skip
def test_it_stops_at_a_record_as_a_whole(stop: list[Event]) -> None:
    """Not newer, here already, too far from the oldest, a name, out of order, too many, or heavy."""
    start, end = (1, [event("a", 1, seq=0)]), (9, [event("z", 9)])
    if stop[0].id == "b" and len(stop) == 1 and stop[0].time_ms == AT_MS + 1:
        stop = [event("a", 1)]
    assert taken(start, (8, stop), end, names=("named",)) == (1, 1, ["a"])


def test_it_goes_on_right_before_that() -> None:
    four = [event(id, 2) for id in "bcd"]
    for record in (
        [event("b", 1)], [event("b", 1_000)], four, [event("b", 2, user="u" * (MOST_CHARS - 2))],
        [event("b", 2, user="u" * 9, resource="r" * 11)],
    ):  # fmt: skip
        assert taken((1, [event("a", 1)]), (8, record)) == (2, 8, ["a", *(each.id for each in record)])


def test_it_stops_where_a_device_was_silent_for_the_horizon() -> None:
    assert taken((5, [event("a", 1)]), (1_004, [event("b", 2)])) == (2, 1_004, ["a", "b"])
    assert taken((5, [event("a", 1)]), (1_005, [event("b", 2)])) == (1, 5, ["a"])
    assert taken((5, [event("a", 1)]), (0, []), (1_005, [])) == (2, 5, ["a"])


def test_what_the_quick_way_took_is_known_where_ids_are_looked_up_as_a_whole() -> None:
    tail = Tail(Strings(), [event("a", 0)])
    tail._ids = {"a"}
    at, _, taken = tail.take_records([(1, AT_MS, [event("b", 1)])], 0, AT_MS, POLICY, MOST_CHARS, (), None)
    assert (at, [each.id for each in taken]) == (1, ["b"])
    assert tail.has("b", mark_of("b"))


def test_a_mark_is_found_right_behind_what_only_looks_like_it() -> None:
    tail = Tail(Strings())
    tail.append(event("a", 0), b"\1\2\3\7")
    tail.append(event("b", 1), b"\7\7\7\7")
    assert tail.has("b", b"\7\7\7\7")


def test_a_run_of_texts_that_are_none_is_damage() -> None:
    (run,) = Tail(Strings(), [event("abc", 0)]).packed()
    bad = run._replace(rows=run.rows.replace(b"abc", b"\xff\xfe\xfd"))
    with pytest.raises(msgspec.DecodeError, match="a damaged tail"):
        bad.events(["", "{}"])
