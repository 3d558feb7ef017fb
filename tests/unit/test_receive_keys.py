"""Who may send: keys, where SDKs put them, and the origins of pages."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest

from pipeline.commands.failure import CommandFailed
from pipeline.commands.key_file import KeyFile
from pipeline.commands.receive import connections_possible, receive
from pipeline.errors import UnusablePath
from pipeline.receive.keys import ANY, InvalidKeys, Keys, key_sent
from pipeline.receive.origins import Origins
from pipeline.settings import Settings, load
from tests.support.receiving import envelope, served

SECRET = "a-key-of-the-shop"
FILE = f'[[keys]]\nkey = "{SECRET}"\napps = ["shop"]\n'


def test_a_key_may_be_there_as_its_hash_alone() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    keys = Keys.read(f'[[keys]]\nkey = "sha256:{digest.upper()}"\napps = ["shop", "till"]\n')
    grant = keys.of(SECRET)
    assert grant and grant.refused({"shop", "till", "bank"}) == {"bank"}
    assert keys.of(f"sha256:{digest}") is None and keys.of("") is None
    assert ANY.refused({"whatever"}) == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keys = 1",
        "[[keys",
        '[[key]]\nkey = "abcdef"\napps = ["*"]',
        FILE + FILE,
        FILE + "more = 1",
        FILE + '[[keys]]\napps = ["*"]',
        '[[keys]]\nkey = "abcdef"\napps = []',
        '[[keys]]\nkey = "abcdef"\napps = "shop"',
        '[[keys]]\nkey = "abcdef"\napps = [""]',
        '[[keys]]\nkey = "abcdef"\napps = ["*"]\napp = "x"',
        f'[[keys]]\nkey = "{SECRET[:4]}"\napps = ["*"]',
        f'[[keys]]\nkey = "{SECRET}é"\napps = ["*"]',
        f'[[keys]]\nkey = " {SECRET}"\napps = ["*"]',
        f'[[keys]]\nkey = "{SECRET}\\n"\napps = ["*"]',
        '[[keys]]\nkey = 123456\napps = ["*"]',
        '[[keys]]\nkey = "sha256:abc"\napps = ["*"]',
    ],
)
def test_a_file_at_fault_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(InvalidKeys) as caught:
        Keys.read(text)
    assert SECRET[:4] not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({"authorization": "Bearer abc"}, "", "abc"),
        ({"authorization": "bearer  abc "}, "", "abc"),
        ({"authorization": "Basic abc"}, "", ""),
        ({"authorization": "Bearer"}, "", ""),
        ({"x-api-key": "abc"}, "", "abc"),
        ({"x-em-aid": "abcde"}, "", "abcde"),
        ({"authorization": "Basic x", "x-api-key": "abc"}, "key=other", "abc"),
        ({"x-sentry-auth": "Sentry sentry_version=7, sentry_key=abc, sentry_client=x/1"}, "", "abc"),
        ({"x-sentry-auth": "Sentry other_sentry_key=abc"}, "", ""),
        ({}, "sentry_key=abc&sentry_version=7", "abc"),
        ({}, "key=a%20bc", "a bc"),
        ({}, "&".join(f"a{n}=1" for n in range(100)), ""),
        ({}, "", ""),
    ],
)
def test_where_the_key_is(headers: dict[str, str], query: str, key: str) -> None:
    assert key_sent(headers, query) == key


def test_a_file_that_changes_is_read_again_and_one_at_fault_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(FILE)
    kept = KeyFile(path)
    path.write_text(FILE.replace(SECRET, "another-key"))
    kept.look()
    assert kept.keys.of("another-key") and not kept.keys.of(SECRET)
    with caplog.at_level(logging.ERROR):
        path.write_text("[[keys")
        kept.look()
        path.unlink()
        kept.look()
        path.write_bytes(b"\xff")
        kept.look()
    assert kept.keys.of("another-key") and len(caplog.records) == 3
    path.write_text(FILE)
    os.utime(path, ns=(1, 1))
    kept.look()
    assert kept.keys.of(SECRET)


def test_it_does_not_start_with_a_file_that_it_cannot_use(tmp_path: Path) -> None:
    missing = Settings(receive_keys=str(tmp_path / "missing"))
    with pytest.raises(UnusablePath, match="PIPELINE_RECEIVE_KEYS"):
        receive(missing, host="127.0.0.1", port=0, needs_key=True)
    (tmp_path / "keys").write_text("[[keys")
    with pytest.raises(CommandFailed, match="PIPELINE_RECEIVE_KEYS"):
        receive(Settings(receive_keys=str(tmp_path / "keys")), host="127.0.0.1", port=0, needs_key=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4"])
def test_beyond_this_machine_it_needs_keys(host: str) -> None:
    with pytest.raises(CommandFailed, match="--no-keys"):
        receive(Settings(), host=host, port=0, needs_key=True)


@pytest.mark.parametrize(
    ("allowed", "loopback", "origin", "may"),
    [
        ((), True, "http://localhost:3000", True),
        ((), True, "http://127.0.0.1", True),
        ((), True, "http://[::1]:8080", True),
        ((), True, "http://localhost.evil.example", False),
        ((), True, "http://localhost:3000.evil.example", False),
        ((), True, "null", False),
        ((), True, "https://shop.example", False),
        ((), False, "http://localhost:3000", False),
        (("https://shop.example",), True, "https://shop.example", True),
        (("https://shop.example",), True, "http://shop.example", False),
        (("https://shop.example",), True, "https://shop.example:8443", False),
        (("https://shop.example",), True, "http://localhost:3000", False),
        (("null",), False, "null", True),
        (("*",), False, "https://anything.example", True),
    ],
)
def test_which_pages_may_send(allowed: tuple[str, ...], loopback: bool, origin: str, may: bool) -> None:
    assert Origins(allowed, loopback=loopback).allows(origin) == may


@pytest.mark.parametrize(
    "value", ["shop.example", "https://shop.example/", "https://a,b", "https://u@shop.example"]
)
def test_an_origin_that_no_browser_sends_is_refused_as_a_setting(value: str) -> None:
    with pytest.raises(Exception, match="receive_origins"):
        load({"PIPELINE_RECEIVE_ORIGINS": value})
    assert (
        load({"PIPELINE_RECEIVE_ORIGINS": "https://a.example, *,null"}).receive_origins
        == "https://a.example,*,null"
    )


def test_pages_ask_first_and_are_told_what_they_may_send() -> None:
    page = {"Origin": "https://shop.example"}
    asks = {
        **page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-of-theirs",
        "Access-Control-Request-Private-Network": "true",
    }
    with served(origins=["https://shop.example"]) as running:
        got = running.ask("OPTIONS", "/v1/logs", headers=asks)
        assert got.status == 204 and got.body == b""
        said = got.headers
        assert said["access-control-allow-origin"] == "https://shop.example" and said["vary"] == "Origin"
        assert (
            said["access-control-allow-credentials"] == said["access-control-allow-private-network"] == "true"
        )
        assert said["access-control-max-age"] == "7200"
        assert {"POST", "PUT"} <= set(said["access-control-allow-methods"].split(", "))
        named = set(said["access-control-allow-headers"].split(", "))
        # What the SDKs of OpenTelemetry, Embrace, Faro, Sentry and Measure send.
        needed = {"content-type", "content-encoding", "authorization", "traceparent", "x-em-aid", "x-em-did"}
        assert needed | {"x-api-key", "x-faro-session-id", "x-sentry-auth", "baggage", "x-of-theirs"} <= named
        hostile = {**asks, "Access-Control-Request-Headers": "no: name"}
        assert (
            "no: name"
            not in running.ask("OPTIONS", "/v1/logs", headers=hostile).headers["access-control-allow-headers"]
        )

        taken = running.ask("POST", "/v1/events", b"{}", page)
        assert taken.status == 400 and taken.headers["access-control-allow-origin"] == "https://shop.example"
        assert taken.headers["access-control-expose-headers"] == "Retry-After"
        kept = len(running.writer.records)
        for method in ("POST", "GET"):
            other = running.ask(method, "/v1/events", b"{}", {**asks, "Origin": "https://evil.example"})
            assert other.status == 403
        assert len(running.writer.records) == kept
        assert running.ask("GET", "/readyz", headers={"Origin": "https://evil.example"}).status == 200
        assert running.post("/v1/events", envelope()).status == 200, "no page: a phone, a server"


def test_no_key_is_in_the_log_or_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), served(keys=Keys.read(FILE)) as running:
        for key in (SECRET, "another-secret"):
            for headers, query in (
                ({"Authorization": f"Bearer {key}"}, ""),
                ({"X-Api-Key": key}, ""),
                ({}, f"?key={key}"),
                ({}, f"?sentry_key={key}"),
            ):
                for path in ("/v1/events", "/v1/logs", "/nowhere"):
                    got = running.ask("POST", path + query, b"x", headers)
                    assert key.encode() not in got.body and key not in str(got.headers)
    assert SECRET not in caplog.text and "another-secret" not in caplog.text


def test_there_are_no_more_connections_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    limits = (1_024, 4_096)
    monkeypatch.setattr("resource.getrlimit", lambda _: limits)
    monkeypatch.setattr("resource.setrlimit", lambda _, pair: given.append(pair))
    assert connections_possible(100) == 100 and given == []
    assert connections_possible(2_000) == 2_000 and given == [(2_200, 4_096)]
    assert connections_possible(10_000) == 2_048 and given[1:] == [(4_096, 4_096)]
