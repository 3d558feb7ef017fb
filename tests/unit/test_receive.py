"""`receive`, request by request: what is taken, what becomes of it, and every answer that it can give."""

from __future__ import annotations

import gzip
import resource
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cramjam
import orjson
import pytest

from pipeline.formats import measure, native
from pipeline.formats.native.routed import translate as routed
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from pipeline.kafka.errors import KafkaRefused
from pipeline.kafka.writer import RecordTooLarge
from pipeline.receive import intake
from pipeline.receive.answers import PROTOBUF
from pipeline.receive.keys import Keys
from pipeline.receive.routes import FORM, ROUTES
from tests.support.receiving import Served, envelope, served

JSON = "application/json"
EMBRACE_WEB = Path(__file__).resolve().parents[1] / "data" / "embrace" / "web"
MEASURE_EVENT = {
    "id": "233a2fbc-a0d1-4912-a92f-9e43e72afbc6",
    "session_id": "633a2fbc-a0d1-4912-a92f-9e43e72afbc6",
    "timestamp": "2025-03-22T16:34:55.159Z",
    "type": "lifecycle_app",
    "lifecycle_app": {"type": "foreground"},
    "attribute": {"app_unique_id": "sh.example", "installation_id": "i1"},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served() as started:
        yield started


@pytest.fixture
def receive(running: Served) -> Served:
    """One for all; each test begins with nothing kept."""
    running.writer.records.clear()
    running.writer.is_up, running.writer.error = True, None
    running.writer.is_held.clear()
    return running


def test_a_native_envelope_becomes_a_record_as_it_came(receive: Served) -> None:
    body = b' {"v": 1,' + orjson.dumps(envelope())[7:]
    got = receive.post("/v1/events", body, Content_Type=JSON)
    assert (got.status, got.json) == (200, {"accepted": 1, "refused": []})
    (record,) = receive.writer.records
    assert (record.topic, record.key, record.value) == ("native-events", b"org.example.app/d1", body)
    assert not record.headers, "the time is the broker's"


def test_each_of_an_array_becomes_a_record_and_each_fault_has_its_path(receive: Served) -> None:
    good, bad = envelope("a", "d1", "e1", "e2"), envelope("a", "d2", "e1", "", "e3")
    got = receive.post("/v1/events", [good, bad, {"v": 2}, 7])
    assert got.status == 200 and got.json["accepted"] == 4
    assert [(each["path"], each["reason"]) for each in got.json["refused"]] == [
        ("[1].events[1].id", "id_length"),
        ("[2].v", "unknown_version"),
        ("[3]", "invalid_type"),
    ]
    # What is refused is kept as well: the router makes dead letters of it.
    values = [record.value for record in receive.writer.records]
    assert values == [orjson.dumps(good), orjson.dumps(bad), b'{"v":2}', b"7"]
    assert [record.key for record in receive.writer.records] == [b"a/d1", b"a/d2", None, None]


def test_elements_that_are_no_json_are_told_apart_and_mended_as_the_router_does(receive: Served) -> None:
    hard = rb'{"v":1,"app_id":"a","device_id":"d","resource":{"x":"\ud800","y":"],[\\\" "},"events":[%s]}'
    event = orjson.dumps(envelope()["events"][0])
    nan = hard % event.replace(b"{}", b'{"f":NaN,"deep":[[{"a":"}"}]]}')
    good = orjson.dumps(envelope())
    body = b"\xef\xbb\xbf [ " + nan + b" ,\n" + good + b", {broken} ]\n"
    got = receive.post("/v1/events", body)
    assert got.status == 200 and got.json["accepted"] == 2
    assert [each["path"] for each in got.json["refused"]] == ["[2]"]
    assert [record.value for record in receive.writer.records] == [nan, good, b"{broken}"]
    assert isinstance(native.decode(nan, b"a/d", int(time.time() * 1e3)), native.Envelope)


NO_ARRAYS = {
    "empty": b"[]", "blank": b" [ ] ", "cut short": b"[{}", "open text": b'["]', "one too many": b"[{}]]",
    "garbage": b"[{}] x", "wrong bracket": b"[1}", "deep": b"[" * 100_000, "long": b"[" + b"{}," * 1_000 + b"{}]",
}  # fmt: skip


@pytest.mark.parametrize("case", NO_ARRAYS)
def test_an_array_that_is_none_is_400_and_one_dead_letter(receive: Served, case: str) -> None:
    got = receive.post("/v1/events", NO_ARRAYS[case])
    assert got.status == 400 and [each["path"] for each in got.json["refused"]] == ["$"]
    (record,) = receive.writer.records
    assert record.value == NO_ARRAYS[case]
    refused = routed(record.value, int(time.time() * 1e3))
    assert isinstance(refused, Rejected) and refused.reason == got.json["refused"][0]["reason"]


def test_a_body_of_more_than_500_events_is_judged_as_the_router_splits_it(receive: Served) -> None:
    got = receive.post("/v1/events", envelope("a", "d", *(f"e{n}" for n in range(1_200)), ""))
    assert got.status == 200
    assert got.json["accepted"] == 1_200
    assert [each["path"] for each in got.json["refused"]] == ["events[1200].id"]


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (b"{", "$", "malformed_json"),
        (b'"x"', "$", "invalid_type"),
        (b'{"v":1,"device_id":"d","events":[]}', "app_id", "missing_field"),
        (orjson.dumps(envelope() | {"events": []}), "events", "no_events"),
    ],
)
def test_a_body_of_which_nothing_is_sound_is_400_with_reasons_and_kept(
    receive: Served, body: bytes, path: str, reason: str
) -> None:
    got = receive.post("/v1/events", body)
    assert got.status == 400 and got.json["accepted"] == 0
    assert [(each["path"], each["reason"]) for each in got.json["refused"]] == [(path, reason)]
    assert [record.value for record in receive.writer.records] == [body]


def test_an_envelope_over_the_limit_of_a_record_is_413_and_kept(receive: Served) -> None:
    body = orjson.dumps(envelope(more="x" * 1_000_000))
    got = receive.post("/v1/events", body)
    assert got.status == 413 and got.json["refused"][0]["reason"] == "record_too_large"
    assert got.json["refused"][0]["detail"].endswith("; send less at once, or several envelopes in one array")
    assert [record.value for record in receive.writer.records] == [body]


def test_a_body_of_nothing_but_faults_takes_a_bounded_time_and_space(receive: Served) -> None:
    record = b'{"v":1,"app_id":"a","device_id":"d","events":[' + b"{}," * 500 + b"7]}"
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.process_time()
    got = receive.post("/v1/events", b"[" + b",".join([record] * 90) + b"]", Content_Type=JSON)
    assert got.status == 400 and len(got.json["refused"]) == 1_000
    assert got.json["refused_but_not_listed"] == 90 * 501 - 1_000
    record = b'{"v":1,"app_id":"a","device_id":"d","events":[' + b"{}," * 49_000 + b"7]}"
    got = receive.post("/v1/events", b"[" + b",".join([record] * 50) + b"]", Content_Type=JSON)
    assert got.status == 400 and [each["reason"] for each in got.json["refused"]] == ["too_many_values"]
    assert time.process_time() - began_s < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000
    texts = envelope("a", "d", "1", filler="{[" * 200_000)
    assert receive.post("/v1/events", [texts]).status == 200, "what stands in a text is none"


def test_more_faults_than_are_listed_are_counted(receive: Served) -> None:
    got = receive.post("/v1/events", [envelope("a", "d", *[""] * 400)] * 3)
    assert got.status == 400
    assert len(got.json["refused"]) == 1_000 and got.json["refused_but_not_listed"] == 200


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_measure_bodies_come_as_they_are(receive: Served, method: str) -> None:
    body = orjson.dumps({"events": [MEASURE_EVENT, {**MEASURE_EVENT, "id": ""}]})
    got = receive.ask(method, "/events", body, {"Content-Type": f"{JSON}; charset=utf-8"})
    assert got.status == 202 and got.json["accepted"] == 1
    assert got.json["refused"][0]["path"].startswith("events[1]")
    (record,) = receive.writer.records
    assert (record.topic, record.key, record.value) == ("measure-events", b"sh.example/i1", body)


@pytest.mark.parametrize("path", ["/v2/spans", "/v2/logs"])
def test_embraces_headers_become_those_of_the_record(receive: Served, path: str) -> None:
    receive.post(path, {"type": "spans"}, X_EM_AID="abcde", x_em_did="device-1", X_EM_OTHER="x")
    (record,) = receive.writer.records
    assert record.topic == "embrace-events"
    assert list(record.headers) == [("X-EM-AID", b"abcde"), ("X-EM-DID", b"device-1")]


@pytest.mark.parametrize(
    ("path", "topic", "records"),
    [("/v2/spans", "otlp_spans", "resourceSpans"), ("/v2/logs", "otlp_logs", "resourceLogs")],
)
def test_what_embraces_sdk_for_browsers_sends_is_otlp(
    receive: Served, path: str, topic: str, records: str
) -> None:
    file = {"otlp_spans": "session_part.trimmed.json", "otlp_logs": "log_after_part.json"}[topic]
    body = (EMBRACE_WEB / file).read_bytes()
    got = receive.post(path, orjson.loads(body), X_EM_AID="abcde", X_EM_DID="device-1")
    assert (got.status, got.json) == (200, {}), "as OTLP has it"
    (record,) = receive.writer.records
    assert (record.topic, record.key) == (topic, b"abcde/device-1")
    assert list(record.headers) == [("X-EM-AID", b"abcde"), ("X-EM-DID", b"device-1")]
    assert records in orjson.loads(record.value or b"")


def test_a_body_of_which_nothing_is_told_is_no_fault(receive: Served) -> None:
    told = [
        {"key": "emb.type", "value": {"stringValue": "perf"}},
        {"key": "emb.private", "value": {"boolValue": True}},
    ]
    span = {
        "traceId": "ab", "spanId": "cd", "startTimeUnixNano": str(time.time_ns()), "attributes": told,
    }  # fmt: skip
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [span]}]}]}
    got = receive.post("/v2/spans", body, X_EM_AID="abcde", X_EM_DID="device-1")
    assert (got.status, got.json) == (200, {})


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda data: bytes(cramjam.zstd.compress(data)),
}


@pytest.mark.parametrize("coding", ENCODERS)
def test_bodies_are_decoded(receive: Served, coding: str) -> None:
    body = orjson.dumps(envelope())
    got = receive.post("/v1/events", ENCODERS[coding](body), Content_Encoding=coding)
    assert got.status == 200
    assert receive.writer.records[0].value == body


@pytest.mark.parametrize("coding", ENCODERS)
def test_what_is_cut_short_or_too_long_once_decoded_is_refused(receive: Served, coding: str) -> None:
    encode = ENCODERS[coding]
    cut = receive.post("/v1/events", encode(orjson.dumps(envelope()))[:-3], Content_Encoding=coding)
    assert cut.status == 400 and "cut short" in cut.json["detail"]
    bomb = receive.post("/v1/events", encode(bytes(30_000_000)), Content_Encoding=coding)
    assert bomb.status == 413
    assert receive.writer.records == []


def test_chunked_bodies_need_no_length(receive: Served) -> None:
    body = orjson.dumps(envelope())
    got = receive.ask("POST", "/v1/events", iter([body[:7], body[7:]]), {})
    assert got.status == 200 and receive.writer.records[0].value == body


@pytest.mark.parametrize(
    ("path", "headers", "status", "reason"),
    [
        ("/v1/events", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "content_type"),
        ("/v1/events", {"Content-Type": PROTOBUF}, 415, "content_type"),
        ("/events", {"Content-Type": "multipart/form-data"}, 415, "content_type"),
        ("/v1/events", {"Content-Encoding": "br"}, 415, "content_encoding"),
        ("/nowhere", {}, 404, "path"),
        ("/v1/logs/", {}, 404, "path"),
    ],
)
def test_what_is_not_taken_says_why(
    receive: Served, path: str, headers: dict[str, str], status: int, reason: str
) -> None:
    before = receive.count("refused_total", route="other", reason="path")
    got = receive.ask("POST", path, orjson.dumps(envelope()), headers)
    assert (got.status, got.json["reason"]) == (status, reason)
    assert got.json["detail"] and receive.writer.records == []
    assert receive.count("refused_total", route="other", reason="path") - before == (status == 404)


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH", "PUT"])
def test_other_methods_are_405_and_say_which_are_taken(receive: Served, path: str, method: str) -> None:
    (route,) = (each for each in ROUTES if each.path == path)
    if method in route.methods:
        return
    got = receive.ask(method, path)
    assert got.status == 405
    assert got.headers["allow"] == ", ".join((*route.methods, "OPTIONS"))
    asked = receive.ask("OPTIONS", path)
    assert asked.status == 204 and "POST" in asked.headers["allow"]


def test_a_text_without_a_preflight_is_taken(receive: Served) -> None:
    """As `navigator.sendBeacon` sends a string, and a Blob without a type; and as `curl -d` says of any body."""
    types = ({"Content-Type": "text/plain;charset=UTF-8"}, {}, {"Content-Type": FORM})
    for headers in types:
        got = receive.ask("POST", "/v1/events", orjson.dumps(envelope()), headers)
        assert got.status == 200
    assert len(receive.writer.records) == 3


def test_an_empty_body_is_400(receive: Served) -> None:
    for path in ("/v1/events", "/events", "/v2/logs"):
        got = receive.ask("POST", path, b"")
        assert got.status == 400 and got.json["reason"] == "empty_record"
    assert receive.writer.records == []


def test_kafka_away_is_503_at_once_and_with_a_time(receive: Served) -> None:
    receive.writer.is_up = False
    began_s = time.monotonic()
    got = receive.post("/v1/events", envelope())
    assert got.status == 503 and 5 <= int(got.headers["retry-after"]) <= 15
    assert got.json["reason"] == "kafka_away" and time.monotonic() - began_s < 1
    assert receive.ask("GET", "/readyz").status == 503
    assert receive.ask("GET", "/livez").status == 200
    receive.writer.is_up = True
    assert receive.ask("GET", "/readyz").status == 200
    assert receive.ask("HEAD", "/readyz").body == b""


@pytest.mark.parametrize(
    ("error", "status"), [(RecordTooLarge("too long"), 413), (KafkaRefused("no right"), 503)]
)
def test_what_kafka_refuses_is_not_2xx(receive: Served, error: Exception, status: int) -> None:
    receive.writer.error = error
    assert receive.post("/v1/events", envelope()).status == status


def test_no_answer_before_kafka_has_the_records(receive: Served) -> None:
    receive.writer.is_held.set()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(receive.post, "/v1/events", envelope())
        time.sleep(0.2)
        assert not answer.done() and receive.common.budget.used > 0
        receive.writer.is_held.clear()
        assert answer.result(5).status == 200
    assert len(receive.writer.records) == 1


def test_a_fault_of_the_program_is_500_and_told_to_nobody_but_the_log(
    receive: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise AssertionError("a secret of ours")

    monkeypatch.setattr(intake, "key_sent", fails)
    receive.writer.error = AssertionError("a secret of ours")
    got = receive.post("/v1/events", envelope())
    assert got.status == 500 and b"secret" not in got.body
    assert "a secret of ours" in caplog.text
    assert receive.common.budget.used == 0


def test_more_bytes_than_the_budget_are_429_until_kafka_has_the_others() -> None:
    body = orjson.dumps(envelope(more="x" * 400_000))
    with served(budget=1_000_000) as receive:
        receive.writer.is_held.set()
        with ThreadPoolExecutor(8) as threads:
            first = [threads.submit(receive.post, "/v1/events", body) for _ in range(2)]
            while receive.writer.waiting < 2:
                time.sleep(0.01)
            others = [threads.submit(receive.post, "/v1/events", body).result(10) for _ in range(3)]
            assert {got.status for got in others} == {429}
            assert all(1 <= int(got.headers["retry-after"]) <= 5 for got in others)
            receive.writer.is_held.clear()
            assert {each.result(10).status for each in first} == {200}
        assert receive.post("/v1/events", body).status == 200
        assert receive.count("refused_total", route="native-events", reason="busy") == 3


def test_what_kafka_may_still_get_is_held_beyond_the_answer() -> None:
    """Its producer has it for as long as it tries: a broker that is away for long cannot fill the memory."""
    body = orjson.dumps(envelope(more="x" * 700_000))
    with served(budget=1_000_000) as receive:
        receive.writer.gives_up_after_s = 0.05
        receive.writer.is_held.set()
        assert receive.post("/v1/events", body).status == 503
        assert receive.common.budget.used >= 700_000
        assert receive.post("/v1/events", body).status == 429
        receive.writer.settle()
        assert receive.common.budget.used == 0


def test_long_bodies_are_refused_by_what_they_say_and_by_what_they_are() -> None:
    with served(max_body=1_000) as receive:
        said = receive.post("/v1/events", b"x" * 1_001)
        unsaid = receive.ask("POST", "/v1/events", iter([b"x" * 600] * 2), {})
        assert (said.status, unsaid.status) == (413, 413)
        assert receive.count("refused_total", route="native-events", reason="too_large") == 2
        assert receive.post("/v1/events", envelope()).status == 200


def test_metrics_tell_what_happened() -> None:
    with served() as receive:
        body = gzip.compress(orjson.dumps([envelope("a", "d", "1", ""), envelope("a", "d", "2")]))
        receive.post("/v1/events", body, Content_Encoding="gzip")
        assert receive.count("requests_total", route="native-events", status="200") == 1
        assert receive.count("events_total", route="native-events") == 2
        assert receive.count("refused_total", route="native-events", reason="id_length") == 1
        assert receive.count("bytes_total", form="as_sent") == len(body)
        assert receive.count("bytes_total", form="decoded") == len(gzip.decompress(body))
        assert receive.count("kafka_seconds_count") == 1


def test_a_stop_finishes_what_was_accepted_and_lets_nobody_in() -> None:
    with served() as receive:
        receive.writer.is_held.set()
        body = orjson.dumps(envelope())
        half = receive.connect()
        half.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5]
        )
        with ThreadPoolExecutor(2) as threads:
            waiting = threads.submit(receive.post, "/v1/events", body)
            while receive.writer.waiting < 1:
                time.sleep(0.01)
            receive.stop(waits=False)
            assert receive.readiness.is_stopping
            with pytest.raises(OSError):
                while True:
                    receive.connect().close()
                    time.sleep(0.01)
            half.sendall(body[5:])
            while receive.writer.waiting < 2:
                time.sleep(0.01)
            receive.writer.is_held.clear()
            assert waiting.result(10).status == 200
            assert half.recv(1_000).startswith(b"HTTP/1.1 200 ")
        half.close()
        receive.join()
        assert receive.writer.stopped_with == 2, "the producer ends after the last answer"


def test_keys_let_in_by_app() -> None:
    keys = Keys.read(
        '[[keys]]\nkey = "secret-a"\napps = ["a", "b"]\n[[keys]]\nkey = "secret-all"\napps = ["*"]'
    )
    with served(keys=keys) as receive:

        def status(key: str, *apps: str) -> int:
            bodies = [envelope(app) for app in apps]
            return receive.post("/v1/events", bodies, Authorization=f"Bearer {key}").status

        assert receive.post("/v1/events", envelope("a")).status == 401
        assert status("wrong", "a") == 401
        assert (status("secret-a", "a", "b"), status("secret-all", "a", "z")) == (200, 200)
        kept = len(receive.writer.records)
        assert status("secret-a", "a", "z") == 403
        assert len(receive.writer.records) == kept, "nothing of it"
        got = receive.post("/v1/events", envelope("a"), Authorization="Basic c2VjcmV0")
        assert got.status == 401 and got.headers["www-authenticate"] == "Bearer"
        assert b"secret" not in got.body


def test_a_body_that_becomes_too_much_is_taken_but_not_with_a_key_for_some_apps() -> None:
    """What there is no room for was not read, and could be another app's."""
    time_ns = str(time.time_ns())
    records = [
        {"timeUnixNano": time_ns, "attributes": [{"key": "user.id", "value": {"stringValue": f"u{at}"}}]}
        for at in range(1_500)
    ]
    said = {"service.name": "shop", "app.installation.id": "d", "pad": "x" * 60_000}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
    block = {"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": records}]}
    keys = Keys.read('[[keys]]\nkey = "secret"\napps = ["shop"]\n[[keys]]\nkey = "another"\napps = ["*"]')
    with served(keys=keys) as receive:
        got = receive.post("/v1/logs", {"resourceLogs": [block]}, Authorization="Bearer secret")
        assert got.status == 413 and receive.writer.records == []
        got = receive.post("/v1/logs", {"resourceLogs": [block]}, Authorization="Bearer another")
        assert got.status == 200 and len(receive.writer.records) == 1
        assert 400 < int(got.json["partialSuccess"]["rejectedLogRecords"]) < 500


def test_no_event_slips_in_for_another_app_by_its_time() -> None:
    """Too early when it is judged, and no more when the router reads it."""
    day_ahead_ms = int(time.time() * 1_000) + 24 * 3_600_000 + 60_000
    ahead = {
        **MEASURE_EVENT,
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(day_ahead_ms / 1_000)),
    }
    other = {**ahead, "attribute": {"app_unique_id": "other", "installation_id": "i1"}}
    keys = Keys.read('[[keys]]\nkey = "secret"\napps = ["sh.example"]')
    with served(keys=keys) as receive:
        got = receive.post("/events", {"events": [MEASURE_EVENT, other]}, Authorization="Bearer secret")
        assert got.status == 403 and receive.writer.records == []
        mine = receive.post("/events", {"events": [MEASURE_EVENT, ahead]}, Authorization="Bearer secret")
        assert mine.status == 202 and len(mine.json["refused"]) == 1


def test_no_event_slips_in_for_another_app_by_its_size() -> None:
    """Too large when it is judged, for it says what its clock showed; no more when the router reads it."""
    now_ms = int(time.time() * 1_000)
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms / 1_000 + 3_600))
    event = {
        **MEASURE_EVENT,
        "timestamp": ahead,
        "attribute": {"app_unique_id": "other", "installation_id": "i1"},
    }
    keys = Keys.read('[[keys]]\nkey = "secret"\napps = ["sh.example"]')
    for pad in range(999_000, 1_000_000, 12):
        body = orjson.dumps(
            {"events": [{**event, "lifecycle_app": {"type": "foreground", "pad": "x" * pad}}]}
        )
        now, later = (measure.decode(body, time_ms) for time_ms in (now_ms, now_ms + 2 * 86_400_000))
        assert isinstance(now, Translation) and isinstance(later, Translation)
        if now.refused and not later.refused:
            break
    with served(keys=keys) as receive:
        got = receive.post("/events", body, Authorization="Bearer secret")
        assert got.status == 403 and receive.writer.records == []


@pytest.mark.parametrize("ended_by", [None, signal.SIGTERM, signal.SIGINT], ids=["time", "again", "ctrl-c"])
def test_whoever_sends_clients_here_learns_of_a_stop_before_nobody_listens(
    ended_by: signal.Signals | None,
) -> None:
    with served(drain_s=0.4 if ended_by is None else 60.0) as running:
        running.server.handle_exit(signal.SIGTERM, None)
        assert running.ask("GET", "/readyz").status == 503
        assert running.ask("GET", "/livez").status == 200
        assert running.post("/v1/events", envelope("org.example.app", "d1", "e1")).status == 200
        if ended_by is not None:
            running.server.handle_exit(ended_by, None)
        running.join()
        assert running.writer.stopped_with == 1
        with pytest.raises(ConnectionRefusedError):
            running.connect()


def test_ctrl_c_waits_for_nobody() -> None:
    with served(drain_s=60.0) as running:
        running.server.handle_exit(signal.SIGINT, None)
        running.join()
