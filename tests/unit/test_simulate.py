"""The simulated fleet: the same bytes everywhere, exact counts, and every habit and fault it promises."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from pipeline.domain.event import COUNTERS, AppState, Event, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import HOUR_MS, Policy
from pipeline.domain.session import End, Session, Start
from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.formats.native.events import decode, to_events
from pipeline.simulate import START_MS, Sent, fleet
from pipeline.simulate.catalogue import APPS, DAY_MS, running_release
from pipeline.simulate.dice import Weighted, between, spread, subseed

DEVICES, SEED, EVENTS = 300, 5, 50_000
DIGEST = "2a9d284883181e4e5e25ab1938201334d551552cc154c421ba89b4d73e8c300f"
"""SHA-256 of the first 5,000 events of that fleet. It changes with the simulation's content, and only then."""

SCHEMA = Path(__file__).parents[2] / "schemas" / "native-envelope.schema.json"


@dataclass
class Seen:
    """All that a fleet sent, as the decoder reads it, with arrival time as record time."""

    sent: list[Sent]
    envelopes: list[Envelope]
    arrivals: dict[bytes, list[tuple[int, NativeEvent]]] = field(default_factory=dict)
    """By device: arrival (ms) and event, in order of arrival, duplicates left out."""
    duplicates: int = 0

    def events(self) -> Iterable[tuple[int, NativeEvent]]:
        for arrivals in self.arrivals.values():
            yield from arrivals

    def timeline(self, key: bytes) -> list[NativeEvent]:
        """A device's events in order of time."""
        return sorted((event for _, event in self.arrivals[key]), key=lambda e: (e.time_ms, e.kind))


@cache
def seen() -> Seen:
    """The fleet that most tests look at."""
    sent = list(fleet(DEVICES, SEED, EVENTS))
    result = Seen(sent, [])
    ids: dict[bytes, set[str]] = defaultdict(set)
    for record in sent:
        envelope = decode(record.value, record.key, record.at_ms)
        assert isinstance(envelope, Envelope), envelope
        assert not envelope.refused
        result.envelopes.append(envelope)
        for event in envelope.events:
            if event.id in ids[record.key]:
                result.duplicates += 1
                continue
            ids[record.key].add(event.id)
            result.arrivals.setdefault(record.key, []).append((record.at_ms, event))
    return result


@cache
def folded() -> list[Session]:
    """The sessions of that fleet."""
    return sessions_of(seen().sent)


def sessions_of(records: Iterable[Sent], policy: Policy | None = None) -> list[Session]:
    arrived: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for key, value, at_ms, _ in records:
        envelope = decode(value, key, at_ms)
        assert isinstance(envelope, Envelope)
        arrived[envelope.app_id, envelope.device_id] += to_events(envelope)
    return [
        session
        for (app_id, device_id), events in arrived.items()
        for session in sessions(app_id, device_id, events, policy or Policy())
    ]


def digest(records: Iterable[Sent]) -> str:
    total = sha256()
    for key, value, at_ms, _ in records:
        total.update(b"%d %s %s\n" % (at_ms, key, value))
    return total.hexdigest()


def count(records: Iterable[Sent]) -> int:
    return sum(len(json.loads(record.value)["events"]) for record in records)


class TestReproducible:
    def test_same_arguments_same_bytes_on_any_platform(self) -> None:
        assert digest(fleet(DEVICES, SEED, 5_000)) == DIGEST
        assert digest(fleet(DEVICES, SEED, 5_000)) == DIGEST

    def test_another_seed_other_bytes(self) -> None:
        assert digest(fleet(DEVICES, SEED + 1, 5_000)) != DIGEST

    def test_two_fleets_in_turns_do_not_disturb_each_other(self) -> None:
        turns = list(zip(fleet(20, 1, 3_000), fleet(20, 2, 3_000), strict=False))
        assert [one for one, _ in turns] == list(islice(fleet(20, 1, 3_000), len(turns)))

    def test_a_longer_run_begins_as_a_shorter(self) -> None:
        short, long = list(fleet(50, 3, 1_000)), list(fleet(50, 3, 2_000))
        assert long[: len(short) - 1] == short[:-1]

    def test_start_moves_all_times_and_nothing_else(self) -> None:
        moved = fleet(50, 3, 2_000, start_ms=START_MS + DAY_MS)
        for here, there in zip(fleet(50, 3, 2_000), moved, strict=True):
            assert there.at_ms == here.at_ms + DAY_MS
            before, after = json.loads(here.value), json.loads(there.value)
            assert [e["time"] + DAY_MS for e in before["events"]] == [e["time"] for e in after["events"]]
            assert before["resource"] == after["resource"]


class TestBounds:
    @pytest.mark.parametrize("events", [0, 1, 2, 7, 999, 1_000, 4_321])
    def test_exactly_so_many_events(self, events: int) -> None:
        assert count(fleet(40, 9, events)) == events

    def test_one_device_never_ends(self) -> None:
        records = list(fleet(1, 9, 3_000))
        assert count(records) == 3_000
        assert len({record.key for record in records}) == 1

    def test_arrivals_are_in_order_and_after_the_start(self) -> None:
        times = [record.at_ms for record in seen().sent]
        assert times == sorted(times)
        assert times[0] >= START_MS

    def test_wrong_arguments(self) -> None:
        with pytest.raises(ValueError, match="devices"):
            fleet(0, 1, 1)
        with pytest.raises(ValueError, match="events"):
            fleet(1, 1, -1)

    def test_lazy(self) -> None:
        """A record is there long before a trillion events are made."""
        assert len(list(islice(fleet(10_000, 1, 10**12), 100))) == 100

    @pytest.mark.slow
    def test_memory_does_not_grow_with_events(self) -> None:
        records = fleet(100, 1, 10**12)
        tracemalloc.start()
        try:
            for _ in islice(records, 2_000):
                pass
            early = tracemalloc.get_traced_memory()[0]
            for _ in islice(records, 10_000):
                pass
            late = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert late < early + 4_000_000  # the 10,000 records are some 15 MB


class TestEnvelopes:
    @pytest.mark.slow
    def test_schema(self) -> None:
        validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
        for record in seen().sent[:2_000]:
            validator.validate(json.loads(record.value))

    def test_batches_of_one_to_twenty(self) -> None:
        sizes = Counter(len(envelope.events) for envelope in seen().envelopes)
        assert set(sizes) == set(range(1, 21))

    def test_an_id_stands_for_one_event(self) -> None:
        first: dict[tuple[bytes, str], NativeEvent] = {}
        for record, envelope in zip(seen().sent, seen().envelopes, strict=True):
            for event in envelope.events:
                known = first.setdefault((record.key, event.id), event)
                assert (known.raw_time_ms, known.name, known.seq, bytes(known.attributes)) == (
                    event.raw_time_ms,
                    event.name,
                    event.seq,
                    bytes(event.attributes),
                )

    def test_no_event_arrives_before_it_happens(self) -> None:
        assert all(event.time_ms <= at_ms for at_ms, event in seen().events())

    def test_sdks_differ(self) -> None:
        envelopes = seen().envelopes
        assert {bool(e.batch_id) for e in envelopes} == {True, False}
        assert {bool(event.seq) for e in envelopes for event in e.events} == {True, False}
        assert {bool(event.client_session_id) for e in envelopes for event in e.events} == {True, False}
        lengths = {len(event.id) for e in envelopes for event in e.events}
        assert {36, 16} < lengths
        assert min(lengths) < 8

    def test_users_come_and_go(self) -> None:
        users: dict[str, set[str]] = defaultdict(set)
        for envelope in seen().envelopes:
            users[envelope.device_id].add(envelope.user)
        named = [{'"id"' in user for user in of_device} for of_device in users.values()]
        assert {True, False} in named
        assert {True} in named
        assert {False} in named
        devices_of: dict[str, set[str]] = defaultdict(set)
        for envelope in seen().envelopes:
            if envelope.user:
                devices_of[json.loads(envelope.user).get("id", "")].add(envelope.device_id)
        assert any(len(devices) == 2 for user, devices in devices_of.items() if user)


class TestFaults:
    def test_shares(self) -> None:
        duplicates = seen().duplicates / EVENTS
        assert 0.005 < duplicates < 0.02
        reordered = overdue = 0
        for arrivals in seen().arrivals.values():
            newest_ms = 0
            for at_ms, event in arrivals:
                reordered += event.time_ms < newest_ms
                newest_ms = max(newest_ms, event.time_ms)
                overdue += at_ms - event.time_ms > HOUR_MS
        assert 0.02 < reordered / EVENTS < 0.10
        assert 0.005 < overdue / EVENTS < 0.10

    def test_each_record_says_how_many_events_it_holds(self) -> None:
        for record in seen().sent:
            assert record.events == count([record])

    def test_duplicates_come_as_they_were_and_packed_anew(self) -> None:
        values = Counter(record.value for record in seen().sent)
        resent = sum((times - 1) * count([Sent(b"", value, 0, 0)]) for value, times in values.items())
        assert 0 < resent < seen().duplicates

    def test_late_but_never_too_late(self) -> None:
        """Whatever is late can still restate its session, so a stream gives what a rebuild gives."""
        policy = Policy()
        for arrivals in seen().arrivals.values():
            newest_ms = 0
            times: list[int] = []
            for _, event in arrivals:
                assert newest_ms - event.time_ms < policy.restate_horizon_ms
                if event.time_ms < newest_ms:
                    assert sum(time_ms > event.time_ms for time_ms in times) < policy.restate_events
                newest_ms = max(newest_ms, event.time_ms)
                times.append(event.time_ms)

    def test_offline_uploads(self) -> None:
        """Envelopes of hours arrive within minutes."""
        held: dict[bytes, list[int]] = defaultdict(list)
        for record, envelope in zip(seen().sent, seen().envelopes, strict=True):
            if record.at_ms - max(event.time_ms for event in envelope.events) > 30 * 60_000:
                held[record.key].append(record.at_ms)
        assert any(len(times) > 3 and times[-1] - times[0] < 5 * 60_000 for times in held.values())

    def test_wrong_clocks(self) -> None:
        """Only they say `sent_at`; a clock that is an hour slow passes for a delay, the others are corrected."""
        wrong = [e for e in seen().envelopes if e.sent_at is not None]
        assert 0 < len({e.device_id for e in wrong}) < 0.04 * DEVICES
        corrected = set()
        for envelope in wrong:
            assert envelope.sent_at is not None
            ahead_ms = envelope.sent_at - envelope.received_at_ms
            assert abs(ahead_ms) > 60_000
            span_ms = max(e.raw_time_ms for e in envelope.events) - min(
                e.raw_time_ms for e in envelope.events
            )
            assert span_ms < HOUR_MS
            for event in envelope.events:
                assert event.time_ms <= envelope.received_at_ms + 60_000
                late_ms = envelope.received_at_ms - event.time_ms
                assert late_ms < HOUR_MS + (-ahead_ms if -DAY_MS <= ahead_ms < 0 else 0)
                corrected.add(event.time_ms != event.raw_time_ms)
        assert True in corrected
        exact = {e.device_id for e in seen().envelopes if e.sent_at is None}
        assert not exact & {e.device_id for e in wrong}


class TestHabits:
    def test_every_kind(self) -> None:
        assert {event.kind for _, event in seen().events()} == set(Kind)

    def test_every_name(self) -> None:
        assert {event.name for _, event in seen().events()} == {
            "device.app.lifecycle", "app.launch", "app.screen.view", "app.widget.click", "http.client.request",
            "exception", "app.crash", "app.anr", "app.exit", "session.end", "log",
            "app.heartbeat", "network.change", "device.thermal_status.change", "device.power_save_mode.change",
            "device.memory.low", "session.end.reported", "metrickit.diagnostic",
        }  # fmt: skip

    def test_windows_give_way_to_one_another(self) -> None:
        """Tabs in either order, Android's activities in one: all within the grace, and few sessions are cut by it."""
        pairs: Counter[tuple[bool, Kind]] = Counter()
        for key in seen().arrivals:
            for one, other in pairwise(seen().timeline(key)):
                kinds = {one.kind, other.kind}
                close = other.time_ms - one.time_ms <= Policy().flicker_grace_ms
                if close and kinds in ({Kind.ACTIVE, Kind.BACKGROUND}, {Kind.FOREGROUND, Kind.BACKGROUND}):
                    assert one.client_session_id == other.client_session_id
                    pairs[Kind.ACTIVE in kinds, one.kind] += 1
        assert pairs[True, Kind.ACTIVE] > 5
        assert pairs[True, Kind.BACKGROUND] > 5
        assert pairs[False, Kind.BACKGROUND] > 50
        assert len(folded()) < len(sessions_of(seen().sent, Policy(flicker_grace_ms=0))) - 100

    def test_processes_that_nobody_sees(self) -> None:
        woken = [s for s in folded() if s.cold_start and not s.foreground]
        assert len(woken) > 20
        stated = Counter((e.kind is Kind.LAUNCH, e.stated) for _, e in seen().events())
        assert stated[False, AppState.BACKGROUND] > 20
        assert stated[False, AppState.FOREGROUND] > 0

    def test_sdks_renew_their_sessions(self) -> None:
        """The end of the old one is reported under its id, and some of what it began comes after that."""
        reported = stragglers = 0
        for key in seen().arrivals:
            ended: set[str] = set()
            for event in seen().timeline(key):
                if event.name == "session.end.reported":
                    ended.add(event.client_session_id)
                    reported += 1
                elif event.name == "http.client.request":
                    stragglers += event.client_session_id in ended
        assert reported > 100
        assert stragglers > 10

    def test_the_next_process_reports_under_the_old_session(self) -> None:
        """Stamped then: a session is known to have crashed by what came after the next began."""
        named: Counter[Kind] = Counter()
        for key in seen().arrivals:
            earlier: set[str] = set()
            for before, event in pairwise(seen().timeline(key)):
                earlier.add(before.client_session_id)
                if event.client_session_id in earlier - {"", before.client_session_id}:
                    named[event.kind] += 1
        assert named[Kind.CRASH] > 0
        assert named[Kind.EXIT] > 3
        crashed = {s.client_session_id: s.ended_at_ms for s in folded() if s.end_reason == End.CRASH}
        told = [e for _, e in seen().events() if e.kind is Kind.CRASH and e.client_session_id in crashed]
        assert {crashed[e.client_session_id] < e.time_ms for e in told} == {True, False}

    def test_a_second_foreground_under_the_same_sdk_session(self) -> None:
        arrived = [session for session in folded() if session.client_session_id]
        again = [
            one
            for one, other in pairwise(arrived)
            if one.client_session_id == other.client_session_id and one.end_reason == End.UNCLEAN_EXIT
        ]
        assert len(again) > 5

    def test_users_log_in_and_out(self) -> None:
        assert sum(len(session.user_ids) > 1 for session in folded()) > 5

    def test_every_counter(self) -> None:
        bits = 0
        for _, event in seen().events():
            bits |= event.counters
        assert bits == (1 << len(COUNTERS)) - 1

    def test_every_start_and_end(self) -> None:
        assert {session.start_reason for session in folded()} == set(Start)
        ends = {session.end_reason for session in folded()}
        assert ends >= set(End)
        assert "out_of_memory" in ends

    def test_most_sessions_are_healthy(self) -> None:
        bad = sum(s.counters[0] > 0 or s.end_reason in (End.CRASH, End.EXCEPTION) for s in folded())
        assert 0.002 < bad / len(folded()) < 0.04
        assert sum(s.end_reason == End.BACKGROUND for s in folded()) > len(folded()) / 2

    def test_launch_and_foreground_in_either_order(self) -> None:
        orders = set()
        for key in seen().arrivals:
            signals = [e for e in seen().timeline(key) if e.kind in (Kind.LAUNCH, Kind.FOREGROUND)]
            for one, other in pairwise(signals):
                if one.kind != other.kind and other.time_ms - one.time_ms < 5_000:
                    orders.add(one.kind)
        assert orders == {Kind.LAUNCH, Kind.FOREGROUND}

    @pytest.mark.slow
    def test_crashes_told_by_this_process_and_by_the_next(self) -> None:
        delays = [at - e.time_ms for at, e in seen().events() if e.kind in (Kind.CRASH, Kind.EXCEPTION)]
        assert any(delay < 2_000 for delay in delays)
        next_process = 0
        for arrivals in seen().arrivals.values():
            for at_ms, event in arrivals:
                launches = [
                    (at, e.time_ms)
                    for at, e in arrivals
                    if e.kind is Kind.LAUNCH and e.time_ms > event.time_ms
                ]
                if event.kind is Kind.CRASH and launches:
                    next_process += at_ms > min(time_ms for _, time_ms in launches)
        assert next_process > 0

    def test_endings_with_and_without_a_record(self) -> None:
        followed = set()
        for key in seen().arrivals:
            timeline = seen().timeline(key)
            for place, event in enumerate(timeline):
                if event.kind is Kind.CRASH and place + 1 < len(timeline):
                    followed.add(timeline[place + 1].kind is Kind.EXIT)
        assert followed == {True, False}
        reasons = {event.exit_reason for _, event in seen().events()}
        assert reasons > {"crash", "anr", "out_of_memory", "user_terminated", "other"}

    def test_anrs_and_exceptions_fatal_and_not(self) -> None:
        found = {(e.name, e.kind) for _, e in seen().events() if e.name in ("app.anr", "exception")}
        assert found == {
            ("app.anr", Kind.ANR),
            ("app.anr", Kind.ACTIVITY),
            ("exception", Kind.EXCEPTION),
            ("exception", Kind.ACTIVITY),
        }

    def test_a_crash_reads_as_a_story(self) -> None:
        """Shortly before almost every crash a request fails (its envelope may still be under way at the end)."""
        failed = 1 << COUNTERS.index("network_error_count")
        told = []
        for key in seen().arrivals:
            timeline = seen().timeline(key)
            for place, event in enumerate(timeline):
                if event.kind in (Kind.CRASH, Kind.EXCEPTION):
                    told.append(any(e.counters & failed for e in timeline[max(0, place - 6) : place]))
        assert len(told) > 10
        assert sum(told) > 0.8 * len(told)

    def test_some_releases_crash_more(self) -> None:
        prone = {
            (app.id, release.version)
            for app in APPS.choices
            for release in app.releases
            if release.crash_factor > 1
        }
        died: Counter[bool] = Counter()
        all_of: Counter[bool] = Counter()
        for envelope in seen().envelopes:
            version = json.loads(envelope.resource)["service.version"]
            is_prone = (envelope.app_id, version) in prone
            all_of[is_prone] += len(envelope.events)
            died[is_prone] += sum(e.kind in (Kind.CRASH, Kind.EXCEPTION) for e in envelope.events)
        assert died[True] / all_of[True] > 3 * died[False] / all_of[False]

    def test_tens_of_apps_in_several_versions(self) -> None:
        versions: dict[str, set[str]] = defaultdict(set)
        environments = set()
        for envelope in seen().envelopes:
            resource = json.loads(envelope.resource)
            versions[envelope.app_id].add(resource["service.version"])
            environments.add(resource["deployment.environment.name"])
        assert len(versions) >= 25
        assert sum(len(found) > 1 for found in versions.values()) > 15
        assert environments == {"production", "beta", "staging"}

    def test_a_release_spreads(self) -> None:
        app = APPS.choices[0]
        newest = app.releases[4]
        patience = [day * DAY_MS // 2 for day in range(40)]
        shares = [
            sum(
                running_release(app, "production", p, newest.offset_ms + d * DAY_MS) is newest
                for p in patience
            )
            for d in range(10)
        ]
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] < len(patience)


class TestDice:
    def test_draws_keep_their_bounds(self) -> None:
        rng = Random(1)
        assert {between(rng, 3, 6) for _ in range(200)} == {3, 4, 5}
        draws = [spread(rng, (0, 10, 100)) for _ in range(2_000)]
        assert min(draws) >= 0
        assert max(draws) < 100
        assert 0.45 < sum(draw < 10 for draw in draws) / len(draws) < 0.55

    def test_weights(self) -> None:
        rng = Random(1)
        found = Counter(Weighted([("often", 3), ("never", 0), ("seldom", 1)]).pick(rng) for _ in range(4_000))
        assert set(found) == {"often", "seldom"}
        assert 0.7 < found["often"] / 4_000 < 0.8

    def test_subseed_is_fixed(self) -> None:
        assert subseed(1, "visit", 2, 3) == 11604844346554052800
        assert subseed(1, 23) != subseed(12, 3)
