"""How to reach Kafka: addresses, TLS and SASL, and waiting until a broker answers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.errors import path_of
from pipeline.kafka.errors import BrokerUnavailable

logger = logging.getLogger(__name__)

SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
COMPRESSION = "zstd"
"""Of all that is written. aiokafka writes lz4 at its ninth level: 53 MB of states a second, where zstd makes 344 with a
quarter less to send (`python -m tests.bench --only compression`)."""
_ATTEMPT_S = 5.0


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where Kafka is and how to log in. Raises ValueError on an unknown or incomplete combination."""

    bootstrap: str
    """`host:port`, several separated by commas."""
    security: str = "PLAINTEXT"
    """One of SECURITY."""
    mechanism: str = "PLAIN"
    """One of MECHANISMS; used with SASL only."""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    """PEM file of the authority that signed the brokers; empty for the system's own list."""

    def __post_init__(self) -> None:
        if self.security not in SECURITY:
            raise ValueError(f"Kafka security {self.security!r} is not one of {', '.join(SECURITY)}")
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"SASL mechanism {self.mechanism!r} is not one of {', '.join(MECHANISMS)}")
        if self.sasl and not (self.username and self.password):
            raise ValueError(f"Kafka security {self.security} needs a user name and a password")
        if not self.servers:
            raise ValueError("no Kafka bootstrap server is named")

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self.bootstrap.split(",") if server.strip()]

    @property
    def sasl(self) -> bool:
        return self.security.startswith("SASL_")

    def ssl_context(self) -> ssl.SSLContext | None:
        if not self.security.endswith("SSL"):
            return None
        with path_of("PIPELINE_KAFKA_CA_FILE", self.ca_file):
            return ssl.create_default_context(cafile=self.ca_file or None)

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes. Reads the CA file: `UnusablePath` if it is none."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security,
            "ssl_context": self.ssl_context(),
        }
        if self.sasl:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options


async def wait_for_broker(
    connection: KafkaConnection, *, give_up_s: float, report_every_s: float = 5.0
) -> None:
    """Waits until a broker answers, with one warning every `report_every_s`. BrokerUnavailable after `give_up_s`."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    reported_s = -report_every_s
    while True:
        try:
            await asyncio.wait_for(_answers(connection), _ATTEMPT_S)
            return
        except (KafkaError, OSError, TimeoutError) as error:
            waited_s = loop.time() - started_s
            if waited_s >= give_up_s:
                raise BrokerUnavailable(
                    f"Kafka at {connection.bootstrap} did not answer for {waited_s:.0f} s: {error!r}. Check that it "
                    "runs and that PIPELINE_KAFKA_BOOTSTRAP names it, then start again"
                ) from error
            if waited_s - reported_s >= report_every_s:
                reported_s = waited_s
                logger.warning(
                    "waiting for Kafka at %s (%.0f s so far, giving up after %.0f s): %r",
                    connection.bootstrap, waited_s, give_up_s, error,
                )  # fmt: skip
        await asyncio.sleep(min(1.0, give_up_s))


async def _answers(connection: KafkaConnection) -> None:
    client = AIOKafkaAdminClient(**connection.client_options())
    try:
        await client.start()
    finally:
        await client.close()
