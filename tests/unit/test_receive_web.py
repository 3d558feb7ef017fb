"""Faro's and Sentry's SDKs over HTTP: their addresses, headers and answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.formats import faro, sentry
from pipeline.formats.format import Beside
from pipeline.formats.translation import Translation
from pipeline.receive.keys import Keys
from tests.support.receiving import Served, served

SID = "3c1ffc32f68f4af2a1eedd72f4d62d17"
ENVELOPE = "/api/42/envelope/"
TEXT = {"Content-Type": "text/plain;charset=UTF-8"}


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served() as started:
        yield started


@pytest.fixture
def receive(running: Served) -> Served:
    running.writer.records.clear()
    running.writer.is_up = True
    return running


def now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def body(**meta: Any) -> bytes:
    told = {"app": {"name": "shop"}, "sdk": {"name": "faro-web"}, **meta}
    return json.dumps({"meta": told, "events": [{"name": "e", "timestamp": now()}]}).encode()


def envelope(kind: str, payload: dict[str, Any], **header: Any) -> bytes:
    head = {"sdk": {"name": "sentry.javascript.browser", "version": "11.12.0"}, **header}
    return "\n".join(json.dumps(each) for each in (head, {"type": kind}, payload)).encode()


def session(**more: Any) -> dict[str, Any]:
    return {
        "sid": SID,
        "started": now(),
        "timestamp": now(),
        "status": "ok",
        "attrs": {"release": "1.4.0"},
        **more,
    }


def test_a_faro_body_is_202_and_its_session_goes_with_it(receive: Served) -> None:
    got = receive.ask(
        "POST", "/collect", body(), {"Content-Type": "application/json", "x-faro-session-id": "s1"}
    )
    assert (got.status, got.json["accepted"]) == (202, 1)
    (record,) = receive.writer.records
    assert (record.topic, record.key) == ("faro-events", b"shop/session:s1")
    assert record.value is not None
    outcome = faro.translate(record.value, int(time.time() * 1_000), Beside(record.headers))
    assert isinstance(outcome, Translation) and outcome.records[0].key == record.key


def test_an_envelope_of_sentrys_is_200_with_its_id_and_its_project_goes_with_it(receive: Served) -> None:
    value = envelope("session", session(), event_id="13f225fbbf99474f898f704fe3dcff3a")
    got = receive.ask("POST", f"{ENVELOPE}?sentry_version=7&sentry_key=abcdef", value, TEXT)
    assert (got.status, got.json) == (200, {"id": "13f225fbbf99474f898f704fe3dcff3a"})
    (record,) = receive.writer.records
    assert (record.topic, record.key) == ("sentry-envelopes", f"sentry-42/session:{SID}".encode())
    assert list(record.headers) == [("x-sentry-project", b"42")]
    outcome = sentry.translate(record.value, int(time.time() * 1_000), Beside(record.headers))
    assert isinstance(outcome, Translation) and outcome.records[0].key == record.key


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(envelope("client_report", {"discarded_events": []}), id="passed over"),
        pytest.param(json.dumps(envelope("session", session()).decode()).encode(), id="as one JSON text"),
    ],
)
def test_an_envelope_without_an_id_is_200_as_well(receive: Served, value: bytes) -> None:
    got = receive.ask("POST", ENVELOPE, value, {"Content-Type": "application/x-sentry-envelope"})
    assert (got.status, got.json) == (200, {})


def test_an_envelope_of_which_nothing_is_sound_is_400_and_kept(receive: Served) -> None:
    got = receive.ask("POST", ENVELOPE, envelope("session", session(started="soon")), TEXT)
    assert got.status == 400 and got.json["refused"][0]["path"] == "items[0].started"
    assert len(receive.writer.records) == 1


def test_pages_ask_before_they_send(receive: Served) -> None:
    for path, header in (("/collect", "x-faro-session-id"), (ENVELOPE, "x-sentry-auth")):
        asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
        got = receive.ask("OPTIONS", path, b"", {**asked, "Access-Control-Request-Headers": header})
        assert got.status in {200, 204}
        assert header in got.headers["access-control-allow-headers"]


def test_kafka_away_is_503_with_a_time_that_both_sdks_read(receive: Served) -> None:
    receive.writer.is_up = False
    for path, value in (("/collect", body(session={"id": "s"})), (ENVELOPE, envelope("session", session()))):
        got = receive.ask("POST", path, value, TEXT)
        assert got.status == 503 and int(got.headers["retry-after"]) > 0


def test_keys_come_where_the_sdks_put_them() -> None:
    keys = Keys.read('[[keys]]\nkey = "abcdef0123"\napps = ["shop", "sentry-42"]\n')
    value, told = envelope("session", session()), body(session={"id": "s"})
    auth = "Sentry sentry_version=7, sentry_key=abcdef0123, sentry_client=x"
    with served(keys=keys) as receive:
        for path, sent, headers, status in (
            (f"{ENVELOPE}?sentry_key=abcdef0123", value, {}, 200),
            (ENVELOPE, value, {"X-Sentry-Auth": auth}, 200),
            (ENVELOPE, value, {}, 401),
            ("/api/43/envelope/?sentry_key=abcdef0123", value, {}, 403),
            ("/collect", told, {"x-api-key": "abcdef0123"}, 202),
            ("/collect", told, {}, 401),
        ):
            assert receive.ask("POST", path, sent, {**TEXT, **headers}).status == status, (path, headers)
