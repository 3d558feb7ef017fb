"""How much one body may become: what it says once stands in many native envelopes, or on many events."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from time import process_time
from typing import Any

import msgspec
import orjson
import pytest

from pipeline.formats import embrace, faro, measure, native, otlp, sentry
from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.cut_out import with_parts
from pipeline.formats.format import Beside
from pipeline.formats.limits import (
    MAX_BODY_BYTES,
    MAX_EVENTS,
    MAX_MADE_BYTES,
    MAX_RECORD_BYTES,
    MAX_REPEATED_CHARS,
    MAX_RESOURCE_BYTES,
)
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Sender, TranslatedEvent, Translation, pack
from tests.support.otlp import DEVICE, NOW_MS, NOW_NS, add_logs, json_of, logs, spans

BROWSER = {"service.name": "shop", "user_agent.original": "m" * 60_000}
LONG = {**DEVICE, "pad": "x" * 60_000}
EMBRACE = Beside([("x-em-aid", b"abcde"), ("x-em-did", b"A" * 32)])
_events = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def made_of(translation: Translation) -> int:
    return sum(len(record.value) for record in translation.records)


def count_of(translation: Translation) -> int:
    return sum(len(_list.decode(_events.decode(record.value)["events"])) for record in translation.records)


def translated(value: bytes, format_: Any = otlp.LOGS) -> Translation:
    found = format_.translate(value, NOW_MS)
    assert isinstance(found, Translation), found
    return found


def senders(count: int, resource_bytes: int) -> list[Sender]:
    resource = f'{{"pad":"{"x" * (resource_bytes - 10)}"}}'
    return [Sender("shop", f"d{number}", resource, "") for number in range(count)]


def test_what_is_packed_and_what_is_refused_are_all_events_and_the_refused_come_last() -> None:
    events = [TranslatedEvent(at, each, b"{}") for at, each in enumerate(senders(2_000, 50_000))]
    found = pack(events)
    kept = len(found.records)
    assert MAX_MADE_BYTES - 51_000 < made_of(found) <= MAX_MADE_BYTES
    assert [each.event_index for each in found.refused] == list(range(kept, 2_000))
    assert {each.reason for each in found.refused} == {Reason.RECORD_TOO_LARGE}
    assert found.refused[0].path == f"events[{kept}]"
    # The order of the body alone decides, not what else there is behind it.
    assert pack(events[: kept + 1]).records == found.records


def test_an_event_that_no_envelope_could_hold_takes_no_room_from_others() -> None:
    [sender] = senders(1, 100)
    many = [TranslatedEvent(at, sender, b"x" * (MAX_RECORD_BYTES + 1)) for at in range(70)]
    found = pack([*many, TranslatedEvent(70, sender, b"{}")])
    assert len(found.records) == 1
    assert [each.event_index for each in found.refused] == list(range(70))


def test_each_envelope_of_a_sender_counts_with_its_resource() -> None:
    [sender] = senders(1, 900_000)
    found = pack([TranslatedEvent(at, sender, b"{}") for at in range(80 * MAX_EVENTS)])
    assert MAX_MADE_BYTES - 910_000 < made_of(found) <= MAX_MADE_BYTES
    assert count_of(found) + len(found.refused) == 80 * MAX_EVENTS


def test_senders_that_take_turns_share_the_room_in_the_order_of_the_body() -> None:
    two = senders(2, 100)
    size = 400_000
    found = pack([TranslatedEvent(at, two[at % 2], b"x" * size) for at in range(400)])
    assert made_of(found) <= MAX_MADE_BYTES
    first = found.refused[0].event_index
    assert first is not None and abs(first - MAX_MADE_BYTES // size) < 5
    assert [each.event_index for each in found.refused] == list(range(first, 400))


REPEATED: dict[str, tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = {
    "user": (LONG, lambda at: {"attributes": {"user.id": f"u{at}"}}),
    "device": (
        {"service.name": "shop", "pad": "x" * 60_000},
        lambda at: {"attributes": {"app.installation.id": f"d{at}"}},
    ),
    "session of a browser": (BROWSER, lambda at: {"attributes": {"session.id": f"s{at}"}}),
    "version that crashed": (
        LONG,
        lambda at: {"event_name": "app.crash", "attributes": {"service.version": f"{at}"}},
    ),
    "roles": (
        {**DEVICE, "user.roles": [f"{at}".ljust(128, "r") for at in range(100)]},
        lambda at: {"attributes": {"user.id": f"u{at}"}},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "in_json"),
    [*((what, False) for what in REPEATED), ("user", True), ("version that crashed", True)],
)
def test_no_message_becomes_more_than_one_body_may(what: str, in_json: bool) -> None:
    resource, record = REPEATED[what]
    count = 6_000 if what == "roles" else 1_500
    message = logs(*map(record, range(count)), resource=resource)
    value = json_of(message) if in_json else message.SerializeToString()
    tracemalloc.start()
    found = translated(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert MAX_MADE_BYTES // 2 < made_of(found) <= MAX_MADE_BYTES
    assert peak < 5 * MAX_MADE_BYTES
    assert count_of(found) + len(found.refused) == count
    assert {each.reason for each in found.refused} == {Reason.RECORD_TOO_LARGE}
    parts = {id(each.part): len(each.part or b"") for each in found.refused}
    assert sum(parts.values()) < 4 * MAX_BODY_BYTES
    at = found.refused[-1].event_index
    assert found.refused[-1].path == f"resourceLogs[0].scopeLogs[0].logRecords[{at}]"
    # What is refused can be sent again, and goes on where this ended.
    again = translated(found.refused[-1].part or b"")
    assert again.records


def test_a_large_message_of_a_collector_passes() -> None:
    """8,192 records: of hundreds of devices with long resources, and of as many users of one."""
    message = logs(resource=DEVICE)
    for device in range(512):
        resource = {"service.name": "shop", "app.installation.id": f"d{device}", "pad": "x" * 4_000}
        add_logs(message, *({"body": f"{device}.{at}"} for at in range(16)), resource=resource)
    assert not translated(message.SerializeToString()).refused
    users = ({"attributes": {"user.id": f"u{at}"}} for at in range(8_192))
    found = translated(logs(*users, resource={**DEVICE, "pad": "x" * 4_000}).SerializeToString())
    assert not found.refused and len(found.records) == 8_192
    assert isinstance(native.decode(found.records[-1].value, found.records[-1].key, NOW_MS), native.Envelope)


@pytest.mark.parametrize("field", ["name", "version"])
@pytest.mark.parametrize("in_json", [True, False])
def test_a_scope_of_long_name_or_version_is_refused_with_its_place(field: str, in_json: bool) -> None:
    for length, is_taken in ((MAX_REPEATED_CHARS, True), (MAX_REPEATED_CHARS + 1, False), (300_000, False)):
        message = logs({}, {"event_name": "b"}, scope="good")
        add_logs(message, {"event_name": "c"}, {"event_name": "d"}, resource=DEVICE)
        setattr(message.resource_logs[1].scope_logs[0].scope, field, "é" * length)
        found = translated(json_of(message) if in_json else message.SerializeToString())
        assert count_of(found) == (4 if is_taken else 2)
        assert {each.reason for each in found.refused} <= {Reason.PROPERTY_TOO_LONG}
        paths = [f"resourceLogs[1].scopeLogs[0].scope.{field}"] * 2
        assert [each.path for each in found.refused] == ([] if is_taken else paths)


def test_exceptions_repeat_the_name_of_their_span_only_while_it_is_short() -> None:
    exceptions = [
        {"name": "exception", "attributes": {"exception.type": f"t{number}"}} for number in range(400)
    ]
    for length, times in ((MAX_REPEATED_CHARS, 401), (MAX_REPEATED_CHARS + 1, 1), (900_000, 1)):
        value = spans({"name": "n" * length, "events": exceptions}).SerializeToString()
        found = translated(value, otlp.SPANS)
        assert not found.refused and count_of(found) == 401
        assert sum(record.value.count(b"n" * length) for record in found.records) == times


def faro_body(count: int, meta: dict[str, Any], items: str = "events") -> bytes:
    stamp = datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()
    each = {"name": "session_start", "type": "t", "timestamp": stamp}
    told = {"app": {"name": "shop"}, "session": {"id": "s"}, **meta}
    return json.dumps({"meta": told, items: [{**each, "value": f"{at}"} for at in range(count)]}).encode()


def test_the_session_before_of_faro_is_short_or_its_body_is_refused() -> None:
    for length in (MAX_REPEATED_CHARS, MAX_REPEATED_CHARS + 1, 900_000):
        session = {"id": "s", "attributes": {"previousSession": "p" * length}}
        found = faro.translate(faro_body(1_500, {"session": session}), NOW_MS)
        if length <= MAX_REPEATED_CHARS:
            assert isinstance(found, Translation) and count_of(found) == 1_500
        else:
            assert isinstance(found, Rejected) and found.reason is Reason.PROPERTY_TOO_LONG
            assert found.path == "meta.session.attributes.previousSession"


def embrace_body(count: int, resource: dict[str, Any], **of_span: Any) -> bytes:
    events = [{"name": "emb-breadcrumb", "timestamp": NOW_NS + at, "attributes": []} for at in range(count)]
    part = {"trace_id": "a" * 32, "span_id": "b" * 16, "name": "emb-session", "start_time_unix_nano": NOW_NS}
    part |= {"attributes": [{"key": "emb.type", "value": "ux.session"}], "events": events, **of_span}
    return json.dumps({"resource": resource, "data": {"spans": [part]}}).encode()


def test_a_long_span_id_is_read_once_and_not_for_each_event_of_the_span() -> None:
    """Each would take some 20 ms of a processor, and a body has up to 20,000."""
    began = process_time()
    found = embrace.decode(embrace_body(15_000, {}, trace_id="a" * 6_000_000), NOW_MS, EMBRACE)
    assert process_time() - began < 20
    assert isinstance(found, Translation) and count_of(found) == 15_001
    digest = blake2b(f"{'a' * 6_000_000}-{'b' * 16}".encode(), digest_size=16).hexdigest()
    ids = {
        json.loads(bytes(event))["id"]
        for event in _list.decode(_events.decode(found.records[0].value)["events"])
    }
    assert {f"h-{digest}.s", f"h-{digest}.x0", f"h-{digest}.x498"} <= ids


@pytest.mark.slow
def test_the_roles_of_a_resource_are_looked_through_once_and_not_for_each_record() -> None:
    """10,000 of them take half a millisecond, and a message has up to 100,000 records."""
    roles = ["", *("r" * 129 for _ in range(9_000)), *(f"r{at}" for at in range(300))]
    users = ({"attributes": {"user.id": f"u{at}"}} for at in range(20_000))
    value = logs(*users, resource={**DEVICE, "user.roles": roles}).SerializeToString()
    began = process_time()
    found = translated(value)
    assert process_time() - began < 4
    assert json.loads(found.records[-1].value)["user"]["personas"] == [f"r{at}" for at in range(100)]


def worst_of_each() -> dict[str, tuple[Any, bytes, float]]:
    """Bodies that become as much as was found, and how many times their bytes that may be."""
    session = {"id": "s", "attributes": {"a": "x" * 8_000, "previousSession": "p" * MAX_REPEATED_CHARS}}
    app = {"name": "shop", "pad": "x" * 60_000}
    moment = {"timestamp": NOW_MS / 1000, "start_timestamp": NOW_MS / 1000}
    log = [
        {**moment, "level": "info", "body": f"{at}", "attributes": {"device.id": {"value": f"d{at}"}}}
        for at in range(1_400)
    ]
    head = {
        "sdk": {"name": "sentry.java.android".ljust(MAX_REPEATED_CHARS, "x"), "version": "v" * 1_024},
        "trace": {"release": "a@".ljust(MAX_REPEATED_CHARS, "r"), "environment": "e" * MAX_REPEATED_CHARS},
    }
    envelope = b"\n".join(json.dumps(line).encode() for line in (head, {"type": "log"}, {"items": log}))
    stamp = datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()
    error = {"exceptions": [{"type": "T", "message": "m" * 2_000, "frames": [{"method_name": "m"}] * 9}]}
    measured = [
        {"id": f"{at}", "type": "exception", "timestamp": stamp, "exception": error}
        | {"attribute": {"app_unique_id": "a", "installation_id": f"d{at}", "app_version": "v" * 2_000}}
        for at in range(1_000)
    ]
    plain = [{"id": f"i{at}", "name": "a", "time": NOW_MS} for at in range(9_000)]
    junk = {"v": 1, "app_id": "a", "device_id": "d", "junk": "x" * 500_000}
    return {
        "faro": (faro.translate, faro_body(1_500, {"session": session, "app": app}), 120),
        "sentry": (sentry.translate, envelope, 60),
        "embrace": (embrace.decode, embrace_body(19_000, {"pad": "x" * 64_000}), 6),
        "measure": (measure.FORMAT.translate, json.dumps({"events": measured}).encode(), 3),
        "native": (native.ANY_KEY.translate, json.dumps({**junk, "events": plain}).encode(), 16),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faro", "sentry", "embrace", "measure", "native"])
def test_no_format_becomes_more_than_one_body_may(name: str) -> None:
    translate, body, factor = worst_of_each()[name]
    found = translate(body, NOW_MS, EMBRACE)
    assert isinstance(found, Translation) and found.records and not found.refused
    assert len(body) < made_of(found) < min(factor * len(body), MAX_MADE_BYTES)


CRASHED = {
    # 900 attributes of a resource take a millisecond to be put in order.
    **{f"k{at}": ["1"] for at in range(900)},
    **DEVICE,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["the same version", "few versions", "too large with any"])
def test_the_resource_of_a_crash_is_made_once_for_each_version_that_fits(case: str) -> None:
    """A message has up to 100,000 crashes that later processes tell of."""
    names = {"the same version": 1, "few versions": 20, "too large with any": 20_000}
    pad = {"pad": "x" * (50_000 if case != "too large with any" else 50_310)}
    records = (
        {"event_name": "app.crash", "attributes": {"service.version": f"{at % names[case]:05}"}}
        for at in range(20_000)
    )
    value = logs(*records, resource={**CRASHED, **pad}).SerializeToString()
    began = process_time()
    found = translated(value)
    assert process_time() - began < 6
    refused = Counter((each.reason, each.path.partition(".logRecords")[0]) for each in found.refused)
    fault = (Reason.RESOURCE_TOO_LARGE, "resourceLogs[0].scopeLogs[0]")
    assert refused == ({fault: 20_000} if case == "too large with any" else {})


@pytest.mark.parametrize(
    "said", [{}, {"service.version": "1"}, {"service.version": "é\n", "os.version": ["1"]}]
)
def test_the_resource_of_a_crash_is_measured_to_the_byte(said: dict[str, Any]) -> None:
    told = {"service.version": "12", "app.build_id": "ü"}
    largest = 0
    for pad in range(65_380, 65_500):
        message = logs(
            {"event_name": "app.crash", "attributes": dict(told)},
            resource={**DEVICE, **said, "pad": "x" * pad},
        )
        found = translated(message.SerializeToString())
        for record in found.records:
            largest = len(bytes(_events.decode(record.value)["resource"]))
        if found.refused:
            break
    assert largest == MAX_RESOURCE_BYTES
    assert [each.reason for each in found.refused] == [Reason.RESOURCE_TOO_LARGE]


def test_who_is_remembered_takes_no_more_memory_than_is_counted() -> None:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = BoundedCache(lambda text: text.decode(), sys.getsizeof, 1_000_000)
    for at in range(3_000):
        kept[orjson.dumps({"id": f"user {at}"})]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 3_000 and after - before < kept.byte_count


def test_that_there_was_no_room_is_told_beside_what_is_cut_out() -> None:
    full = Translation([], [Rejected(Reason.RECORD_TOO_LARGE, "events[1]: no room", 1)], is_full=True)
    told = with_parts(full, lambda indexes: b"cut")
    assert told.is_full and [each.part for each in told.refused] == [b"cut"]
