"""Tokens for OAUTHBEARER: shared, renewed before they expire, and asked for beside the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaError

from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.tokens import NoTokenNow, TokenRefused, TokenSource
from tests.support.token_server import TokenServer

SECRET = "s3cr3t:/+ é"


@pytest.fixture(scope="module")
def module_server() -> Iterator[TokenServer]:
    with TokenServer({"client": SECRET}) as made:
        yield made


@pytest.fixture
def server(module_server: TokenServer) -> TokenServer:
    module_server.reset()
    return module_server


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def source(
    server: TokenServer, clock: Clock | None = None, secret: str = SECRET, scope: str = ""
) -> TokenSource:
    return TokenSource(server.url, "client", secret, scope, clock=clock or Clock())


def test_a_token_is_asked_for_once_by_all_who_want_it_at_once(server: TokenServer) -> None:
    server.pause_s = 0.2
    tokens = source(server, scope="read write")

    async def many() -> set[str]:
        return set(await asyncio.gather(*(tokens.token() for _ in range(50))))

    assert len(asyncio.run(many())) == 1
    assert asyncio.run(tokens.token()), "in another event loop, as workers have several"
    assert server.asked == [{"grant_type": "client_credentials", "scope": "read write"}]


def test_the_event_loop_goes_on_meanwhile(server: TokenServer) -> None:
    server.pause_s = 0.4

    async def beats() -> int:
        asking, count = asyncio.create_task(source(server).token()), 0
        while not asking.done():
            await asyncio.sleep(0.01)
            count += 1
        return count

    assert asyncio.run(beats()) >= 10


def test_who_gives_up_waiting_does_not_take_it_from_others(server: TokenServer) -> None:
    server.pause_s = 0.3
    tokens = source(server)

    async def two() -> str:
        patient = asyncio.create_task(tokens.token())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tokens.token(), 0.05)
        return await patient

    assert asyncio.run(two()) and len(server.asked) == 1


def test_it_is_renewed_before_it_expires(server: TokenServer) -> None:
    clock = Clock()
    tokens = source(server, clock)
    server.life_s = 100
    first = asyncio.run(tokens.token())
    clock.now_s += 79
    assert asyncio.run(tokens.token()) == first
    clock.now_s += 2
    server.claims = {"jti": "2"}
    assert asyncio.run(tokens.token()) != first
    assert len(server.asked) == 2


def test_the_one_of_before_does_as_long_as_it_holds(
    server: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    tokens = source(server, clock)
    server.life_s = 100
    first = asyncio.run(tokens.token())
    server.broken = (503, b"out of order")
    clock.now_s += 90
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(tokens.token()) == first
    assert "503" in caplog.text and "still valid" in caplog.text
    clock.now_s += 11
    with pytest.raises(NoTokenNow, match="gives no token at the moment: 503"):
        asyncio.run(tokens.token())
    server.broken, server.claims = None, {"jti": "2"}
    assert asyncio.run(tokens.token()) != first, "and it is asked again"


REFUSALS = {
    "wrong client": (
        400,
        b'{"error":"invalid_scope","error_description":"no\\u001b[2J such"}',
        "400 invalid_scope: no",
    ),
    "no json": (200, b"<html>", "answers with something other than a JSON object"),
    "no object": (200, b"[1]", "answers with something other than a JSON object"),
    "no token": (200, b"{}", "without an access_token"),
    "no text": (200, b'{"access_token":5}', "without an access_token"),
    "what ends a header": (200, b'{"access_token":"a\\u0001b"}', "without an access_token"),
    "not found": (404, b"", "refused client client: 404"),
    "moved": (302, b"", "refused client client: 302"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_waiting_does_not_end(server: TokenServer, name: str) -> None:
    status, body, says = REFUSALS[name]
    server.broken = (status, body)
    server.headers = {"Location": f"{server.url}/elsewhere"} if status == 302 else {}
    with pytest.raises(TokenRefused) as refused:
        asyncio.run(source(server).token())
    said = str(refused.value)
    assert says in said and server.url in said and "PIPELINE_KAFKA_TOKEN_URL" in said and "s3cr3t" not in said
    assert said.isprintable() and isinstance(refused.value, KafkaError), "aiokafka lets nothing else out"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass(server: TokenServer, status: int) -> None:
    server.broken = (status, b"")
    with pytest.raises(NoTokenNow, match=str(status)):
        asyncio.run(source(server).token())


def test_a_wrong_secret_and_nobody_there(server: TokenServer) -> None:
    with pytest.raises(TokenRefused, match=r"refused client client: 401 invalid_client"):
        asyncio.run(source(server, secret="wrong").token())
    away = TokenSource(f"http://{LOOPBACK}:{free_port()}/token", "client", SECRET)
    with pytest.raises(NoTokenNow, match="does not answer: Connection refused"):
        asyncio.run(away.token())


@pytest.mark.parametrize("life", [b"", b',"expires_in":null', b',"expires_in":"soon"', b',"expires_in":-5'])
def test_a_life_that_is_not_told_is_short(server: TokenServer, life: bytes) -> None:
    server.broken = (200, b'{"access_token":"abc"' + life + b"}")
    clock = Clock()
    tokens = source(server, clock)
    assert asyncio.run(tokens.token()) == "abc"
    clock.now_s += 299
    server.broken = (200, b'{"access_token":"next"}')
    assert asyncio.run(tokens.token()) == "next"


def test_a_connection_has_one_source_and_shows_no_secret() -> None:
    connection = KafkaConnection(
        "h:1",
        "SASL_SSL",
        "OAUTHBEARER",
        "client",
        "s3cr3t",
        token_url="https://id/token",
        key_password="s3cr3t",
    )
    provider = connection.client_options()["sasl_oauth_token_provider"]
    assert provider is connection.tokens is connection.client_options()["sasl_oauth_token_provider"]
    assert "s3cr3t" not in repr(connection)
    with pytest.raises(ValueError, match="token endpoint"):
        KafkaConnection("h:1", "SASL_SSL", "OAUTHBEARER", "client", "s3cr3t")
    plain = KafkaConnection("h:1", "SASL_SSL", "PLAIN", "client", "s3cr3t")
    assert plain.tokens is None and "sasl_oauth_token_provider" not in plain.client_options()
