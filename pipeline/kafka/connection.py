"""How to reach Kafka: addresses, TLS and SASL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from pipeline.kafka.tokens import TokenSource
from pipeline.tls import Tls

SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
OAUTHBEARER = "OAUTHBEARER"
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
    """With OAUTHBEARER the client id."""
    password: str = field(default="", repr=False)
    """With OAUTHBEARER the client secret."""
    ca_file: str = ""
    """PEM file of the authority that signed the brokers; empty for the system's own list."""
    cert_file: str = ""
    """PEM file of the certificate that this client shows; empty for none."""
    key_file: str = ""
    """PEM file of its key; empty if that is in `cert_file`."""
    key_password: str = field(default="", repr=False)
    token_url: str = ""
    """The token endpoint, with OAUTHBEARER."""
    token_scope: str = ""
    token_ca_file: str = ""
    """PEM file of the authority that signed the token endpoint."""
    tokens: TokenSource | None = field(init=False, default=None, repr=False, compare=False)
    """Where its tokens come from, with OAUTHBEARER: one source for all clients, so that they share them."""

    def __post_init__(self) -> None:
        if self.security not in SECURITY:
            raise ValueError(f"Kafka security {self.security!r} is not one of {', '.join(SECURITY)}")
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"SASL mechanism {self.mechanism!r} is not one of {', '.join(MECHANISMS)}")
        if self.sasl and not (self.username and self.password):
            raise ValueError(f"Kafka security {self.security} needs a user name and a password")
        if not self.servers:
            raise ValueError("no Kafka bootstrap server is named")
        if self.sasl and self.mechanism == OAUTHBEARER:
            if not self.token_url:
                raise ValueError("SASL mechanism OAUTHBEARER needs the URL of a token endpoint")
            source = TokenSource(
                self.token_url, self.username, self.password, self.token_scope, self.token_ca_file
            )
            object.__setattr__(self, "tokens", source)

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self.bootstrap.split(",") if server.strip()]

    @property
    def sasl(self) -> bool:
        return self.security.startswith("SASL_")

    @property
    def tls(self) -> Tls:
        """Whom it trusts and who it is, where TLS is spoken."""
        return Tls("PIPELINE_KAFKA", self.ca_file, self.cert_file, self.key_file, self.key_password)

    def ssl_context(self) -> ssl.SSLContext | None:
        """None without TLS. Reads the files of certificates: `UnusablePath` if one cannot be used."""
        return self.tls.context() if self.security.endswith("SSL") else None

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes. Reads the files of certificates: `UnusablePath`
        if one cannot be used."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security,
            "ssl_context": self.ssl_context(),
        }
        if self.tokens:
            options |= {"sasl_mechanism": self.mechanism, "sasl_oauth_token_provider": self.tokens}
        elif self.sasl:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options
