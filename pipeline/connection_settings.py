"""The settings by which Kafka and ClickHouse are reached."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.api_settings import ApiSettings
from pipeline.setting_values import BOOTSTRAP, CLICKHOUSE_URL, TOKEN_URL, one_of, setting, text


@dataclass(frozen=True, slots=True)
class ConnectionSettings(ApiSettings):
    """Where Kafka and ClickHouse are, and how to be let in. A part of `Settings`, with the part below it: classes with
    slots have one line of descent."""

    kafka_bootstrap: str = setting(
        "localhost:9092",
        BOOTSTRAP,
        "Kafka brokers to contact first. Set it wherever Kafka is not on this machine.",
    )
    kafka_security: str = setting(
        "PLAINTEXT",
        one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "How to connect to Kafka. Change it where Kafka asks for TLS or a login.",
    )
    kafka_mechanism: str = setting(
        "PLAIN",
        one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"),
        "The kind of login. Change it where `kafka_security` begins with SASL and Kafka does not accept PLAIN.",
    )
    kafka_username: str = setting(
        "", text("any text"), "The user who logs in to Kafka, with SASL; the client id with OAUTHBEARER."
    )
    kafka_password: str = setting(
        "",
        text("any text", is_secret=True),
        "The password of that user; the client secret with OAUTHBEARER.",
        shown=False,
    )
    kafka_token_url: str = setting(
        "",
        TOKEN_URL,
        "The token endpoint of the OpenID provider, with OAUTHBEARER: there client id and secret are exchanged for a "
        "token (grant `client_credentials`). Over `http` only on this machine.",
    )
    kafka_token_scope: str = setting(
        "", text("any text"), "The scope to ask a token for. Set it where the provider wants one."
    )
    kafka_token_ca_file: str = setting(
        "",
        text("a file"),
        "Certificates that the token endpoint's certificate is checked against; the system's if empty.",
    )
    kafka_ca_file: str = setting(
        "",
        text("a file"),
        "Certificates that a broker's certificate is checked against, with SSL; the system's if empty.",
    )
    kafka_cert_file: str = setting(
        "",
        text("a file"),
        "The certificate that this client shows to Kafka, in PEM with those that signed it, with SSL. Set it where "
        "Kafka asks for client certificates. Workers read it when they start: restart them with a renewed one.",
    )
    kafka_key_file: str = setting(
        "",
        text("a file"),
        "The private key of that certificate, in PEM; if empty, it is in `kafka_cert_file`.",
    )
    kafka_key_password: str = setting(
        "",
        text("any text", is_secret=True),
        "What that key is encrypted with. Set it if it is.",
        shown=False,
    )
    clickhouse_url: str = setting(
        "http://localhost:8123/app_sessions",
        CLICKHOUSE_URL,
        "Where ClickHouse and the database are. If it names no user, and `up` of the same user runs on this "
        "machine, the password of that one is found by the port. Set it to use your own ClickHouse.",
        shown=False,
    )
    clickhouse_password: str = setting(
        "",
        text("any text", is_secret=True),
        "The password of the user whom the URL names (`default` if none). Set it, best by its file, where the URL "
        "should not hold a password.",
        shown=False,
    )
    clickhouse_ca_file: str = setting(
        "",
        text("a file"),
        "Certificates that ClickHouse's certificate is checked against, with https; the system's if empty.",
    )
    clickhouse_cert_file: str = setting(
        "",
        text("a file"),
        "The certificate that this client shows to ClickHouse or to what stands before it, in PEM, with https. "
        "Without a password it is the login of the URL's user, whom ClickHouse identifies by it.",
    )
    clickhouse_key_file: str = setting(
        "",
        text("a file"),
        "The private key of that certificate, in PEM; if empty, it is in `clickhouse_cert_file`.",
    )
    clickhouse_key_password: str = setting(
        "",
        text("any text", is_secret=True),
        "What that key is encrypted with. Set it if it is.",
        shown=False,
    )
