"""Why Kafka cannot be reached is told at once, with cause and remedy. On Apache Kafka with TLS and logins."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.errors import UnusablePath
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.diagnosis import why_unreachable
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused
from pipeline.kafka.waiting import require_broker, wait_for_broker
from tests.support.secured import Secured
from tests.support.services import Unavailable
from tests.support.stack import Stack, command_line, environment, unavailable


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    try:
        made = Secured(tmp_path_factory.mktemp("secured"))
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    with made.tokens:
        yield made
    made.broker.stop()


@pytest.fixture(scope="module")
def stack(
    secured: Secured, clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A pipeline whose operator shows a certificate."""
    settings = {"PIPELINE_PARTITIONS": "1", "PIPELINE_IDLE_TIMEOUT": "2s", **secured.variables("MTLS")}
    made = Stack(secured.broker, clickhouse, tmp_path_factory.mktemp("stack"), settings)
    made.prepare()
    yield made
    made.close()


@pytest.mark.parametrize("security", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL", "MTLS", "OAUTH"])
def test_who_may_come_in_comes_in(secured: Secured, security: str) -> None:
    connection = secured.connection(security)
    asyncio.run(wait_for_broker(connection, give_up_s=20))
    assert asyncio.run(why_unreachable(connection)) is None


LASTING = [
    ("SASL_PLAINTEXT", {"password": "wr0ng"}, ("refused the login of worker by PLAIN", "PIPELINE_KAFKA_PASSWORD")),
    ("SASL_SSL", {"username": "nobody"}, ("refused the login of nobody by PLAIN",)),
    ("SASL_PLAINTEXT", {"mechanism": "SCRAM-SHA-512"}, ("no login by SCRAM-SHA-512", "PIPELINE_KAFKA_MECHANISM")),
    ("SSL", {"ca_file": ""}, ("not trusted", "PIPELINE_KAFKA_CA_FILE")),
]  # fmt: skip


@pytest.mark.parametrize(("security", "given", "says"), LASTING)
def test_what_waiting_does_not_end_is_told_at_once(
    secured: Secured, security: str, given: dict[str, str], says: tuple[str, ...]
) -> None:
    connection, started_s = secured.connection(security, **given), time.monotonic()
    with pytest.raises(KafkaRefused) as refused:
        asyncio.run(wait_for_broker(connection, give_up_s=600))
    assert time.monotonic() - started_s < 20
    assert all(part in str(refused.value) for part in (*says, connection.bootstrap)), refused.value
    assert "right" not in str(refused.value) and "wr0ng" not in str(refused.value)


def test_tls_where_there_is_none_and_none_where_there_is(secured: Secured) -> None:
    spoken = replace(secured.connection("SSL"), bootstrap=secured.broker.bootstrap)
    with pytest.raises(BrokerUnavailable, match="may not speak TLS, and PIPELINE_KAFKA_SECURITY is SSL"):
        asyncio.run(wait_for_broker(spoken, give_up_s=0))
    plain = KafkaConnection(f"{LOOPBACK}:{secured.ports['SSL']}")
    # A broker that is starting looks the same: it is waited for.
    with pytest.raises(BrokerUnavailable, match=r"may want TLS or a login|gave no answer"):
        asyncio.run(wait_for_broker(plain, give_up_s=0))


@pytest.mark.parametrize(
    ("bootstrap", "says"),
    [(f"{LOOPBACK}:{free_port()}", "nothing listens at"), ("no-such-host.invalid:9092", "is not known here")],
    ids=["nobody", "no name"],
)
def test_what_may_pass_is_waited_for_with_its_cause(bootstrap: str, says: str) -> None:
    with pytest.raises(BrokerUnavailable, match=says):
        asyncio.run(wait_for_broker(KafkaConnection(bootstrap), give_up_s=0))


DAY = timedelta(days=1)
CERTIFICATES = {
    "none": (
        {"cert_file": "", "key_file": "", "key_password": ""},
        "ask for a client certificate",
        "_CERT_FILE",
    ),
    "of a stranger": ({"by": "stranger"}, "CN=of a stranger, valid until 20", "CERTIFICATE_UNKNOWN"),
    "expired": ({"begins": -3 * DAY, "ends": -DAY}, "CN=expired, valid until 20", "it has expired. Renew it"),
    "not yet valid": ({"begins": DAY}, "CN=not yet valid, valid until 20", "is not valid before 20"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_what_a_broker_has_against_our_certificate_is_told_at_once(secured: Secured, name: str) -> None:
    given, *says = CERTIFICATES[name]
    if "cert_file" not in given:
        by = secured.stranger if "by" in given else secured.authority
        given = secured.issued(
            name, by, **{when: given[when] for when in ("begins", "ends") if when in given}
        )
    said = refused(secured.connection("MTLS", **given))
    assert all(
        part in said for part in (*says, f"{LOOPBACK}:{secured.ports['MTLS']}", "PIPELINE_KAFKA_CERT_FILE")
    )


FILES = [
    ({"key_password": "wr0ng"}, "PIPELINE_KAFKA_KEY_FILE: ", "PIPELINE_KAFKA_KEY_PASSWORD is not what"),
    ({"key_password": ""}, "PIPELINE_KAFKA_KEY_FILE: ", "PIPELINE_KAFKA_KEY_PASSWORD is not what"),
    ({"cert_file": "{ca}"}, "PIPELINE_KAFKA_KEY_FILE: ", "is not that of the certificate in"),
    ({"cert_file": "{key}"}, "PIPELINE_KAFKA_CERT_FILE: ", "does not hold a certificate"),
    ({"cert_file": "/nowhere"}, "PIPELINE_KAFKA_CERT_FILE: ", "No such file"),
    ({"key_file": "/nowhere"}, "PIPELINE_KAFKA_KEY_FILE: ", "No such file"),
    ({"key_file": "{ca}"}, "PIPELINE_KAFKA_KEY_FILE: ", "does not hold a private key"),
    ({"ca_file": "{key}"}, "PIPELINE_KAFKA_CA_FILE: ", "does not hold certificates"),
    ({"ca_file": "/nowhere"}, "PIPELINE_KAFKA_CA_FILE: ", "No such file"),
]


@pytest.mark.parametrize(("given", "begins", "says"), FILES)
def test_a_file_that_cannot_be_used_is_named(
    secured: Secured, given: dict[str, str], begins: str, says: str
) -> None:
    places = {"ca": secured.authority.file, "key": secured.worker[1]}
    connection = secured.connection("MTLS", **{name: text.format(**places) for name, text in given.items()})
    with pytest.raises(UnusablePath) as unusable:
        asyncio.run(wait_for_broker(connection, give_up_s=600))
    assert str(unusable.value).startswith(begins) and says in str(unusable.value)


BROKERS = [
    ("EXPIRED", "certificate has expired", "Renew it there"),
    ("ELSEWHERE", "is not valid for", "Name the server in PIPELINE_KAFKA_BOOTSTRAP"),
]


@pytest.mark.parametrize(("listener", "says", "remedy"), BROKERS)
def test_a_brokers_certificate_is_always_checked(
    secured: Secured, listener: str, says: str, remedy: str
) -> None:
    said = refused(secured.connection(listener))
    assert says in said and remedy in said and f"{LOOPBACK}:{secured.ports[listener]}" in said


CLAIMS = {
    "another audience": {"aud": "other"},
    "another issuer": {"iss": "other"},
    "expired": {"exp": 1_700_000_000},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_token_that_the_broker_refuses_is_told_at_once(secured: Secured, name: str) -> None:
    secured.tokens.claims = CLAIMS[name]
    try:
        said = refused(secured.connection("OAUTH"))
    finally:
        secured.tokens.reset()
    assert (
        f"{LOOPBACK}:{secured.ports['OAUTH']} refused the token of worker" in said and "invalid_token" in said
    )


def test_a_token_endpoint_that_refuses_is_told_at_once(secured: Secured) -> None:
    said = refused(secured.connection("OAUTH", password="wr0ng"))
    assert f"token endpoint {secured.tokens.url} refused client worker: 401 invalid_client" in said
    said = refused(secured.connection("OAUTH", token_ca_file=str(secured.stranger.file)))
    assert "the token endpoint" in said and "not trusted" in said and "PIPELINE_KAFKA_TOKEN_CA_FILE" in said
    away = secured.connection("OAUTH", token_url=f"http://{LOOPBACK}:{free_port()}/token", token_ca_file="")
    with pytest.raises(
        BrokerUnavailable, match=r"^the token endpoint .* does not answer: Connection refused.*again"
    ):
        asyncio.run(wait_for_broker(away, give_up_s=0))
    with pytest.raises(
        BrokerUnavailable, match=r"^the token endpoint .* PIPELINE_KAFKA_TOKEN_URL names it, then try"
    ):
        asyncio.run(require_broker(away))


def refused(connection: KafkaConnection) -> str:
    """What is said at once, though there are ten minutes to wait. No secret is in it."""
    started_s = time.monotonic()
    with pytest.raises(KafkaRefused) as error:
        asyncio.run(wait_for_broker(connection, give_up_s=600))
    said = str(error.value)
    assert time.monotonic() - started_s < 20 and "\n" not in said
    assert not any(secret in said for secret in (connection.password, connection.key_password) if secret)
    return said


COMMANDS = {
    ("status",): ("SASL_PLAINTEXT", {"password": "wr0ng"}, "refused the login of worker"),
    ("send", "-"): ("SSL", {"ca_file": ""}, "is not trusted"),
    ("migrate",): ("OAUTH", {"password": "wr0ng"}, "refused client worker: 401 invalid_client"),
    ("worker", "--role", "all"): (
        "MTLS",
        {"cert_file": "", "key_file": "", "key_password": ""},
        "client certificate",
    ),
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_says_it_in_one_line(secured: Secured, stack: Stack, command: tuple[str, ...]) -> None:
    listener, given, says = COMMANDS[command]
    ended = subprocess.run(
        command_line(*command),
        env=environment({**stack.settings, **secured.variables(listener, **given)}),
        input='{"v":1}\n', capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    line = ended.stderr.strip().splitlines()[-1]
    assert line.startswith("session-pipeline: Kafka does not let us in: ") and says in line, ended.stderr
    assert command[0] == "worker" or "\n" not in ended.stderr.strip()
    assert "wr0ng" not in ended.stderr


def test_check_says_who_comes_and_that_he_has_no_rights(secured: Secured, stack: Stack) -> None:
    ended = subprocess.run(
        command_line("check", "--role", "router"),
        env=environment({**stack.settings, **secured.variables("MTLS", **secured.issued("visitor"))}),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    lines = {line[8:28].strip(): line for line in ended.stdout.splitlines() if "kafka" in line}
    assert lines["kafka login"].startswith("ok") and "as CN=visitor, SSL" in lines["kafka login"]
    assert lines["kafka certificate"].startswith("warning") and "renew it" in lines["kafka certificate"]
    assert lines["kafka rights"].startswith("fault") and "Read on Topic" in lines["kafka rights"]


def test_the_pipeline_runs_with_certificates_and_with_tokens_that_expire(
    secured: Secured, stack: Stack, tmp_path: Path
) -> None:
    """A broker closes each connection when its token expires; what runs then goes on with another."""
    tokens = secured.tokens
    # A worker that starts on a busy machine takes longer than three seconds.
    tokens.life_s = 6
    try:
        assert "all that are needed" in stack.run("check", "--role", "router")
        stack.start_workers("router")
        stack.settings |= secured.variables("OAUTH")
        stack.start_workers("sessionizer", "sink")
        started_s = time.monotonic()
        for number in (1, 2):
            event = {"id": f"e{number}", "name": "app.widget.click", "time": 1_700_000_000_000 + number}
            envelope = {"v": 1, "app_id": "org.example.app", "device_id": "d1", "events": [event]}
            file = tmp_path / f"{number}.ndjson"
            file.write_bytes(orjson.dumps(envelope) + b"\n")
            stack.run("send", str(file))
            stack.wait_idle()
            assert stack.value("SELECT count() FROM events") == number
            if number == 1:
                # Twice as long as a token lives: each connection of before has been closed.
                time.sleep(max(0.0, started_s + 2 * tokens.life_s - time.monotonic()))
        assert stack.value("SELECT event_count FROM sessions") == 2
        assert all(form == {"grant_type": "client_credentials", "scope": "events"} for form in tokens.asked)
        assert len(tokens.asked) >= 8, "each of four processes has asked, and each worker again"
        for name in [name for name in stack.workers if not name.startswith("sink")]:
            stack.stop_worker(name)
        # From now on the broker refuses them: no ten minutes pass until that is said.
        tokens.claims = CLAIMS["another issuer"]
        (name,) = stack.workers
        assert stack.workers[name].wait(90) == 1
        stack.take(name)
        last = stack.log_file(name).read_text().strip().splitlines()[-1]
        assert "KafkaRefused" in last and "refused the token of worker" in last, stack.log_tails()
    finally:
        tokens.reset()
