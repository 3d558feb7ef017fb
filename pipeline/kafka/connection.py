"""How to reach Kafka: addresses, TLS and SASL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import path_of

SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
COMPRESSION = "zstd"
"""Of all that is written. aiokafka writes lz4 at its ninth level: 53 MB of states a second, where zstd makes 344 with a
quarter less to send (`python -m tests.bench --only compression`)."""


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
