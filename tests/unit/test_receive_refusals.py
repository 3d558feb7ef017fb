"""What `receive` refuses before Kafka is seen by its author: in the log, on the terminal of `up`, and by a page."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cramjam
import orjson
import pytest
from starlette.requests import Request

from pipeline import logs
from pipeline.commands.local_stack import LocalStack
from pipeline.commands.log_lines import LogLines
from pipeline.embedded.child import LOOPBACK, StartError
from pipeline.receive.keys import Keys
from pipeline.receive.refusal import NeverTaken, busy
from pipeline.receive.refusals import LOGGER, Refusals
from pipeline.settings import Settings
from tests.support.receiving import envelope, served

KEY = "a-key-of-the-shop"
KEYS = Keys.read(f'[[keys]]\nkey = "{KEY}"\napps = ["shop"]\n')
FOREIGN = NeverTaken(403, "app", "this key is not for the app till\n\x1b[2J")


def request(path: str = "/v1/events") -> Request:
    return Request({"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"key=x"})


def test_at_most_one_line_a_minute_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    minutes: list[Callable[[], None]] = []
    refusals = Refusals(lambda after_s, work: minutes.append(work) if after_s == 60 else None)
    for _ in range(13):
        refusals.note(FOREIGN, request())
        refusals.note(busy(), request())
    refusals.note(NeverTaken(404, "path", "nothing is accepted here"), request("/v1/event"))
    while minutes:
        minutes.pop(0)()
    refusals.note(FOREIGN, request())
    said = r"app (403): this key is not for the app till\n\x1b[2J (POST /v1/events)"
    assert caplog.messages == [
        f"refused: 1 request, {said}",
        "refused: 1 request, path (404): nothing is accepted here (POST /v1/event)",
        f"refused in the last minute: 12 requests, {said}",
        f"refused: 1 request, {said}",
    ]


REFUSED = {
    "key (401)": ("/v1/events", {"Authorization": "Bearer wrong-key"}, b"{}"),
    "app (403)": ("/v1/events", {"Authorization": f"Bearer {KEY}"}, orjson.dumps(envelope("till"))),
    "origin (403)": ("/v1/events", {"Origin": "https://evil.example"}, b"{}"),
    "path (404)": ("/v1/event", {}, b"{}"),
    "too_large (413)": ("/v1/events", {"Authorization": f"Bearer {KEY}"}, b"x" * 2_000),
    "content_type (415)": ("/v1/events", {"Authorization": f"Bearer {KEY}", "Content-Type": "a/b"}, b"{}"),
    "content_encoding (415)": (
        "/v1/events", {"Authorization": f"Bearer {KEY}", "Content-Encoding": "br"}, b"{}",
    ),
    "content_encoding (400)": (
        "/v1/events", {"Authorization": f"Bearer {KEY}", "Content-Encoding": "gzip"}, b"{}",
    ),
}  # fmt: skip


def test_whatever_is_refused_before_kafka_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with served(keys=KEYS, max_body=1_000) as receive:
        for path, headers, body in REFUSED.values():
            receive.ask("POST", path, body, headers)
    said = [message.removeprefix("refused: 1 request, ").partition(": ")[0] for message in caplog.messages]
    assert said == [*REFUSED]
    assert "-key" not in caplog.text


@pytest.mark.parametrize("formatter", [logs._PlainFormatter(logs._PLAIN), logs.JsonFormatter("receive")])
def test_up_shows_these_lines_of_the_log_and_no_others(tmp_path: Path, formatter: logging.Formatter) -> None:
    def line(logger: str, text: str) -> str:
        return formatter.format(logging.LogRecord(logger, logging.WARNING, "f.py", 1, text, (), None)) + "\n"

    file = tmp_path / "receive.log"
    assert LogLines(file, LOGGER).new() == []
    file.write_text(line(LOGGER, "of the last start"))
    lines = LogLines(file, LOGGER)
    cut = len(more := line(LOGGER, "more")) // 2
    with file.open("a") as stream:
        stream.write(line(LOGGER, "refused: 1 request") + line("pipeline.kafka.writer", "away") + more[:cut])
        stream.flush()
        assert lines.new() == ["refused: 1 request"]
        stream.write(more[cut:])
        stream.flush()
        assert (lines.new(), lines.new()) == (["more"], [])
    file.write_text(line(LOGGER, "cut off"))
    assert lines.new() == ["cut off"]


def test_a_page_of_another_origin_can_read_why_and_nothing_else() -> None:
    page = {"Origin": "https://evil.example"}
    asks = {
        **page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    with served(origins=["https://shop.example"]) as receive:
        preflight = receive.ask("OPTIONS", "/v1/events", headers=asks).headers
        assert preflight["access-control-allow-origin"] == "https://evil.example"
        assert "authorization" in preflight["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight
        inward = {**asks, "Access-Control-Request-Private-Network": "true"}
        got = receive.ask("OPTIONS", "/v1/events", headers=inward)
        assert got.status == 403 and "access-control-allow-private-network" not in got.headers
        for method, path in (("POST", "/v1/events"), ("GET", "/v1/events"), ("POST", "/nowhere")):
            got = receive.ask(method, path, orjson.dumps(envelope()), page)
            assert (got.status, got.json["reason"]) == (403, "origin")
            assert "PIPELINE_RECEIVE_ORIGINS" in got.json["detail"]
            assert got.headers["access-control-allow-origin"] == "https://evil.example"
            assert got.headers["vary"] == "Origin" and "access-control-allow-credentials" not in got.headers
        health = receive.ask("GET", "/readyz", headers=page)
        assert "access-control-allow-origin" not in health.headers
        assert receive.writer.records == []


def test_a_body_that_was_compressed_without_saying_so() -> None:
    compressed = {
        "/v1/events": ("gzip", gzip.compress(orjson.dumps(envelope()))),
        "/events": ("zstd", bytes(cramjam.zstd.compress(b'{"events": []}'))),
        "/v1/logs": ("gzip", gzip.compress(b"\x0a\x00")),
    }
    with served() as receive:
        for path, (name, body) in compressed.items():
            got = receive.ask("POST", path, body)
            said = f"this begins as {name}: send Content-Encoding: {name}"
            assert got.status == 400 and said in got.body.decode(errors="replace")
            twice = receive.ask("POST", path, zlib.compress(body), {"Content-Encoding": "deflate"})
            said = f"this begins as {name} after its Content-Encoding was undone"
            assert twice.status == 400 and said in twice.body.decode(errors="replace")


def test_a_key_in_another_form_is_not_taken_for_none() -> None:
    with served(keys=KEYS) as receive:
        for given in (KEY, f"Bearer%20{KEY}", f"Basic {KEY}", f"Bearer:{KEY}", "Bearer"):
            got = receive.post("/v1/events", envelope("shop"), Authorization=given)
            assert got.status == 401 and got.json["reason"] == "key" and KEY.encode() not in got.body
            assert "was not understood" in got.json["detail"], given
            assert "Authorization: Bearer KEY" in got.json["detail"]
        assert "a key is needed" in receive.post("/v1/events", envelope("shop")).json["detail"]


NEARLY_RIGHT = {
    "/v1/traces/v1/traces": "OTEL_EXPORTER_OTLP_ENDPOINT takes the address without a path",
    "/v1/logs/v1/traces": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT takes it with the path",
    "/v1/events/v1/logs": "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT takes it with the path",
    "/v1/metrics/v1/metrics/": "OTEL_EXPORTER_OTLP_ENDPOINT takes the address without a path",
    "//v1/traces": "to which SDKs add /v1/traces",
    "/v1/metrics/": "OTEL_METRICS_EXPORTER=none",
    "/v1/events/": "use /v1/events, without the slash at its end",
    "/api/42/envelope": "use /api/42/envelope/, with a slash at its end",
    "/v1/event": "use /v1/logs, ",
}


def test_a_path_that_is_nearly_right() -> None:
    with served() as receive:
        for path, told in NEARLY_RIGHT.items():
            got = receive.post(path, envelope())
            assert got.status == 404 and told in got.body.decode(), path


@pytest.mark.parametrize("option", ["kafka_port", "clickhouse_port", "dashboard_port", "receive_port"])
def test_a_port_that_is_taken_is_named_with_its_option_and_nothing_is_left(
    tmp_path: Path, option: str
) -> None:
    ports: dict[str, Any] = dict.fromkeys(
        ("kafka_port", "clickhouse_port", "dashboard_port", "receive_port"), 0
    )
    with served() as other, ExitStack() as running:
        stack = LocalStack(Settings(), tmp_path / "data", **{**ports, option: other.port})
        said = f"{LOOPBACK}:{other.port}: Address already in use.*--{option.replace('_', '-')}"
        with pytest.raises(StartError, match=said):
            stack._start(running)
    assert list(tmp_path.iterdir()) == []
