"""Why Kafka cannot be reached is told at once, with cause and remedy. On Apache Kafka with TLS and logins."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.diagnosis import why_unreachable
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused
from pipeline.kafka.waiting import wait_for_broker
from tests.support.services import ApacheKafka, Unavailable
from tests.support.stack import command_line, environment, unavailable

LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="right";'


class Secured:
    """A broker with a listener of each kind."""

    def __init__(self, folder: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            unavailable("openssl is not installed, which makes the certificates")
            raise AssertionError
        self.ca_file, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
             "-addext", f"subjectAltName=IP:{LOOPBACK}", "-keyout", str(key), "-out", str(self.ca_file)],
            check=True, capture_output=True,
        )  # fmt: skip
        store = folder / "store.pem"
        store.write_text(key.read_text() + self.ca_file.read_text())
        self.ports = {name: free_port() for name in ("SSL", "SASL_PLAINTEXT", "SASL_SSL")}
        self.broker = ApacheKafka(
            folder / "broker",
            listeners=self.ports,
            settings={
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": LOGIN,
                "listener.name.sasl_ssl.plain.sasl.jaas.config": LOGIN,
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": store,
            },
        )

    def connection(self, security: str, **given: str) -> KafkaConnection:
        port = self.ports.get(security)
        here = f"{LOOPBACK}:{port}" if port else self.broker.bootstrap
        login = {"username": "worker", "password": "right"} if security.startswith("SASL") else {}
        ca_file = {"ca_file": str(self.ca_file)} if security.endswith("SSL") else {}
        return KafkaConnection(here, security, **{**login, **ca_file, **given})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    try:
        made = Secured(tmp_path_factory.mktemp("secured"))
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    yield made
    made.broker.stop()


@pytest.mark.parametrize("security", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_who_may_come_in_comes_in(secured: Secured, security: str) -> None:
    connection = secured.connection(security)
    asyncio.run(wait_for_broker(connection, give_up_s=20))
    assert asyncio.run(why_unreachable(connection)) is None


LASTING = [
    ("SASL_PLAINTEXT", {"password": "wrong"}, ("refused the login of worker by PLAIN", "PIPELINE_KAFKA_PASSWORD")),
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
    assert "right" not in str(refused.value) and "wrong" not in str(refused.value)


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


@pytest.mark.parametrize("command", [("status",), ("migrate",), ("send", "-")])
def test_a_command_says_it_in_one_line(secured: Secured, command: tuple[str, ...]) -> None:
    ended = subprocess.run(
        command_line(*command),
        env=environment(
            {
                "PIPELINE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{secured.ports['SASL_PLAINTEXT']}",
                "PIPELINE_KAFKA_SECURITY": "SASL_PLAINTEXT",
                "PIPELINE_KAFKA_USERNAME": "worker",
                "PIPELINE_KAFKA_PASSWORD": "wrong",
                "PIPELINE_CLICKHOUSE_URL": f"http://{LOOPBACK}:{free_port()}/none",
            }
        ),
        input='{"v":1}\n', capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert "refused the login of worker" in line or command == ("migrate",), line
