"""A simulated fleet of weeks that ends when it is told to: its people, its bugs, its networks and its slow releases."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import typer

from pipeline.commands import demo, traffic
from pipeline.formats import native
from pipeline.formats.envelope import Envelope
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.stacks.crash_group import CrashGroup, group_of, kind_of
from pipeline.simulate import START_MS, Sent, fleet, start_for
from pipeline.simulate.catalogue import APPS, DAY_MS, largest_apps

UNTIL_MS = 1_795_813_271_000
"""2026-11-27T22:21:11Z: at another hour than that at which fleets begin by themselves."""
WEEK_MS = 7 * DAY_MS


@cache
def shown() -> list[Sent]:
    """What the demonstration sends."""
    numbers = demo.FLEET.until(UNTIL_MS)
    return list(
        fleet(
            numbers.devices,
            numbers.seed,
            numbers.events,
            start_ms=numbers.start_ms,
            days=numbers.days,
            apps=numbers.apps,
        )
    )


@cache
def told() -> list[tuple[Envelope, native.NativeEvent, dict[str, object]]]:
    """Envelope, event and its attributes, as they are decoded when the demonstration sends them."""
    found = []
    for sent in shown():
        record = traffic.record_of_simulated(sent, UNTIL_MS)
        envelope = native.decode(record.value, record.key, record_time_ms(record.headers, UNTIL_MS))
        assert isinstance(envelope, Envelope)
        assert not envelope.refused
        found += [(envelope, event, json.loads(event.attributes)) for event in envelope.events]
    return found


def requests() -> Iterator[tuple[Envelope, dict[str, object]]]:
    for envelope, event, attributes in told():
        if event.name == "http.client.request":
            yield envelope, attributes


def duration_ms(attributes: dict[str, object]) -> int:
    took_ms = attributes["duration"]
    assert isinstance(took_ms, int)
    return took_ms


def version(envelope: Envelope) -> str:
    return str(json.loads(envelope.resource)["service.version"])


class TestTimes:
    @pytest.mark.parametrize(("days", "apps"), [(0, 0), (9, 3)])
    def test_it_ends_when_it_is_told_to_with_the_same_bytes(self, days: int, apps: int) -> None:
        start_ms = start_for(UNTIL_MS, 40, 3, 3_000, days=days, apps=apps)
        once, again = (list(fleet(40, 3, 3_000, start_ms=start_ms, days=days, apps=apps)) for _ in "ab")
        assert once == again
        assert once[-1].at_ms == UNTIL_MS

    def test_any_start_moves_all_times_and_nothing_else(self) -> None:
        by_ms = UNTIL_MS - START_MS
        assert by_ms % DAY_MS
        for here, there in zip(
            fleet(50, 3, 4_000, days=9), fleet(50, 3, 4_000, start_ms=UNTIL_MS, days=9), strict=True
        ):
            assert there.at_ms == here.at_ms + by_ms
            before, after = json.loads(here.value), json.loads(there.value)
            assert [e.pop("time") + by_ms for e in before["events"]] == [
                e.pop("time") for e in after["events"]
            ]
            assert before["events"] == after["events"]
            assert before["resource"] == after["resource"]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("devices", "events", "days"), [(200, 20_000, 21), (50, 20_000, 7), (1, 3_000, 30)]
    )
    def test_it_lasts_about_so_many_days(self, devices: int, events: int, days: int) -> None:
        last_ms = max(sent.at_ms for sent in fleet(devices, 7, events, days=days))
        assert days * 0.85 < (last_ms - START_MS) / DAY_MS < days * 1.15

    @pytest.mark.slow
    def test_nobody_is_thrown_out_of_its_weeks(self) -> None:
        """A wrong clock is put right by the simulated time, whatever the day on which it is sent."""
        first_ms, last_ms = shown()[0].at_ms, shown()[-1].at_ms
        times = [event.time_ms for _, event, _ in told()]
        assert first_ms - DAY_MS < min(times)
        assert max(times) <= last_ms
        wrong = {e.device_id for e, event, _ in told() if abs(event.time_ms - event.raw_time_ms) > DAY_MS}
        assert wrong

    def test_the_command(self, tmp_path: Path) -> None:
        """It ends now, or when it is told to, with the same bytes."""

        def written(**given: Any) -> bytes:
            options: dict[str, Any] = {"events": 300, "until": None, "since": None, **given}
            out = tmp_path / "envelopes.ndjson"
            traffic.simulate_command(devices=20, seed=1, rate=0, days=3, apps=2, out=out, **options)
            return out.read_bytes()

        def last_s(body: bytes) -> float:
            return max(e["time"] for line in body.splitlines() for e in json.loads(line)["events"]) / 1_000

        at = datetime(2026, 11, 1, 12)
        assert written(until=at) == written(until=at) != written(until=at + timedelta(hours=1))
        assert (
            at.replace(tzinfo=UTC).timestamp() - 3_600
            < last_s(written(until=at))
            <= at.replace(tzinfo=UTC).timestamp()
        )
        assert time.time() - 3_600 < last_s(written()) <= time.time()
        assert written(since=at) != written(until=at)
        with pytest.raises(typer.BadParameter, match="--from and --until"):
            written(since=at, until=at)

    def test_wrong_arguments(self) -> None:
        for name, numbers in (("days", {"days": -1}), ("apps", {"apps": -1})):
            with pytest.raises(ValueError, match=name):
                fleet(1, 1, 1, **numbers)


class TestPeople:
    def test_they_come_for_weeks(self) -> None:
        weeks: dict[str, set[int]] = defaultdict(set)
        first_ms = shown()[0].at_ms
        for envelope, event, _ in told():
            weeks[envelope.device_id].add((event.time_ms - first_ms) // WEEK_MS)
        begun = Counter(min(seen) for seen in weeks.values())
        assert all(begun[week] > 10 for week in range(3))
        stayed = sum(2 in seen for seen in weeks.values() if 0 in seen) / begun[0]
        assert 0.2 < stayed < 0.9

    def test_so_many_apps_the_largest(self) -> None:
        assert {envelope.app_id for envelope, _, _ in told()} == {
            "org.example.shop", "org.example.social", "org.example.puzzle", "org.example.news"
        }  # fmt: skip
        assert largest_apps(0) is APPS
        assert len(largest_apps(1_000).choices) == len(APPS.choices)

    def test_some_sessions_crash(self) -> None:
        assert sum(event.kind.label == "crash" for _, event, _ in told()) > 15


@cache
def groups() -> dict[tuple[str, CrashGroup], Counter[str]]:
    """By app and group, without what changes from one event of it to the next: how many by version."""
    found: dict[tuple[str, CrashGroup], Counter[str]] = defaultdict(Counter)
    for record in fleet(1_000, 2, 150_000, days=21, apps=6):
        envelope = native.decode(record.value, record.key, record.at_ms)
        assert isinstance(envelope, Envelope)
        for event in envelope.events:
            if kind := kind_of(event.name, event.kind.label):
                group = group_of(envelope.app_id, kind, bytes(event.attributes))
                found[envelope.app_id, group._replace(title=group.title.partition(":")[0])][
                    version(envelope)
                ] += 1
    return found


class TestBugs:
    @pytest.mark.slow
    def test_groups_are_few_and_come_again(self) -> None:
        for app in largest_apps(6).choices:
            of_app = {
                group: sum(counts.values())
                for (app_id, group), counts in groups().items()
                if app_id == app.id
            }
            assert 4 <= len(of_app) < 40
            assert max(of_app.values()) >= 5
            assert sum(of_app.values()) > 1.8 * len(of_app)

    def test_a_group_is_told_by_the_code_that_its_bug_is_in(self) -> None:
        culprits = {group.culprit for _, group in groups()}
        assert {
            "ViewModel.render (ViewModel.kt)",
            "ViewModel.render() (Shop)",
            "Database.query (Database.kt)",
            "ItemList.render (itemlist.js)",
        } <= {culprit.replace("https://api.shop.example/assets/", "") for culprit in culprits}
        assert all(culprits)

    def test_a_release_brings_a_bug_of_its_own(self) -> None:
        (shop,) = [app for app in APPS.choices if app.id == "org.example.shop"]
        bad = {release.version for release in shop.releases if release.crash_factor > 1}
        brought = Counter[str]()
        for (app_id, group), counts in groups().items():
            if app_id == shop.id and "FeatureFlags" in group.culprit and group.kind == "crash":
                brought.update(counts)
        # Some are told by the next process, which may be of the next release.
        assert sum(brought[release] for release in bad) > 0.85 * brought.total()
        assert brought[shop.releases[5].version] > 10


class TestNetwork:
    def test_phones_tell_their_connection_and_browsers_do_not(self) -> None:
        by_sdk: dict[str, Counter[object]] = defaultdict(Counter)
        for envelope, attributes in requests():
            name = json.loads(envelope.resource)["telemetry.sdk.name"]
            by_sdk[name][attributes.get("network.connection.type", "")] += 1
        assert set(by_sdk.pop("opentelemetry-web")) == {""}
        assert by_sdk
        for seen in by_sdk.values():
            assert set(seen) == {"wifi", "cell"}
            assert seen["wifi"] > seen["cell"] > 100

    def test_what_changed_is_told_from_then_on(self) -> None:
        latest: dict[str, object] = {}
        followed = Counter[bool]()
        for envelope, event, attributes in sorted(told(), key=lambda each: each[1].time_ms):
            if event.name == "network.change":
                latest[envelope.device_id] = attributes["network.connection.type"]
            elif event.name == "http.client.request" and "network.connection.type" in attributes:
                expected = latest.pop(envelope.device_id, None)
                if expected is not None:
                    followed[expected == attributes["network.connection.type"]] += 1
        assert followed[True] > 3 * followed[False]

    def test_requests_take_longer_without_wifi(self) -> None:
        took: dict[object, list[int]] = defaultdict(list)
        for _, attributes in requests():
            took[attributes.get("network.connection.type")].append(duration_ms(attributes))
        assert median(took["cell"]) > 1.3 * median(took["wifi"])

    def test_a_release_is_slow_at_writing(self) -> None:
        (social,) = [app for app in APPS.choices if app.id == "org.example.social"]
        slow = {release.version for release in social.releases if release.slow_factor > 1}
        took: dict[bool, list[int]] = defaultdict(list)
        for envelope, attributes in requests():
            if envelope.app_id == social.id and attributes["http.request.method"] == "POST":
                took[version(envelope) in slow].append(duration_ms(attributes))
        assert len(took[True]) > 50
        assert median(took[True]) > 2.5 * median(took[False])

    def test_some_are_as_slow_as_people_complain_of(self) -> None:
        assert sum(duration_ms(attributes) > 5_000 for _, attributes in requests()) > 30
